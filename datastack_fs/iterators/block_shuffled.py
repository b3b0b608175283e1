"""All samples of an iterator, in an order that fetches what is stored together once an epoch."""

from __future__ import annotations

from typing import SupportsIndex

from datastack_fs.iterators.base import DatasetIterator
from datastack_fs.iterators.keyed import order_of
from datastack_fs.iterators.orders import natural
from datastack_fs.iterators.seeded import SeededDatasetIterator
from datastack_fs.iterators.selections import Selection
from datastack_fs.iterators.stacking import SampleT_co
from datastack_fs.iterators.windowed import WindowedOrder


class BlockShuffledDatasetIterator(SeededDatasetIterator[SampleT_co]):
    """All samples of an iterator: its blocks in an order of (seed, epoch), the samples of some blocks mixed.

    A block is what is fetched and unpacked as a whole: a chunk of HDF5, a group of rows of Parquet and Arrow, about a
    megabyte of an array, a text or an archive. An exact shuffle fetches a block for almost every sample in it; this one
    fetches it once. The larger the window, the nearer it comes to an exact shuffle, and the more memory it takes to
    fetch once: ``shuffle_quality`` tells how near. What is not stored in blocks (in memory, a folder of files) is
    shuffled exactly.

    Args:
        iterator: what to shuffle; a view or several joined have the blocks of what they stand on.
        seed: with the epoch, it decides the order.
        epoch: ``at_epoch`` gives that of another one.
        window: how many blocks are mixed.

    Examples:
        >>> from datastack_fs.iterators import SequenceDatasetIterator
        >>> shuffled = BlockShuffledDatasetIterator(SequenceDatasetIterator(["a", "b", "c", "d"]), seed=1)
        >>> [letter for letter, _, _ in shuffled]
        ['c', 'a', 'd', 'b']
    """

    def __init__(
        self, iterator: DatasetIterator[SampleT_co], seed: int, epoch: int = 0, *, window: SupportsIndex = 64
    ) -> None:
        self._window = natural("window", window)
        if self._window < 1:
            raise ValueError("a window has one block at least")
        self._stored_together = iterator._blocks()
        super().__init__(iterator, seed, epoch)

    @property
    def window(self) -> int:
        """How many blocks are mixed."""
        return self._window

    def _order(self) -> Selection:
        if self._stored_together is None:
            return order_of(self._length, self._seed, self._epoch)
        return WindowedOrder(self._stored_together, self._seed, self._epoch, self._window)

    def _details(self) -> str:
        blocks = self._stored_together
        how = "no blocks" if blocks is None else f"windows of {self._window} of {len(blocks):,} blocks"
        return f"{super()._details()}, {how}"
