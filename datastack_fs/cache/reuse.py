"""How much is asked for between two uses of a block: what tells data that is in use from data that was."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from datastack_fs.cache.blocks import Keys
from datastack_fs.cache.table import CLOCK, DISTANCE, BlockTable

_RISE, _FALL = 4, 64
"""A longer distance counts for one of so many, and a shorter one: in a shuffled epoch they differ, and the long ones
count."""


def note_rejected(table: BlockTable, keys: Keys) -> None:
    """Notes blocks that were asked for, and for which there was no room; and how long ago that was so before.

    An epoch over more than the cache holds asks for each block once: what it rejects comes again after one epoch. So
    the distance is about an epoch's bytes, and what was not used for longer is not part of that data.
    """
    chosen = keys[keys[:, 0] // np.uint64(4096) % np.uint64(table.sampling) == 0]
    if not len(chosen):
        return
    now = int(table.head[CLOCK])
    slots: npt.NDArray[np.uint64] = chosen[:, 1] % np.uint64(len(table.seen))
    again = table.seen[slots, 0] == chosen[:, 1]
    distance = int(table.head[DISTANCE]) or now  # at first no less than it can be
    for before in table.seen[slots[again], 1].tolist():
        found = max(now - before, 1)
        distance += (found - distance) // (_RISE if found > distance else _FALL)
    if again.any():
        table.head[DISTANCE] = distance
    table.seen[slots, 0] = chosen[:, 1]
    table.seen[slots, 1] = now
