"""Who fetches which block just now, so that others of this machine wait for it instead of fetching it, too."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from typing import Final

from datastack_fs.cache.table import CLAIMS, BlockTable, Words

LONGEST_WAIT: Final = 10.0
"""Seconds that one waits for a block; then it is fetched, whoever else may be at it."""

_WAYS: Final = 8


class Claims:
    """The claims of a cache. Whoever claims or releases holds the cache's lock."""

    def __init__(self, table: BlockTable) -> None:
        self._claims = table.claims

    def claim(self, keys: Iterable[int]) -> Iterator[bool]:
        """Of each block whether it is this caller's to fetch: False if another one is at it."""
        process = os.getpid()
        now = time.monotonic_ns()
        for key in keys:
            slots = self._slots(key)
            held = [_is_held(slot.tolist(), now) for slot in slots]
            if any(is_held and int(slot[0]) == key for slot, is_held in zip(slots, held, strict=True)):
                yield False
                continue
            if not all(held):  # without a slot it is fetched, and nobody waits for it
                slots[held.index(False)][:] = key, process, now
            yield True

    def release(self, keys: Iterable[int]) -> None:
        """Ends the claims of this process."""
        process = os.getpid()
        for key in keys:
            for slot in self._slots(key):
                if (int(slot[0]), int(slot[1])) == (key, process):
                    slot[:] = 0

    def is_claimed(self, key: int) -> bool:
        """Whether somebody is at it who lives."""
        now = time.monotonic_ns()
        return any(int(slot[0]) == key and _is_held(slot.tolist(), now) for slot in self._slots(key))

    def _slots(self, key: int) -> list[Words]:
        first = (key >> 24) % (CLAIMS // _WAYS) * _WAYS
        return list(self._claims[first : first + _WAYS])


def _is_held(slot: list[int], now: int) -> bool:
    key, process, began = slot
    if not key or not 0 <= now - began < LONGEST_WAIT * 1e9:
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:  # killed, or of another container: then the block is fetched twice
        return False
    except PermissionError:
        pass
    return True
