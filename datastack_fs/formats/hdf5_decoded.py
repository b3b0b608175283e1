"""Rows of a chunked HDF5 dataset, read without HDF5: which chunks a batch needs, and its rows of them."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any, Final

import h5py
import numpy as np
import numpy.typing as npt

from datastack_fs.errors import DatasetFileCorruptError
from datastack_fs.formats.hdf5_chunks import NOWHERE, ChunkIndex, IndexFinder, chunks_of, ranges_of
from datastack_fs.formats.hdf5_filters import ChunkError, FilterPipeline
from datastack_fs.formats.hdf5_mapped import has_fill
from datastack_fs.formats.local import PinnedFile
from datastack_fs.formats.recent import RecentPieces
from datastack_fs.formats.stored_array import RowBatch
from datastack_fs.iterators.indices import IndexArray
from datastack_fs.iterators.planning import Answers, ByteRanges, Plan
from datastack_fs.resource import Range, ResourceInfo, ResourceOpener
from datastack_fs.threads import map_in_threads

_WORTH_THREADS: Final = 512 << 10
"""Bytes to unpack from which on more than one thread does it."""

_RECENT_BYTES: Final = 16 << 20
"""Of chunks as they are stored: rows that are read one by one lie in the chunk that was fetched for the last one."""

_ROW_BYTES: Final = 1 << 10
"""Rows as large as this are fetched by themselves where no filter stands before them; of smaller ones, whole chunks."""


class DecodedRows:
    """Rows of a dataset whose chunks hold the bytes of numpy arrays, behind filters that are undone here.

    Args:
        dataset: its shape and type.
        index: where its chunks are.
        filters: what they went through.
        what: names it in errors.
    """

    def __init__(self, dataset: h5py.Dataset, index: ChunkIndex, filters: FilterPipeline, what: str) -> None:
        self._index, self._filters, self._what = index, filters, what
        self._dtype = dataset.dtype.base
        inner = dataset.dtype.shape  # an element may be an array itself
        self._row_shape = (*dataset.shape[1:], *inner)
        self._chunk_shape = (*dataset.chunks, *inner)
        self._chunk_rows = int(dataset.chunks[0])
        self._recent = RecentPieces(_RECENT_BYTES)
        self._fill = None if index.places is None else dataset.fillvalue
        self._row_bytes = math.prod(self._row_shape) * self._dtype.itemsize
        is_whole = self._chunk_shape[1:] == self._row_shape and self._row_bytes >= _ROW_BYTES
        is_unpacked = dataset.id.get_create_plist().get_nfilters() == 0 and index.masks is None
        self._has_rows = is_whole and is_unpacked and bool((index.sizes == filters.chunk_bytes).all())

    def plan(self, connector: ResourceOpener, info: ResourceInfo, indices: IndexArray) -> Plan[npt.NDArray[Any]]:
        """The chunks of some rows, each once, and the rows of them in the order of the indices."""
        if self._has_rows and len(indices) > 1:
            return self._plan_rows(connector, info, indices)
        batch = _Batch(self, indices, self._recent)
        request = ByteRanges(connector, info.identifier, info, batch.ranges)
        return Plan.of([request], lambda answers: batch.rows(answers[0]))

    def _plan_rows(self, connector: ResourceOpener, info: ResourceInfo, indices: IndexArray) -> Plan[npt.NDArray[Any]]:
        """The bytes of the rows alone, where chunks are rows one after the other as they are."""
        numbers = indices // self._chunk_rows
        chunks = self._index.find(numbers)
        there = chunks != NOWHERE
        if not there.any():
            return Plan.of((), lambda _: np.full((len(indices), *self._row_shape), self._fill, self._dtype))
        local = (indices - numbers * self._chunk_rows)[there]
        batch = RowBatch(self._index.starts[chunks[there]] + local * self._row_bytes, self._row_bytes)

        def rows(answers: Sequence[Answers]) -> npt.NDArray[Any]:
            stored = batch.rows(answers[0], self._row_shape, self._dtype)
            if len(stored) == len(indices):
                return stored
            found = np.full((len(indices), *self._row_shape), self._fill, self._dtype)
            found[there] = stored
            return found

        touched = len(np.unique(chunks[there])) * self._filters.chunk_bytes
        return Plan.of([ByteRanges(connector, info.identifier, info, batch.ranges, touched)], rows)

    def read(self, file: PinnedFile, indices: IndexArray) -> npt.NDArray[Any]:
        """The rows, out of a file of this machine."""
        batch = _Batch(self, indices, None)
        file.check()
        with memoryview(file.buffer) as content:
            if any(stop > len(content) for _, stop in batch.ranges):
                raise DatasetFileCorruptError(f"{self._what}: chunks lie beyond the end of the file")
            rows = batch.rows([content[start:stop] for start, stop in batch.ranges])
        file.check()
        return rows


class _Batch:
    """The chunks of a batch of rows."""

    def __init__(self, column: DecodedRows, indices: IndexArray, recent: RecentPieces | None) -> None:
        self._column, self._recent = column, recent
        numbers = indices // column._chunk_rows
        # Rows of one chunk stand together in this order.
        self._order = np.argsort(numbers, kind="stable")
        self._local = (indices - numbers * column._chunk_rows)[self._order]
        steps, first = np.unique(numbers[self._order], return_index=True)
        self._bounds = [*first.tolist(), len(indices)]
        self._beside, chunks = chunks_of(steps, column._index)
        self._chunks = chunks.ravel()
        there = self._chunks[self._chunks != NOWHERE].tolist()
        found = {} if recent is None else {chunk: recent.get(chunk) for chunk in there}
        self._contents: dict[int, Any] = {chunk: content for chunk, content in found.items() if content is not None}
        self._missing = np.array([chunk for chunk in there if chunk not in self._contents], np.int64)
        self.ranges: list[Range] = ranges_of(self._missing, column._index)

    def rows(self, answers: Sequence[Any]) -> npt.NDArray[Any]:
        """The rows, once the bytes of the chunks are there."""
        column = self._column
        for chunk, content in zip(self._missing.tolist(), answers, strict=True):
            self._contents[chunk] = content
        rows = np.empty((len(self._order), *column._row_shape), column._dtype)

        def place(number: int) -> None:
            self._place(rows, number, self._contents.get(int(self._chunks[number])))

        unpacked = len(self._chunks) * column._filters.chunk_bytes
        is_work = column._filters.is_packed and unpacked >= _WORTH_THREADS
        map_in_threads(place, range(len(self._chunks)), (os.cpu_count() or 1) if is_work else 1)
        if self._recent is not None:  # a damaged chunk was an error
            for chunk in self._missing.tolist():
                self._recent.keep(chunk, self._contents[chunk])
        return rows

    def _place(self, rows: npt.NDArray[Any], number: int, content: Any) -> None:
        """Puts the rows of one chunk where they belong."""
        column = self._column
        step, beside = divmod(number, len(self._beside))
        start, stop = self._bounds[step], self._bounds[step + 1]
        corner = self._beside[beside]
        sizes = column._chunk_shape[1 : len(corner) + 1]
        target: Any = (
            self._order[start:stop],
            *(slice(place * size, (place + 1) * size) for place, size in zip(corner, sizes, strict=True)),
        )
        if content is None:
            rows[target] = column._fill
            return
        chunk = self._decoded(int(self._chunks[number]), content)
        # The last chunk of an axis may reach beyond the end.
        picked: Any = (
            self._local[start:stop],
            *(
                slice(min(size, length - place * size))
                for place, size, length in zip(corner, sizes, column._row_shape, strict=False)
            ),
        )
        rows[target] = chunk[picked]

    def _decoded(self, chunk: int, content: Any) -> npt.NDArray[Any]:
        column = self._column
        mask = 0 if column._index.masks is None else int(column._index.masks[chunk])
        try:
            undone = column._filters.undone(content, mask)
        except ChunkError as error:
            at = int(column._index.starts[chunk])
            raise DatasetFileCorruptError(f"{column._what}: the chunk at byte {at:,} is damaged: {error}") from error
        found: npt.NDArray[Any] = np.frombuffer(undone, column._dtype).reshape(column._chunk_shape)
        return found


def decoded_rows(dataset: h5py.Dataset, what: str, file_bytes: int, find_index: IndexFinder) -> DecodedRows | None:
    """The rows of a chunked dataset of a plain type, if its filters can be undone here; None where only HDF5 can.

    Args:
        dataset: as h5py opens it.
        what: names it in errors.
        file_bytes: the size of its file.
        find_index: finds out where its chunks are.

    Raises:
        DatasetFileCorruptError: the index can't be true, and HDF5 might not survive it.
    """
    filters = FilterPipeline.of(dataset, math.prod(dataset.chunks) * dataset.dtype.itemsize)
    index = None if filters is None else find_index(dataset)
    if filters is None:
        return None
    if index is None or (len(index.starts) and bool((index.starts + index.sizes).max() > file_bytes)):
        if filters.has_checksum:  # HDF5 2.0 crashes over chunks that are smaller than their checksum
            raise DatasetFileCorruptError(f"{what}: its chunk index is damaged")
        return None  # of a file whose addresses are wrong, HDF5 will say so
    if index.places is not None and not has_fill(dataset):
        return None
    return DecodedRows(dataset, index, filters, what)
