"""An iterator cut into runs of samples for tasks of other engines, so that none fetches what another one does, too."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from datastack_fs.iterators.base import DatasetIterator
from datastack_fs.iterators.selections import looked_up


def cuts(iterator: DatasetIterator[Any], count: int) -> list[range]:
    """The samples in at most so many runs, in order: as even as the borders of what is stored together allow.

    Runs end where a chunk, a row group or a run of a file ends; of a shuffled stack, where no border can be kept, all
    are even.

    Examples:
        >>> from datastack_fs.iterators import SequenceDatasetIterator
        >>> cuts(SequenceDatasetIterator(range(10)), 3)
        [range(0, 3), range(3, 7), range(7, 10)]
        >>> cuts(SequenceDatasetIterator(range(2)), 3)
        [range(0, 1), range(1, 2)]
    """
    length = len(iterator)
    if not length:
        return []
    wanted = np.rint(np.linspace(0, length, max(1, min(count, length)) + 1)).astype(np.int64)
    blocks = iterator._blocks()
    if blocks is not None and blocks.places is None and len(blocks) > 1:
        borders = np.append(looked_up(blocks.starts, np.arange(len(blocks))), length)
        after = np.minimum(np.searchsorted(borders, wanted), len(blocks))
        before = np.maximum(after - 1, 0)
        wanted = np.where(wanted - borders[before] < borders[after] - wanted, borders[before], borders[after])
    ends = np.unique(wanted).tolist()
    return [range(start, stop) for start, stop in pairwise(ends)]
