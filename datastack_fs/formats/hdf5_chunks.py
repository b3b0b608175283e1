"""Where the bytes of an HDF5 dataset are: chunk by chunk, or in one piece."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from datastack_fs.iterators.indices import IndexArray
from datastack_fs.resource import Range


@dataclass(frozen=True)
class ChunkIndex:
    """The chunks of a dataset that are there, from one pass over the file's own index.

    Attributes:
        corners: the first element of each chunk, of shape (chunks, axes).
        starts: where each begins in the file; -1 for nowhere.
        sizes: how many bytes each has there.
    """

    corners: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]


def chunk_index(dataset: h5py.Dataset) -> ChunkIndex:
    """The index of a chunked dataset; asking HDF5 for one chunk after the other takes ten times as long and more."""
    found: list[tuple[int, ...]] = []
    dataset.id.chunk_iter(lambda chunk: found.append((*chunk.chunk_offset, chunk.byte_offset, chunk.size)))
    # An address that is not defined is the largest unsigned number: -1.
    table = np.array(found, dtype=np.uint64).reshape(-1, dataset.ndim + 2).astype(np.int64)
    return ChunkIndex(table[:, :-2], table[:, -2], table[:, -1])


class ChunkRanges:
    """The bytes that rows of a chunked dataset need: those of all chunks that they cross."""

    def __init__(self, dataset: h5py.Dataset) -> None:
        index = chunk_index(dataset)
        order = np.argsort(index.corners[:, 0], kind="stable")
        self._rows = index.corners[order, 0]
        self._starts, self._sizes = index.starts[order], index.sizes[order]
        self._chunk_rows = dataset.chunks[0]

    def ranges(self, indices: IndexArray) -> list[Range]:
        """Of sorted rows, each range once."""
        wanted = np.unique(indices // self._chunk_rows) * self._chunk_rows
        first = np.searchsorted(self._rows, wanted, "left")
        last = np.searchsorted(self._rows, wanted, "right")
        found = np.concatenate([np.arange(a, b) for a, b in zip(first, last, strict=True)])
        starts = self._starts[found]
        pairs = zip(starts.tolist(), (starts + self._sizes[found]).tolist(), strict=True)
        return [(start, stop) for start, stop in pairs if start >= 0]


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
