"""All samples of an iterator, in an order that a seed and an epoch decide."""

from __future__ import annotations

import operator
from typing import Any, SupportsIndex

import numpy as np

from datastack_fs.iterators.base import DatasetIterator, SampleT_co
from datastack_fs.iterators.index_map import IndexMapDatasetIterator, source_of
from datastack_fs.iterators.indices import IndexArray, read_only


class ShuffledDatasetIterator(IndexMapDatasetIterator[SampleT_co]):
    """All samples of an iterator, in an order that (seed, epoch) decides, the same on every machine.

    A view of it keeps the order of the moment at which it was made. A pickle holds seed and epoch, not the order.

    Examples:
        >>> from datastack_fs.iterators import SequenceDatasetIterator
        >>> shuffled = ShuffledDatasetIterator(SequenceDatasetIterator(["a", "b", "c", "d"]), seed=1)
        >>> [letter for letter, _, _ in shuffled], [letter for letter, _, _ in shuffled.at_epoch(1)]
        (['c', 'a', 'd', 'b'], ['d', 'a', 'c', 'b'])
    """

    def __init__(self, iterator: DatasetIterator[SampleT_co], seed: int, epoch: int = 0) -> None:
        source, selection, view_tags = source_of(iterator)
        super().__init__(source, iterator.meta, view_tags)
        self._selection = selection
        self._length = len(iterator)
        self._seed = natural("seed", seed)
        self.set_epoch(epoch)

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
        order = permutation(self._length, self._seed, self._epoch)
        self._indices = read_only(order if self._selection is None else self._selection[order])

    def at_epoch(self, epoch: int) -> ShuffledDatasetIterator[SampleT_co]:
        """The same samples in the order of another epoch; this iterator stays as it is."""
        other: ShuffledDatasetIterator[SampleT_co] = type(self).__new__(type(self))
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


def permutation(length: int, seed: int, epoch: int) -> IndexArray:
    """Returns the order of (seed, epoch): a permutation of ``range(length)``, uniform among all.

    Samples are sorted by random 64-bit keys. numpy promises the raw bits of a bit generator for ever, but not what
    ``Generator.permutation`` makes of them; a resumed job must find its order again under another numpy.

    Examples:
        >>> permutation(8, seed=1, epoch=0).tolist()
        [2, 4, 7, 5, 0, 6, 3, 1]
    """
    keys = np.random.PCG64(np.random.SeedSequence([seed, epoch])).random_raw(length)
    order = np.argsort(keys)
    ranked = keys[order]
    if np.any(ranked[1:] == ranked[:-1]):
        # Equal keys: unlikely below a billion samples, and only the stable sort ranks them alike everywhere.
        order = np.argsort(keys, kind="stable")
    return order.astype(np.int64, copy=False)


def natural(what: str, number: SupportsIndex) -> int:
    """A seed or an epoch, checked.

    Raises:
        TypeError: it is no integer; None is refused too, since randomness is always an explicit argument.

    Examples:
        >>> natural("seed", np.uint8(7))
        7
    """
    if isinstance(number, (bool, np.bool_)) or not hasattr(type(number), "__index__"):
        raise TypeError(f"{what} must be an integer, given explicitly; not {number!r}")
    value = operator.index(number)
    if value < 0:
        raise ValueError(f"{what} must not be negative: {value}")
    return value
