"""The chunk index of a remote file, read from its tree level by level, all nodes of a level at once.

HDF5 reads one node after the other, and each is a round trip. This reads the trees that HDF5 writes unless it is told
``libver="latest"`` (version 1); whatever looks different is left to HDF5.

Source: the HDF5 File Format Specification 3.0, sections III.A.1 (nodes), IV.A.1.a (headers) and IV.A.2.i (layout).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any, Final

import h5py
import numpy as np
import numpy.typing as npt

from datastack_fs.formats.hdf5_chunks import ChunkIndex, ChunkIndexBuilder
from datastack_fs.resource import StreamedResource

_HEADER: Final = struct.Struct("<BxHII4x")  # version, messages, references, bytes of the first block
_MESSAGE: Final = struct.Struct("<HH4x")  # kind, bytes
_LAYOUT, _CONTINUATION = 0x08, 0x10
_CHUNKED_LAYOUT: Final = struct.Struct("<BBBQ")  # version, class, axes and one more, address of the tree
_CONTINUED: Final = struct.Struct("<QQ")  # address, bytes
_NODE: Final = struct.Struct("<4sBBHQQ")  # signature, kind, level, entries, neighbours
_ADDRESS_BYTES: Final = 8
_MOST_ENTRIES: Final = 64  # of a node, unless its writer set "istore_k", which next to nobody does
_MOST_BLOCKS: Final = 64  # of a header
_MOST_HEADER_BYTES: Final = 1 << 20  # in one block
_NODES_AT_ONCE: Final = 4096


class _UnknownTreeError(ValueError):
    """What is no tree of this kind."""


def chunk_index_of_tree(dataset: h5py.Dataset, resource: StreamedResource) -> ChunkIndex | None:
    """The index of a chunked dataset; None where HDF5 has to be asked.

    Args:
        dataset: with data, of a file without a user block.
        resource: that file; it is asked once for each level of the tree, or for every 4,096 nodes of it.
    """
    creation = dataset.file.id.get_create_plist()
    if creation.get_sizes() != (_ADDRESS_BYTES, _ADDRESS_BYTES):
        return None
    builder = ChunkIndexBuilder(dataset.shape, dataset.chunks)
    tree = _Tree(dataset.ndim, resource)
    # h5o.get_info would tell the address, too, but makes HDF5 read the whole tree.
    low, high = h5py.h5g.get_objinfo(dataset.id).objno
    try:
        root = _root(low | high << 32, dataset.ndim, resource)
        for entries in tree.leaves(root):
            builder.add(entries["corner"][:, :-1], entries["child"], entries["size"], entries["mask"])
    except (_UnknownTreeError, struct.error):
        return None
    return builder.finished()


def _root(header: int, axes: int, resource: StreamedResource) -> int:
    """The address of the tree's first node, which the header of a dataset names."""
    version, _, _, size = _HEADER.unpack(_read(resource, header, _HEADER.size))
    if version != 1:
        raise _UnknownTreeError(f"a header of version {version}")
    blocks = [(header + _HEADER.size, size)]
    for start, size in blocks:
        content = _read(resource, start, size)
        place = 0
        while place + _MESSAGE.size <= size:
            kind, length = _MESSAGE.unpack_from(content, place)
            place += _MESSAGE.size
            if kind == _LAYOUT:
                version, layout, dimensions, root = _CHUNKED_LAYOUT.unpack_from(content, place)
                if (version, layout, dimensions) != (3, 2, axes + 1):
                    raise _UnknownTreeError(f"a layout of version {version}")
                return int(root)
            if kind == _CONTINUATION and len(blocks) < _MOST_BLOCKS:
                blocks.append(_CONTINUED.unpack_from(content, place))
            place += length
    raise _UnknownTreeError("a header without a layout")


def _read(resource: StreamedResource, start: int, size: int) -> bytes:
    """What lies close to what HDF5 has just read, so that it need not be fetched again."""
    _check_place(start, resource.size)
    resource.seek(start)
    return resource.read(min(size, _MOST_HEADER_BYTES))


def _check_place(start: int, file_bytes: int) -> None:
    if start >= file_bytes:
        raise _UnknownTreeError("an address beyond the end")


class _Tree:
    """Reads the nodes of a tree of chunks.

    Args:
        axes: of the dataset.
        resource: the file.
    """

    def __init__(self, axes: int, resource: StreamedResource) -> None:
        corner = ("corner", "<u8", (axes + 1,))
        self._entry = np.dtype([("size", "<u4"), ("mask", "<u4"), corner, ("child", "<u8")])
        self._node_bytes = _NODE.size + _MOST_ENTRIES * self._entry.itemsize
        self._resource = resource

    def leaves(self, root: int) -> Iterator[npt.NDArray[Any]]:
        """The entries of the nodes of the lowest level, for some thousand nodes at a time."""
        top, entries = self._entries([_read(self._resource, root, self._node_bytes)], None)
        for level in range(top - 1, -1, -1):
            nodes = entries["child"].tolist()
            if len(set(nodes)) != len(nodes) or len(nodes) * self._node_bytes > self._resource.size:
                raise _UnknownTreeError("more nodes than there can be")
            parts = (
                self._fetched(nodes[start : start + _NODES_AT_ONCE], level)
                for start in range(0, len(nodes), _NODES_AT_ONCE)
            )
            if level == 0:
                yield from parts
                return
            entries = np.concatenate(list(parts))
        yield entries

    def _fetched(self, nodes: Sequence[int], level: int) -> npt.NDArray[Any]:
        resource = self._resource
        for start in nodes:
            _check_place(start, resource.size)
        ranges = [(start, min(start + self._node_bytes, resource.size)) for start in nodes]
        answers = resource.connector.get_ranges(resource.identifier, ranges, info=resource.info)
        return self._entries(answers, level)[1]

    def _entries(self, contents: Sequence[Any], level: int | None) -> tuple[int, npt.NDArray[Any]]:
        """The level of some nodes, which must be that one if it is known, and their entries."""
        found = []
        for content in contents:
            signature, kind, at, count, _, _ = _NODE.unpack_from(content)
            level = at if level is None else level
            end = _NODE.size + count * self._entry.itemsize
            if (signature, kind, at) != (b"TREE", 1, level) or end > min(len(content), self._node_bytes):
                raise _UnknownTreeError("no node of a tree of chunks")
            found.append(np.frombuffer(content[_NODE.size : end], self._entry))
        return level or 0, np.concatenate(found)
