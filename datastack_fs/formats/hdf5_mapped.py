"""Rows of an HDF5 dataset that lies in a local file as it is: gathered from a memory map, without HDF5."""

from __future__ import annotations

import itertools
import math
from typing import Any, Final

import h5py
import numpy as np
import numpy.typing as npt

from datastack_fs.formats.hdf5_chunks import NOWHERE, chunk_index
from datastack_fs.formats.local import PinnedFile
from datastack_fs.iterators.indices import IndexArray

_MOST_PART: Final = 1 << 31  # bytes: numpy's types are not larger
_MOST_EMPTY: Final = 1 << 20  # chunks that were never written

Addresses = npt.NDArray[np.int64]


class MappedRows:
    """Rows of a dataset without filters, read by the addresses of its chunks; threads may share it.

    A dataset without chunks is one that has a single chunk.

    Args:
        file: where it lies.
        dataset: its shape and type.
        chunk: the shape of a chunk.
        addresses: where each chunk begins, by its place in the grid of chunks; -1 for one that was never written.
        fill: what is read of those.
    """

    def __init__(
        self, file: PinnedFile, dataset: h5py.Dataset, chunk: tuple[int, ...], addresses: Addresses, fill: Any
    ) -> None:
        self._file = file
        self._dtype = dataset.dtype.base
        inner = dataset.dtype.shape  # an element may be an array itself
        self._row_shape = (*dataset.shape[1:], *inner)
        self._part_shape = (*chunk[1:], *inner)
        self._part_bytes = math.prod(self._part_shape) * self._dtype.itemsize
        self._fill = fill
        columns = addresses.reshape(len(addresses), -1).T  # of the grid of chunks
        self._missing = columns == NOWHERE if bool(columns.min() == NOWHERE) else None
        # Row i of a chunk lies at its offset + i rows, i counted from the first row of all.
        steps = np.arange(len(addresses)) * (chunk[0] * self._part_bytes)
        self._offsets = np.subtract(columns, steps, order="C")
        # As arrays: to convert an integer takes numpy as long as to divide the indices of a batch by it.
        self._chunk_rows, self._step = np.array(chunk[0], np.int64), np.array(self._part_bytes, np.int64)
        self._corners = list(itertools.product(*map(range, addresses.shape[1:])))
        # The bytes of the file at every address: what is gathered is copied as bytes, aligned or not.
        places = file.size - self._part_bytes + 1
        self._parts = file.array((places,), np.dtype((np.void, self._part_bytes)), strides=(1,))

    def read(self, indices: IndexArray) -> npt.NDArray[Any]:
        """The rows at checked indices, in any order, as a new array."""
        if len(self._corners) == 1 and self._part_shape == self._row_shape:
            return self._part(indices, 0)
        rows = np.empty((len(indices), *self._row_shape), self._dtype)
        for number, place in enumerate(self._corners):
            steps = zip(place, self._part_shape, strict=False)
            corner = (slice(None), *(slice(step * size, (step + 1) * size) for step, size in steps))
            window = rows[corner]
            # The last chunk of an axis may reach beyond the end.
            window[...] = self._part(indices, number)[tuple(slice(size) for size in window.shape)]
        return rows

    def _part(self, indices: IndexArray, number: int) -> npt.NDArray[Any]:
        """What the chunks of one column of the grid hold of the rows."""
        chunks = indices // self._chunk_rows
        addresses = self._offsets[number].take(chunks) + indices * self._step
        if self._missing is None:
            return self._gathered(addresses)
        missing = self._missing[number].take(chunks)
        parts = self._gathered(np.where(missing, 0, addresses))
        parts[missing] = self._fill
        return parts

    def _gathered(self, addresses: Addresses) -> npt.NDArray[Any]:
        parts = self._file.take(self._parts, addresses)
        typed: npt.NDArray[Any] = parts.view(self._dtype)
        return typed.reshape(len(addresses), *self._part_shape)


def mapped_rows(dataset: h5py.Dataset, file: PinnedFile) -> MappedRows | None:
    """The rows of a dataset, if its bytes in the file are those of a numpy array; None where only HDF5 can read it."""
    if dataset.id.get_create_plist().get_nfilters() > 0 or not is_plain(dataset):
        return None
    found = _chunked(dataset) if dataset.chunks else _contiguous(dataset)
    if found is None:
        return None
    chunk, addresses = found
    row_bytes = math.prod(chunk[1:]) * dataset.dtype.itemsize
    first, last = int(addresses.min()), int(addresses.max())
    if row_bytes >= _MOST_PART or first < NOWHERE or last + chunk[0] * row_bytes > file.size:
        return None  # of a file whose addresses are wrong, HDF5 will say so
    if first == NOWHERE and not has_fill(dataset):
        return None
    return MappedRows(file, dataset, chunk, addresses, dataset.fillvalue if first == NOWHERE else None)


def is_plain(dataset: h5py.Dataset) -> bool:
    """Whether it has values, whose bytes HDF5 would hand on without a conversion."""
    if not dataset.size or dataset.dtype.hasobject or h5py.check_string_dtype(dataset.dtype) is not None:
        return False
    stored = dataset.id.get_type()
    if stored.get_class() == h5py.h5t.ENUM and h5py.check_enum_dtype(dataset.dtype) is not None:
        stored = stored.get_super()
    return bool(h5py.h5t.py_create(dataset.dtype) == stored)


def _contiguous(dataset: h5py.Dataset) -> tuple[tuple[int, ...], Addresses] | None:
    start = dataset.id.get_offset()
    if start is None:  # nothing is written yet, or it is kept in the header
        return None
    return dataset.shape, np.full((1,) * dataset.ndim, start, dtype=np.int64)


def _chunked(dataset: h5py.Dataset) -> tuple[tuple[int, ...], Addresses] | None:
    chunk, index = dataset.chunks, chunk_index(dataset)
    if index is None or (index.sizes != math.prod(chunk) * dataset.dtype.itemsize).any():
        return None
    if math.prod(index.grid) > 4 * len(index.starts) + _MOST_EMPTY:  # next to nothing is written of it
        return None
    if index.places is None:
        return chunk, index.starts.reshape(index.grid)
    addresses = np.full(index.grid, NOWHERE, dtype=np.int64)
    addresses.flat[index.places] = index.starts
    return chunk, addresses


def has_fill(dataset: h5py.Dataset) -> bool:
    """Whether what was never written reads as a certain value: else HDF5 leaves it open."""
    plist = dataset.id.get_create_plist()
    return (
        dataset.dtype.subdtype is None
        and plist.fill_value_defined() != h5py.h5d.FILL_VALUE_UNDEFINED
        and plist.get_fill_time() != h5py.h5d.FILL_TIME_NEVER
    )
