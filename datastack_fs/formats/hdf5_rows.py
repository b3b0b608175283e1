"""The rows of an HDF5 dataset: which bytes a batch of them needs, and the batch, each chunk read once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import h5py
import numpy as np
import numpy.typing as npt

from datastack_fs.iterators.contents import element_type
from datastack_fs.iterators.indices import IndexArray
from datastack_fs.resource import Range

SPAN_BYTES: Final = 64 << 10
"""Rows of a dataset without chunks are read together when they are this close."""

BLOCK_BYTES: Final = 8 << 20
"""Most that is read in one go, unless a single row is larger."""


class HDF5Rows:
    """Reads rows of one dataset by slices: h5py's own selection of a list of rows takes 1 ms for each.

    Args:
        dataset: with at least one axis.
        plan: find out where its chunks are, so that ``ranges`` can tell; a local file has no use for it.
    """

    def __init__(self, dataset: h5py.Dataset, *, plan: bool) -> None:
        is_text = h5py.check_string_dtype(dataset.dtype) is not None
        self._source = dataset.asstr("utf-8") if is_text else dataset
        self._dtype = np.dtype(object) if is_text else dataset.dtype
        self._row_shape = dataset.shape[1:]
        row_bytes = max(1, dataset.dtype.itemsize * int(np.prod(self._row_shape, dtype=np.int64)))
        self._most = max(1, BLOCK_BYTES // row_bytes)
        near = dataset.chunks[0] if dataset.chunks else SPAN_BYTES // row_bytes
        self._near = min(max(1, near), self._most)
        self._places: _Places | None = None
        if plan:
            self._places = _Chunks(dataset) if dataset.chunks else _Contiguous(dataset, row_bytes)
        self.length: int = dataset.shape[0]

    def contents(self) -> str:
        """Type and shape of a row, in words."""
        return "text" if self._dtype.hasobject else element_type(self._dtype, self._row_shape)

    def ranges(self, indices: IndexArray) -> list[Range]:
        """The bytes of the file that these rows need; none where that is unknown, or of no use."""
        return [] if self._places is None else self._places.ranges(indices)

    def read(self, indices: IndexArray) -> npt.NDArray[Any]:
        """The rows at sorted indices without repeats, as a new array."""
        rows = np.empty((len(indices), *self._row_shape), dtype=self._dtype)
        for start, stop in self._runs(indices):
            first, last = int(indices[start]), int(indices[stop - 1])
            block = self._source[first : last + 1]
            # A run of neighbours needs no gather.
            rows[start:stop] = block if last - first == stop - start - 1 else block[indices[start:stop] - first]
        return rows

    def _runs(self, indices: IndexArray) -> Iterator[tuple[int, int]]:
        """Parts of the sorted indices that one slice covers: those in one chunk, and neighbours across chunks."""
        gaps = np.diff(indices)
        cuts = (np.diff(indices // self._near) != 0) & (gaps > 1) | (np.diff(indices // self._most) != 0)
        ends = [*(np.flatnonzero(cuts) + 1).tolist(), len(indices)] if len(indices) else []
        yield from zip([0, *ends][: len(ends)], ends, strict=True)


class _Contiguous:
    """Where the rows of a dataset without chunks are."""

    def __init__(self, dataset: h5py.Dataset, row_bytes: int) -> None:
        self._offset = dataset.id.get_offset()
        self._row_bytes = row_bytes

    def ranges(self, indices: IndexArray) -> list[Range]:
        if self._offset is None:  # nothing is written yet, or it is kept in the header
            return []
        starts = (self._offset + np.unique(indices) * self._row_bytes).tolist()
        return [(start, start + self._row_bytes) for start in starts]


class _Chunks:
    """Where the chunks of a dataset are: three compact arrays, from one pass over the file's own index."""

    def __init__(self, dataset: h5py.Dataset) -> None:
        count = dataset.id.get_num_chunks()
        rows = np.empty(count, dtype=np.int64)
        self._starts = np.empty(count, dtype=np.int64)
        self._sizes = np.empty(count, dtype=np.int64)
        place = iter(range(count))

        def note(chunk: Any) -> None:
            number = next(place)
            rows[number] = chunk.chunk_offset[0]
            self._starts[number] = chunk.byte_offset
            self._sizes[number] = chunk.size

        dataset.id.chunk_iter(note)
        order = np.argsort(rows, kind="stable")
        self._rows, self._starts, self._sizes = rows[order], self._starts[order], self._sizes[order]
        self._chunk_rows = dataset.chunks[0]

    def ranges(self, indices: IndexArray) -> list[Range]:
        wanted = np.unique(indices // self._chunk_rows) * self._chunk_rows
        first = np.searchsorted(self._rows, wanted, "left")
        last = np.searchsorted(self._rows, wanted, "right")
        found = np.concatenate([np.arange(a, b) for a, b in zip(first, last, strict=True)])
        starts = self._starts[found]
        return list(zip(starts.tolist(), (starts + self._sizes[found]).tolist(), strict=True))


_Places = _Contiguous | _Chunks
