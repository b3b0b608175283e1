"""Some samples of an iterator, drawn at random by weight."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from datastack_fs.iterators.base import DatasetIterator, check_iterator
from datastack_fs.iterators.draws import drawn_again, drawn_once
from datastack_fs.iterators.orders import natural
from datastack_fs.iterators.seeded import SeededDatasetIterator
from datastack_fs.iterators.selections import Selection
from datastack_fs.iterators.stacking import SampleT_co
from datastack_fs.iterators.weights import weights_of


class SampledDatasetIterator(SeededDatasetIterator[SampleT_co]):
    """Samples drawn at random as (seed, epoch) decides, the same on every machine; a view like any other.

    Args:
        iterator: where they are drawn from.
        count: how many are drawn.
        seed: decides, together with the epoch, which.
        weights: how often each sample is drawn against the others: one number for each, none negative. An array is
            kept, not copied: don't change it. ``"balanced"`` draws every class alike, by the targets. Without, all
            samples are drawn alike.
        epoch: ``at_epoch`` gives the draw of another one.
        replace: whether a sample may come more than once. Without, samples are drawn one after the other from those
            that are left, so that heavy ones come early.

    Raises:
        ValueError: a weight is negative or not finite, all are 0, or there are not as many as samples; or more samples
            are to be drawn than can be.

    Examples:
        >>> from datastack_fs.iterators import SequenceDatasetIterator
        >>> letters = SequenceDatasetIterator(["a", "b", "c"])
        >>> [letter for letter, _, _ in SampledDatasetIterator(letters, 6, seed=1, weights=[0, 1, 3])]
        ['c', 'c', 'b', 'c', 'c', 'c']
    """

    def __init__(
        self,
        iterator: DatasetIterator[SampleT_co],
        count: int,
        *,
        seed: int,
        weights: Sequence[float] | npt.NDArray[Any] | str | None = None,
        epoch: int = 0,
        replace: bool = True,
    ) -> None:
        check_iterator(iterator)
        self._count = natural("count", count)
        self._weights = None if weights is None else weights_of(iterator, weights)
        self._replace = replace
        there = len(iterator) if self._weights is None else self._weights.positive
        if self._count > there and (not replace or not there):
            what = "samples" if self._weights is None else "samples of a weight above 0"
            raise ValueError(f"{self._count} samples can't be drawn from {there} {what} with replace={replace}")
        super().__init__(iterator, seed, epoch)

    def _order(self) -> Selection:
        draw = drawn_again if self._replace else drawn_once
        return draw(self._count, self._length, self._weights, self._seed, self._epoch)
