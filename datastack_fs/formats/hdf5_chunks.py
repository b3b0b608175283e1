"""Where the bytes of an HDF5 dataset are: chunk by chunk, or in one piece."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import h5py
import numpy as np
import numpy.typing as npt

from datastack_fs.iterators.indices import IndexArray
from datastack_fs.resource import Range

NOWHERE: Final = -1
_AT_ONCE: Final = 1 << 16


@dataclass(frozen=True)
class ChunkIndex:
    """The chunks of a dataset that are there, from one pass over the file's own index: 12 to 20 bytes for each.

    Attributes:
        grid: how many chunks there are along each axis.
        places: the place of each in the grid, as one number, ascending; None if all of the grid is there.
        starts: where each begins in the file.
        sizes: how many bytes each has there.
        masks: which filters were left out for each; None if for none.
    """

    grid: tuple[int, ...]
    places: npt.NDArray[Any] | None
    starts: IndexArray
    sizes: npt.NDArray[Any]
    masks: npt.NDArray[np.uint32] | None

    def find(self, places: IndexArray) -> IndexArray:
        """Which chunk lies at each place of the grid; -1 for one that was never written."""
        if self.places is None:
            return places
        if not len(self.places):
            return np.full(len(places), NOWHERE, np.int64)
        # Of the same type: else the whole index would be converted for each search.
        wanted = places.astype(self.places.dtype)
        found = np.minimum(np.searchsorted(self.places, wanted), len(self.places) - 1)
        return np.where(self.places[found] == wanted, found, NOWHERE)


class ChunkIndexBuilder:
    """Collects the chunks of a dataset, part by part, in as few bytes as their numbers need.

    Args:
        shape: of the dataset.
        chunk: the shape of its chunks.

    Examples:
        >>> builder = ChunkIndexBuilder((4, 6), (2, 3))
        >>> builder.add(np.array([[2, 3], [0, 0]]), np.array([90, 40]), np.array([6, 5]), np.zeros(2))
        >>> index = builder.finished()
        >>> index.places.tolist(), index.starts.tolist(), index.find(np.array([3, 1])).tolist()
        ([0, 3], [40, 90], [1, -1])
    """

    def __init__(self, shape: Sequence[int], chunk: Sequence[int]) -> None:
        self.grid = tuple(-(-size // step) for size, step in zip(shape, chunk, strict=True))
        self._chunk = np.array(chunk, np.int64)
        self._place_type = np.min_scalar_type(-max(1, math.prod(self.grid)))
        self._parts: list[list[npt.NDArray[Any]]] = []

    def add(self, corners: Any, starts: Any, sizes: Any, masks: Any) -> None:
        """The next chunks: the first element of each, shape (chunks, axes), and where the file has it."""
        starts = starts.astype(np.int64)
        there = starts >= 0  # an address that is not defined is the largest unsigned number: -1
        steps = corners[there].astype(np.int64) // self._chunk
        is_inside = bool((steps >= 0).all() and (steps < self.grid).all())
        places = np.ravel_multi_index(tuple(steps.T), self.grid) if is_inside else np.full(len(steps), NOWHERE)
        sizes, masks = sizes[there].astype(np.int64), masks[there].astype(np.uint32)
        if not len(sizes) or int(sizes.max()) < 1 << 32:
            sizes = sizes.astype(np.uint32)
        self._parts.append([places.astype(self._place_type), starts[there], sizes, masks if masks.any() else masks[:0]])

    def finished(self) -> ChunkIndex | None:
        """The index; None if there are chunks outside of the dataset, or two at one place."""
        counts = [len(part[0]) for part in self._parts]
        if any(len(part[3]) for part in self._parts):
            for part, count in zip(self._parts, counts, strict=True):
                part[3] = part[3] if len(part[3]) else np.zeros(count, np.uint32)
        masks, sizes, starts, places = (
            self._taken(kind) for kind in (np.uint32, np.uint32, np.int64, self._place_type)
        )
        if np.any(places[1:] <= places[:-1]):
            order = np.argsort(places, kind="stable")
            places, starts, sizes = places[order], starts[order], sizes[order]
            masks = masks[order] if len(masks) else masks
        if len(places) and (places[0] < 0 or np.any(places[1:] == places[:-1])):
            return None
        is_complete = len(places) == math.prod(self.grid)
        return ChunkIndex(self.grid, None if is_complete else places, starts, sizes, masks if len(masks) else None)

    def _taken(self, kind: Any) -> npt.NDArray[Any]:
        """The last column of all parts, which let go of it."""
        return np.concatenate([np.zeros(0, kind), *(part.pop() for part in self._parts)])


def chunk_index(dataset: h5py.Dataset) -> ChunkIndex | None:
    """The index of a chunked dataset, in one pass: asking HDF5 for one chunk after the other takes ten times as long.

    Returns:
        None if it names chunks outside of the dataset, or one twice: then only HDF5 knows what they mean.
    """
    builder = ChunkIndexBuilder(dataset.shape, dataset.chunks)
    corners: list[int] = []
    rest: list[tuple[int, int, int]] = []

    def take_over() -> None:
        table = np.array(rest, np.uint64).reshape(-1, 3)
        builder.add(np.array(corners, np.uint64).reshape(-1, dataset.ndim), *table.T)
        corners.clear()
        rest.clear()

    def note(found: Any) -> None:
        corners.extend(found.chunk_offset)
        rest.append((found.byte_offset, found.size, found.filter_mask))
        if len(rest) == _AT_ONCE:
            take_over()

    if math.prod(builder.grid):
        dataset.id.chunk_iter(note)
    take_over()
    return builder.finished()


IndexFinder: TypeAlias = Callable[[h5py.Dataset], ChunkIndex | None]
"""Finds the index of a dataset: ``chunk_index``, or what knows of a faster way for its file."""


class ChunkRanges:
    """The bytes that rows of a chunked dataset need: those of all chunks that they cross."""

    def __init__(self, dataset: h5py.Dataset, find_index: IndexFinder) -> None:
        self._index = find_index(dataset)
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
