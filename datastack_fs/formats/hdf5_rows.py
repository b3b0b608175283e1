"""The rows of an HDF5 dataset, read by HDF5: which bytes a batch of them needs, and the batch, each chunk read once."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

import h5py
import numpy as np
import numpy.typing as npt

from datastack_fs.formats.hdf5_chunks import ChunkRanges, ContiguousRanges, IndexFinder
from datastack_fs.formats.hdf5_lengths import LengthCheck
from datastack_fs.formats.hdf5_text import decode_text, holds_text
from datastack_fs.iterators.columnar import constant
from datastack_fs.iterators.columns import own
from datastack_fs.iterators.indices import IndexArray
from datastack_fs.resource import Range

SPAN_BYTES: Final = 64 << 10
"""Rows of a dataset without chunks are read together when they are this close."""

BLOCK_BYTES: Final = 8 << 20
"""Most that is read in one go, unless a single row, or a chunk that is needed, is larger."""


class HDF5Rows:
    """Reads rows of one dataset by slices: h5py's own selection of a list of rows takes 1 ms for each.

    Args:
        dataset: with at least one axis.
        find_index: finds out where its chunks are, so that ``ranges`` can tell; a local file has no use for it.
        lengths: checks its values of variable length before HDF5 reads them.
    """

    def __init__(
        self, dataset: h5py.Dataset, find_index: IndexFinder | None, lengths: LengthCheck | None = None
    ) -> None:
        self._lengths = lengths
        self._source, self._dtype = _source(dataset)
        self._inner_text = dataset.dtype if holds_text(dataset.dtype) else None
        self._row_shape = dataset.shape[1:]
        element_bytes = dataset.dtype.itemsize if lengths is None else lengths.element_bytes
        row_bytes = max(1, element_bytes * math.prod(self._row_shape))
        most = max(1, BLOCK_BYTES // row_bytes)
        if dataset.chunks:  # no block ends within a chunk, which would have to be read twice
            self._near = int(dataset.chunks[0])
            self._most = max(1, most // self._near) * self._near
        else:
            self._near = min(max(1, SPAN_BYTES // row_bytes), most)
            self._most = most
        self._places: ChunkRanges | ContiguousRanges | None = None
        if find_index is not None:
            by_chunks = dataset.chunks is not None
            self._places = ChunkRanges(dataset, find_index) if by_chunks else ContiguousRanges(dataset, row_bytes)

    def ranges(self, indices: IndexArray) -> list[Range]:
        """The bytes of the file that these rows need; none where that is unknown, or of no use."""
        return [] if self._places is None else self._places.ranges(indices)

    def read(self, indices: IndexArray) -> npt.NDArray[Any]:
        """The rows at sorted indices without repeats, as a new array."""
        rows = np.empty((len(indices), *self._row_shape), dtype=self._dtype)
        for start, stop in self._runs(indices):
            first, last = int(indices[start]), int(indices[stop - 1])
            if self._lengths is not None:
                self._lengths.check(first, last)
            block = self._source[first : last + 1]
            # A run of neighbours needs no gather.
            rows[start:stop] = block if last - first == stop - start - 1 else block[indices[start:stop] - first]
        if self._inner_text is not None:
            decode_text(rows, self._inner_text)
        return rows

    def _runs(self, indices: IndexArray) -> Iterator[tuple[int, int]]:
        """Parts of the sorted indices that one slice covers: those in one chunk, and neighbours across chunks."""
        gaps = np.diff(indices)
        cuts = (np.diff(indices // self._near) != 0) & (gaps > 1) | (np.diff(indices // self._most) != 0)
        ends = [*(np.flatnonzero(cuts) + 1).tolist(), len(indices)] if len(indices) else []
        yield from zip([0, *ends][: len(ends)], ends, strict=True)


class SingleValue:
    """A dataset without an axis: the same value for every sample."""

    def __init__(self, dataset: h5py.Dataset, lengths: LengthCheck | None = None) -> None:
        if lengths is not None:
            lengths.check(0, 0)
        source, dtype = _source(dataset)
        self._value = source[()]
        self._is_object = dtype == np.dtype(object)
        if not self._is_object:
            self._value = np.asarray(self._value, dtype.base)
            if holds_text(dtype):
                decode_text(self._value, dataset.dtype)

    def read(self, indices: IndexArray) -> npt.NDArray[Any]:
        """The value, as often as there are indices, as a new array."""
        if self._is_object:
            return copies(constant(self._value, len(indices)))
        return np.repeat(self._value[np.newaxis], len(indices), axis=0)


def copies(rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The rows, where two of them may be one object: then they are made two, in place."""
    if rows.dtype == np.dtype(object):
        for place in np.ndindex(rows.shape):
            rows[place] = own(rows[place])
    return rows


def _source(dataset: h5py.Dataset) -> tuple[Any, np.dtype[Any]]:
    """What gives values when it is sliced, text as ``str``, and their type."""
    if h5py.check_string_dtype(dataset.dtype) is not None:
        return dataset.asstr("utf-8"), np.dtype(object)
    return dataset, dataset.dtype
