"""What shuffles and samples share: an order that a seed and an epoch decide."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from datastack_fs.iterators.base import DatasetIterator
from datastack_fs.iterators.index_map import IndexMapDatasetIterator, source_of
from datastack_fs.iterators.orders import natural
from datastack_fs.iterators.selections import Selection, composed, read_only
from datastack_fs.iterators.stacking import SampleT_co

if TYPE_CHECKING:
    from typing_extensions import Self


class SeededDatasetIterator(IndexMapDatasetIterator[SampleT_co]):
    """Samples of an iterator in an order of ``(seed, epoch)``; a pickle holds these, and what makes the order of them.

    A kind of order writes ``_order``; what it needs for that is set before ``super().__init__``.
    """

    def __init__(self, iterator: DatasetIterator[SampleT_co], seed: int, epoch: int = 0) -> None:
        source, selection, view_tags = source_of(iterator)
        super().__init__(source, iterator.meta, view_tags)
        self._selection = selection
        self._length = len(iterator)
        self._seed = natural("seed", seed)
        self.set_epoch(epoch)

    @abstractmethod
    def _order(self) -> Selection:
        """Indices into the iterator that it was made on, as a new array."""

    @property
    def seed(self) -> int:
        """The seed, which all epochs share."""
        return self._seed

    @property
    def epoch(self) -> int:
        """The epoch that decides the order now."""
        return self._epoch

    def set_epoch(self, epoch: int) -> None:
        """Changes the order to that of another epoch.

        A loop over it that is under way keeps its order. Copies in worker processes keep theirs too: a DataLoader with
        persistent workers needs a new iterator, ``at_epoch``.
        """
        self._epoch = natural("epoch", epoch)
        self._indices = read_only(composed(self._selection, self._order()))

    def at_epoch(self, epoch: int) -> Self:
        """The same samples in the order of another epoch; this iterator stays as it is."""
        other = type(self).__new__(type(self))
        other.__dict__.update(self.__dict__)
        other.set_epoch(epoch)
        return other

    def _details(self) -> str:
        return f"{len(self):,} samples, seed {self._seed}, epoch {self._epoch}"

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_indices"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.set_epoch(self._epoch)
