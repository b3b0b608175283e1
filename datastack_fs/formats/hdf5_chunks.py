"""Where the bytes of an HDF5 dataset are: chunk by chunk, or in one piece."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any, Final

import h5py
import numpy as np
import numpy.typing as npt

from datastack_fs.iterators.indices import IndexArray
from datastack_fs.resource import Range

NOWHERE: Final = -1
_AT_ONCE: Final = 1 << 16


@dataclass(frozen=True)
class ChunkIndex:
    """The chunks of a dataset that are there, from one pass over the file's own index: 16 to 28 bytes for each.

    Attributes:
        grid: how many chunks there are along each axis.
        places: the place of each in the grid, as one number, ascending; None if all of the grid is there.
        starts: where each begins in the file.
        sizes: how many bytes each has there.
        masks: which filters were left out for each; None if for none.
    """

    grid: tuple[int, ...]
    places: IndexArray | None
    starts: IndexArray
    sizes: IndexArray
    masks: npt.NDArray[np.uint32] | None

    def find(self, places: IndexArray) -> IndexArray:
        """Which chunk lies at each place of the grid; -1 for one that was never written."""
        if self.places is None:
            return places
        if not len(self.places):
            return np.full(len(places), NOWHERE, np.int64)
        found = np.minimum(np.searchsorted(self.places, places), len(self.places) - 1)
        return np.where(self.places[found] == places, found, NOWHERE)


def chunk_index(dataset: h5py.Dataset) -> ChunkIndex | None:
    """The index of a chunked dataset, in one pass: asking HDF5 for one chunk after the other takes ten times as long.

    Returns:
        None if it names chunks outside of the dataset, or one twice: then only HDF5 knows what they mean.
    """
    chunk = dataset.chunks
    grid = tuple(-(-size // step) for size, step in zip(dataset.shape, chunk, strict=True))
    corners: list[int] = []
    rest: list[tuple[int, int, int]] = []
    parts: list[tuple[IndexArray, npt.NDArray[np.int64]]] = []

    def take_over() -> None:
        steps = np.array(corners, np.uint64).reshape(-1, len(grid)).astype(np.int64) // np.array(chunk)
        is_inside = bool((steps >= 0).all() and (steps < grid).all())
        places = np.ravel_multi_index(tuple(steps.T), grid) if is_inside else np.full(len(steps), NOWHERE)
        # An address that is not defined is the largest unsigned number: -1.
        parts.append((places.astype(np.int64), np.array(rest, np.uint64).reshape(-1, 3).astype(np.int64)))
        corners.clear()
        rest.clear()

    def note(found: Any) -> None:
        corners.extend(found.chunk_offset)
        rest.append((found.byte_offset, found.size, found.filter_mask))
        if len(rest) == _AT_ONCE:
            take_over()

    if math.prod(grid):
        dataset.id.chunk_iter(note)
    take_over()
    places = np.concatenate([part for part, _ in parts])
    table = np.concatenate([part for _, part in parts])
    there = table[:, 0] >= 0
    if not there.all():
        places, table = places[there], table[there]
    if np.any(places[1:] <= places[:-1]):
        order = np.argsort(places, kind="stable")
        places, table = places[order], table[order]
    if len(places) and (places[0] < 0 or np.any(places[1:] == places[:-1])):
        return None
    starts, sizes, masks = (np.ascontiguousarray(column) for column in table.T)
    is_complete = len(places) == math.prod(grid)
    return ChunkIndex(
        grid, None if is_complete else places, starts, sizes, masks.astype(np.uint32) if masks.any() else None
    )


class ChunkRanges:
    """The bytes that rows of a chunked dataset need: those of all chunks that they cross."""

    def __init__(self, dataset: h5py.Dataset) -> None:
        self._index = chunk_index(dataset)
        self._chunk_rows = dataset.chunks[0]

    def ranges(self, indices: IndexArray) -> list[Range]:
        """Of rows, each range once."""
        if self._index is None:
            return []
        _, found = chunks_of(np.unique(indices // self._chunk_rows), self._index)
        return ranges_of(found[found != NOWHERE], self._index)


def chunks_of(numbers: IndexArray, index: ChunkIndex) -> tuple[list[tuple[int, ...]], IndexArray]:
    """The chunks that lie side by side at each step along the first axis.

    Returns:
        the places of a row of chunks along the other axes, and which chunks they are, of shape (steps, places).
    """
    beside = list(itertools.product(*map(range, index.grid[1:])))
    places = numbers[:, np.newaxis] * len(beside) + np.arange(len(beside))
    return beside, index.find(places.ravel()).reshape(places.shape)


def ranges_of(chunks: IndexArray, index: ChunkIndex) -> list[Range]:
    """The bytes of some chunks."""
    starts = index.starts[chunks]
    return list(zip(starts.tolist(), (starts + index.sizes[chunks]).tolist(), strict=True))


class ContiguousRanges:
    """The bytes that rows of a dataset without chunks need."""

    def __init__(self, dataset: h5py.Dataset, row_bytes: int) -> None:
        self._start: Any = dataset.id.get_offset()
        self._row_bytes = row_bytes

    def ranges(self, indices: IndexArray) -> list[Range]:
        """Of sorted rows, neighbours joined."""
        if self._start is None:  # nothing is written yet, or it is kept in the header
            return []
        ends = np.flatnonzero(np.diff(indices) != 1)
        first, last = indices[np.append(0, ends + 1)], indices[np.append(ends, len(indices) - 1)]
        starts, stops = self._start + first * self._row_bytes, self._start + (last + 1) * self._row_bytes
        return list(zip(starts.tolist(), stops.tolist(), strict=True))
