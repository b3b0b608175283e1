"""Who fetches which block just now, so that others of this machine wait for it instead of fetching it, too."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from typing import Final

from datastack_fs.cache.table import CLAIMS, BlockTable

LONGEST_WAIT: Final = 10.0
"""Seconds that one waits for a block; then it is fetched, whoever else may be at it."""


class Claims:
    """The claims of a cache. Whoever claims or releases holds the cache's lock."""

    def __init__(self, table: BlockTable) -> None:
        self._claims = table.claims

    def claim(self, keys: Iterable[int]) -> Iterator[bool]:
        """Of each block whether it is this caller's to fetch: False if another one is at it."""
        process = os.getpid()
        now = time.monotonic_ns()
        for key in keys:
            slot = self._claims[_slot(key)]
            if _is_held(slot.tolist(), now):
                yield int(slot[0]) != key  # one slot for two blocks: both are fetched, and one is not waited for
            else:
                slot[:] = key, process, now
                yield True

    def release(self, keys: Iterable[int]) -> None:
        """Ends the claims of this process."""
        process = os.getpid()
        for key in keys:
            slot = self._claims[_slot(key)]
            if (int(slot[0]), int(slot[1])) == (key, process):
                slot[:] = 0

    def is_claimed(self, key: int) -> bool:
        """Whether somebody is at it who lives."""
        slot = self._claims[_slot(key)].tolist()
        return slot[0] == key and _is_held(slot, time.monotonic_ns())


def _slot(key: int) -> int:
    return (key >> 24) % CLAIMS


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
