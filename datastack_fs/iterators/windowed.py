"""An order in which blocks come at random, and samples are mixed within a window of blocks."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from datastack_fs.iterators.blocks import Blocks
from datastack_fs.iterators.indices import IndexArray
from datastack_fs.iterators.keyed import order_of
from datastack_fs.iterators.orders import permutation
from datastack_fs.iterators.selections import Computed, looked_up

_BLOCKS_AT_ONCE: Final = 1 << 20
_WINDOWS_KEPT: Final = 4


class WindowedOrder(Computed):
    """All samples, so that each block is used up before long: what is fetched for one sample serves the others, too.

    The blocks of an epoch come in an order of their own; so many of them at a time make a window, whose samples are
    mixed. Only the beginnings of windows are kept, and the last few windows that were asked for.

    Args:
        blocks: what is stored together.
        seed: with the epoch, it decides the order.
        epoch: the same samples come in another order in each.
        window: how many blocks are mixed.

    Examples:
        >>> order = WindowedOrder(Blocks.of_rows(12, 3), seed=1, epoch=0, window=2)
        >>> order.at(np.arange(12)).tolist()
        [6, 1, 7, 8, 0, 2, 5, 10, 9, 3, 4, 11]
    """

    def __init__(self, blocks: Blocks, seed: int, epoch: int, window: int) -> None:
        self._blocks, self._seed, self._epoch, self._window = blocks, seed, epoch, window
        self._order = order_of(len(blocks), seed, epoch)
        self._starts = self._window_starts()
        self._begin()

    def _begin(self) -> None:
        self._recent: OrderedDict[int, IndexArray] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self._blocks.length

    def _one(self, place: int) -> int:
        return int(self.at(np.array([place]))[0])

    def at(self, places: npt.NDArray[np.signedinteger[Any]]) -> IndexArray:  # noqa: D102
        windows = np.searchsorted(self._starts, places, side="right") - 1
        found = np.empty(len(places), np.int64)
        for window in np.unique(windows).tolist():
            here = windows == window
            found[here] = self._samples(window)[places[here] - self._starts[window]]
        return found

    def _samples(self, window: int) -> IndexArray:
        """The samples of a window, mixed."""
        with self._lock:
            if window in self._recent:
                self._recent.move_to_end(window)
                return self._recent[window]
        first = window * self._window
        numbers = looked_up(self._order, np.arange(first, min(first + self._window, len(self._order))))
        samples = self._blocks.samples(numbers)
        mixed: IndexArray = samples[permutation(len(samples), self._seed, (window + 1 << 64) + self._epoch)]
        with self._lock:
            self._recent[window] = mixed
            if len(self._recent) > _WINDOWS_KEPT:
                self._recent.popitem(last=False)
        return mixed

    def _window_starts(self) -> IndexArray:
        counts = []
        step = max(1, _BLOCKS_AT_ONCE // self._window) * self._window
        for start in range(0, len(self._order), step):
            numbers = looked_up(self._order, np.arange(start, min(start + step, len(self._order))))
            counts.append(np.add.reduceat(self._blocks.sizes(numbers), np.arange(0, len(numbers), self._window)))
        ends = np.cumsum(np.concatenate(counts)) if counts else np.empty(0, np.int64)
        return np.append(np.int64(0), ends[:-1]) if len(ends) else ends

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_recent", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._begin()
