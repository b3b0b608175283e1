"""Which samples are stored together, so that an order can keep near each other what is fetched at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final

import numpy as np

from datastack_fs.iterators.indices import IndexArray
from datastack_fs.iterators.selections import Selection, looked_up

BLOCK_BYTES: Final = 1 << 20
"""About so much is a block where a format has none of its own: what lies unpacked, row after row."""


@dataclass(frozen=True)
class Blocks:
    """The samples of an iterator in blocks, of which a store gives all or none: chunks, row groups, runs of a file.

    Attributes:
        starts: where each block begins among ``places``; none of them is empty.
        length: how many samples there are.
        places: the samples, block after block; None for the order in which they stand.

    Examples:
        >>> blocks = Blocks.of_rows(10, 4)
        >>> len(blocks), blocks.samples(np.array([2, 0])).tolist()
        (3, [8, 9, 0, 1, 2, 3])
        >>> blocks.selected(range(2, 6)).starts.tolist()
        [0, 2]
    """

    starts: Selection
    length: int
    places: Selection | None = None

    @classmethod
    def of_rows(cls, length: int, rows: int) -> Blocks:
        """Blocks of so many samples each, but for the last."""
        return cls(range(0, length, max(1, rows)), length)

    @classmethod
    def of_bytes(cls, length: int, bytes_each: int) -> Blocks:
        """Blocks of about a megabyte, of samples of so many bytes each."""
        return cls.of_rows(length, BLOCK_BYTES // max(1, bytes_each))

    @classmethod
    def of_offsets(cls, offsets: Sequence[int]) -> Blocks:
        """Blocks of about a megabyte, of samples that begin at such offsets of one file, in any order."""
        numbers = np.array(offsets, np.int64) // BLOCK_BYTES
        places = np.argsort(offsets, kind="stable")
        is_in_order = np.array_equal(places, np.arange(len(places)))
        return cls(_changes(numbers[places]), len(places), None if is_in_order else places)

    def __len__(self) -> int:
        return len(self.starts)

    def sizes(self, numbers: IndexArray) -> IndexArray:
        """How many samples some of the blocks have."""
        following = looked_up(self.starts, np.minimum(numbers + 1, len(self) - 1))
        following[numbers == len(self) - 1] = self.length
        sizes: IndexArray = following - looked_up(self.starts, numbers)
        return sizes

    def samples(self, numbers: IndexArray) -> IndexArray:
        """The samples of some of the blocks, block after block."""
        sizes = self.sizes(numbers)
        before = np.cumsum(sizes) - sizes
        found = np.repeat(looked_up(self.starts, numbers) - before, sizes) + np.arange(sizes.sum())
        return found if self.places is None else looked_up(self.places, found)

    def selected(self, selection: Selection) -> Blocks:
        """The blocks of what a selection takes of these samples: its places, by the block that they lead to."""
        if not len(selection):
            return Blocks(range(0), 0)
        samples = looked_up(selection, np.arange(len(selection)))
        if self.places is None:
            numbers = self._numbers(samples)
        else:
            at = np.empty(self.length, np.int64)
            at[looked_up(self.places, np.arange(self.length))] = np.arange(self.length)
            numbers = self._numbers(at[samples])
        if np.all(numbers[1:] >= numbers[:-1]):
            return Blocks(_changes(numbers), len(numbers))
        places = np.argsort(numbers, kind="stable")
        return Blocks(_changes(numbers[places]), len(numbers), places)

    @staticmethod
    def joined(parts: Sequence[Blocks]) -> Blocks:
        """The blocks of samples that stand one part after the other."""
        if not parts:
            return Blocks(range(0), 0)
        offsets = [0, *accumulate(part.length for part in parts)]
        starts = [_all(part.starts) + offset for part, offset in zip(parts, offsets, strict=False)]
        places: Selection | None = None
        if any(part.places is not None for part in parts):
            each = [range(part.length) if part.places is None else part.places for part in parts]
            places = np.concatenate([_all(mine) + offset for mine, offset in zip(each, offsets, strict=False)])
        return Blocks(np.concatenate(starts), offsets[-1], places)

    def _numbers(self, samples: IndexArray) -> IndexArray:
        if isinstance(self.starts, range):
            numbers: IndexArray = samples // self.starts.step
            return numbers
        return np.searchsorted(_all(self.starts), samples, side="right") - 1


def _all(selection: Selection) -> IndexArray:
    return looked_up(selection, np.arange(len(selection)))


def _changes(numbers: IndexArray) -> Any:
    return np.append(0, np.flatnonzero(np.diff(numbers)) + 1)
