"""How an HDF5 file is laid out, and what that costs whoever reads it in shuffled batches."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import h5py
import numpy as np

from datastack_fs.formats.batch_cost import BatchCost, batch_cost
from datastack_fs.formats.hdf5_chunks import NOWHERE, ChunkIndex, ContiguousRanges, chunks_of, ranges_of
from datastack_fs.formats.hdf5_file import HDF5File
from datastack_fs.formats.hdf5_filters import FilterPipeline
from datastack_fs.formats.hdf5_mapped import is_plain
from datastack_fs.formats.hdf5_reader import is_read_whole
from datastack_fs.formats.hdf5_writing import CHUNK_BYTES, rows_per_chunk
from datastack_fs.iterators.indices import IndexArray
from datastack_fs.resource import Range, ResourceOpener, StreamedResource

_MUCH: Final = 4.0
"""Times more bytes than needed, from which on another chunk shape is advised: gzip alone wants chunks of some rows."""

_KNOWN: Final = {h5py.h5z.FILTER_DEFLATE: "gzip", h5py.h5z.FILTER_SHUFFLE: "shuffle", h5py.h5z.FILTER_LZF: "lzf"}
_SCATTERED: Final = 64
_WITHOUT_TREES: Final = 2  # version of the superblock from which on files mostly have other indexes
_SMALL_CHUNK: Final = 4 << 10
_MANY_CHUNKS: Final = 1024


@dataclass(frozen=True)
class DatasetLayout:
    """One dataset of a file.

    Attributes:
        name: its path.
        shape: in elements.
        dtype: of an element.
        chunks: the shape of a chunk; None if it is in one piece.
        filters: by name, in the order in which they were applied.
        stored_bytes: what it takes in the file.
        requests: that the store is sent for a batch, on average; None if they are not known. None are sent for what is
            small, and read whole when it is first used.
        fetched_bytes: in the answers to all of them.
        amplification: how many times what the rows of the batch take up, packed as they are.
        advice: what to change, if anything.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    chunks: tuple[int, ...] | None
    filters: tuple[str, ...]
    stored_bytes: int
    requests: float | None
    fetched_bytes: float | None
    amplification: float | None
    advice: tuple[str, ...]


def layouts(resource: StreamedResource, batch: int = 32) -> Iterator[DatasetLayout]:
    """The datasets of a file that hold samples, each with what shuffled batches of so many rows cost.

    Datasets without an axis, and those that lead to other files, are passed over.

    Args:
        resource: the HDF5 file.
        batch: rows in a batch.

    Raises:
        DatasetFileCorruptError: it is no HDF5 file, or a broken one.

    Examples:
        >>> import io
        >>> from datastack_fs.connectors.memory import MemoryStorageConnector
        >>> connector, file = MemoryStorageConnector("layout-example"), io.BytesIO()
        >>> with h5py.File(file, "w") as birds:
        ...     _ = birds.create_dataset("images", data=np.zeros((6400, 8, 8)), chunks=(6400, 1, 8))
        >>> info = connector.set_resource("birds.h5", file.getvalue())
        >>> (images,) = layouts(connector.get_resource("birds.h5"))
        >>> images.requests, images.amplification, images.advice[0]
        (2.0, 200.0, 'a row lies in 8 chunks: let a chunk hold whole rows')
    """
    file = HDF5File(resource)
    with file.reading():
        for name, dataset in file.everything().items():
            if isinstance(dataset, h5py.Dataset) and dataset.shape and not (dataset.is_virtual or dataset.external):
                yield _layout(file, file.find(name), batch, resource.connector)


def _layout(file: HDF5File, dataset: h5py.Dataset, batch: int, store: ResourceOpener) -> DatasetLayout:
    plist = dataset.id.get_create_plist()
    filters = [plist.get_filter(number) for number in range(plist.get_nfilters())]
    index = file.chunk_index(dataset) if dataset.chunks else None
    # HDF5 would read all of an index to say how much is stored, one node after the other.
    stored = int(index.sizes.sum()) if index is not None else int(dataset.id.get_storage_size())
    cost = _cost(dataset, index, batch, store, is_whole=file.begins_with_magic and is_read_whole(dataset))
    fetched = None if cost is None else cost.fetched_bytes
    needed = min(batch, len(dataset)) * stored / max(1, len(dataset))
    return DatasetLayout(
        name=dataset.name,
        shape=dataset.shape,
        dtype=str(dataset.dtype),
        chunks=dataset.chunks,
        filters=tuple(_KNOWN.get(code) or name.decode(errors="replace") for code, _, _, name in filters),
        stored_bytes=stored,
        requests=None if cost is None else cost.requests,
        fetched_bytes=fetched,
        amplification=round(fetched / needed, 2) if needed and fetched is not None else None,
        advice=tuple(_advice(dataset, index, fetched / needed if needed and fetched is not None else 1.0)),
    )


def _cost(
    dataset: h5py.Dataset, index: ChunkIndex | None, batch: int, store: ResourceOpener, *, is_whole: bool
) -> BatchCost | None:
    if is_whole:
        return BatchCost(0.0, 0.0)
    if not len(dataset) or (index is None and dataset.chunks):
        return None
    return batch_cost(lambda rows: [_ranges(dataset, index, rows)], len(dataset), batch, store)


def _ranges(dataset: h5py.Dataset, index: ChunkIndex | None, rows: IndexArray) -> list[Range]:
    if index is None:
        return ContiguousRanges(dataset, _row_bytes(dataset)).ranges(np.unique(rows))
    _, chunks = chunks_of(np.unique(rows // dataset.chunks[0]), index)
    return ranges_of(chunks[chunks != NOWHERE], index)


def _row_bytes(dataset: h5py.Dataset) -> int:
    return int(dataset.dtype.itemsize * math.prod(dataset.shape[1:]))


def _advice(dataset: h5py.Dataset, index: ChunkIndex | None, amplification: float) -> Iterator[str]:
    if dataset.size and not is_plain(dataset):
        yield "only HDF5 knows what its values are, on one thread: numbers, and bytes of fixed length, are faster"
    if not dataset.chunks or index is None:
        return
    beside = math.prod(index.grid[1:])
    if beside > 1:
        yield f"a row lies in {beside} chunks: let a chunk hold whole rows"
    best = rows_per_chunk(_row_bytes(dataset))
    if amplification > _MUCH and dataset.chunks[0] > best:
        yield f"a shuffled batch fetches {amplification:.0f} times what it needs: let a chunk hold {best} rows"
    if FilterPipeline.of(dataset, 1) is None:
        yield "only HDF5 undoes its filters, on one thread: gzip, with shuffle or without, is undone on all"
    if len(index.starts) >= _MANY_CHUNKS and index.sizes.mean() < _SMALL_CHUNK:
        yield f"{len(index.starts):,} small chunks make a long index: let each hold {CHUNK_BYTES >> 10} KiB"
    if len(index.starts) >= _SCATTERED and not _is_together(dataset):
        yield "its chunk index lies scattered over the file, which the first opening pays for: repack keeps it together"


def _is_together(dataset: h5py.Dataset) -> bool:
    """Whether the chunk index is none of the trees that HDF5 makes by default, or lies on pages of metadata."""
    creation = dataset.file.id.get_create_plist()
    is_paged = creation.get_file_space_strategy()[0] == h5py.h5f.FSPACE_STRATEGY_PAGE
    return bool(is_paged or creation.get_version()[0] >= _WITHOUT_TREES)
