"""Weights of samples, checked, and read in blocks (of ``CHUNK``), so that sums over many take little memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from datastack_fs.iterators.base import DatasetIterator
from datastack_fs.iterators.orders import CHUNK
from datastack_fs.iterators.splits_labels import classes_of

BALANCED: Final = "balanced"
_NUMBER_KINDS: Final = frozenset("biuf")


@dataclass(frozen=True, eq=False)
class Weights:
    """How often each sample is to be drawn, against the others; all checked.

    Attributes:
        values: a weight for each sample, or for each class.
        classes: the class of each sample, where weights are those of classes.
        ends: the sums of all weights up to the end of each block, added one by one from the front.

    Examples:
        >>> weights = Weights.of([1, 0, 2.5])
        >>> weights.total, weights.positive, weights.block(0).tolist()
        (3.5, 2, [1.0, 0.0, 2.5])
    """

    values: npt.NDArray[Any]
    classes: npt.NDArray[Any] | None
    ends: npt.NDArray[np.float64]
    positive: int

    @staticmethod
    def of(values: Sequence[float] | npt.NDArray[Any], classes: npt.NDArray[Any] | None = None) -> Weights:
        """Checks weights: finite numbers, none negative, at least one above 0.

        Raises:
            TypeError: they are no numbers.
            ValueError: one is negative or not finite, or all are 0; the message names it.
        """
        array = np.asarray(values)
        if array.ndim != 1 or array.dtype.kind not in _NUMBER_KINDS:
            raise TypeError(f"weights must be one row of numbers, not an array of {array.dtype}, shape {array.shape}")
        unchecked = Weights(array, classes, np.empty(0), 0)
        ends, positive, total = [], 0, 0.0
        for number, block in enumerate(unchecked):
            wrong = np.flatnonzero(~(np.isfinite(block) & (block >= 0)))
            if len(wrong):
                where = f"that of sample {number * CHUNK + int(wrong[0])} is {block[wrong[0]]}"
                raise ValueError(f"weights must be finite and not negative; {where}")
            total = float(_running(total, block)[-1])
            ends.append(total)
            positive += int(np.count_nonzero(block))
        if not 0 < total < np.inf:
            raise ValueError(f"the sum of the weights must be above 0 and finite; it is {total}")
        return Weights(array, classes, np.array(ends), positive)

    def __len__(self) -> int:
        return len(self.values if self.classes is None else self.classes)

    def __iter__(self) -> Iterator[npt.NDArray[np.float64]]:
        """The weights in blocks, in order."""
        return map(self.block, range(-(-len(self) // CHUNK)))

    @property
    def total(self) -> float:
        """Their sum."""
        return float(self.ends[-1])

    def block(self, number: int) -> npt.NDArray[np.float64]:
        """The weights of one block."""
        part = slice(number * CHUNK, (number + 1) * CHUNK)
        found = self.values[part] if self.classes is None else self.values[self.classes[part]]
        return found.astype(np.float64)

    def places(self, points: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """Where points, in rising order, fall when the weights are laid one after the other; each within the sum."""
        # Rounding may lift the last points up to the sum, which is the end of no sample.
        within = np.minimum(points, np.nextafter(self.total, 0))
        blocks = np.searchsorted(self.ends, within, side="right")
        found = np.empty(len(points), np.int64)
        for number in np.unique(blocks).tolist():
            start, stop = np.searchsorted(blocks, [number, number + 1])
            sums = _running(self.ends[number - 1] if number else 0.0, self.block(number))
            found[start:stop] = np.searchsorted(sums, within[start:stop], side="right") + number * CHUNK
        return found


def weights_of(iterator: DatasetIterator[Any], weights: Sequence[float] | npt.NDArray[Any] | str) -> Weights:
    """Weights as a caller gives them: one for each sample, or "balanced", so that every class is drawn alike.

    Examples:
        >>> from datastack_fs.iterators import SequenceDatasetIterator
        >>> weights_of(SequenceDatasetIterator("a b c d".split(), [0, 0, 0, 1]), "balanced").block(0).tolist()
        [0.3333333333333333, 0.3333333333333333, 0.3333333333333333, 1.0]
    """
    if isinstance(weights, str):
        if weights != BALANCED:
            raise ValueError(f"weights are one number for each sample, or {BALANCED!r}; not {weights!r}")
        kinds = classes_of(iterator)
        return Weights.of(1 / kinds.counts, kinds.codes)
    checked = Weights.of(weights)
    if len(checked) != len(iterator):
        raise ValueError(f"there are {len(iterator)} samples but {len(checked)} weights")
    return checked


def _running(before: float, block: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Sums from the front, number by number: the same on every machine, whatever the size of the blocks."""
    with np.errstate(over="ignore"):  # refused by their total
        sums: npt.NDArray[np.float64] = np.cumsum(np.concatenate([[before], block]))[1:]
    return sums
