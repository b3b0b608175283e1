"""The chunk index of a remote file: kept in the user's cache by the file's version, else read in few round trips."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import h5py

from datastack_fs.formats.hdf5_btree import chunk_index_of_tree
from datastack_fs.formats.hdf5_chunks import ChunkIndex, ChunkIndexBuilder, chunk_index
from datastack_fs.formats.packed_arrays import packed, unpacked
from datastack_fs.index_cache import IndexCache, IndexKey
from datastack_fs.resource import StreamedResource

KEPT_FROM: Final = 64
"""Chunks from which on an index is kept: that of fewer is a single node."""

_BROKEN: Final = (ValueError, TypeError, KeyError, AttributeError)


def remote_chunk_index(
    dataset: h5py.Dataset, resource: StreamedResource, *, has_plain_addresses: bool
) -> ChunkIndex | None:
    """The index of a chunked dataset of a remote file; None if only HDF5 knows what its own one means.

    Args:
        dataset: as h5py opens it.
        resource: its file.
        has_plain_addresses: whether they count from the first byte of the file: it has no user block.
    """
    key, cache = IndexKey.of(resource, "hdf5-chunks-1", {"dataset": dataset.name}), IndexCache()
    index = _read(cache.load(key), dataset)
    if index is not None:
        return index
    if has_plain_addresses and dataset.size:
        index = chunk_index_of_tree(dataset, resource)
    index = index or chunk_index(dataset)
    if index is not None and len(index.starts) >= KEPT_FROM:
        # Out of the file that keeps it, processes share its memory.
        index = _read(cache.store(key, _parts(index)), dataset) or index
    return index


def _parts(index: ChunkIndex) -> Iterator[bytes | memoryview]:
    arrays = {"places": index.places, "starts": index.starts, "sizes": index.sizes, "masks": index.masks}
    return packed({}, {name: array for name, array in arrays.items() if array is not None})


def _read(content: memoryview | None, dataset: h5py.Dataset) -> ChunkIndex | None:
    if content is None:
        return None
    try:
        _, arrays = unpacked(content)
        index = ChunkIndex(ChunkIndexBuilder(dataset.shape, dataset.chunks).grid, **{**_NOTHING, **arrays})
        lengths = {len(array) for array in arrays.values()}
    except _BROKEN:  # whatever a file leads to that is sealed, and of another making
        return None
    return index if len(lengths) == 1 else None


_NOTHING: Final[dict[str, Any]] = {"places": None, "masks": None}
