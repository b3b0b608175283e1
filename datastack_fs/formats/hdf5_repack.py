"""An HDF5 file rewritten for object storage: whole rows in chunks of one request, metadata together."""

from __future__ import annotations

import os
import tempfile
from collections import deque
from typing import Any, Final

import h5py
import numpy as np

from datastack_fs.errors import DatasetFileCorruptError
from datastack_fs.formats.hdf5_checks import check_stored, holds_references
from datastack_fs.formats.hdf5_file import HDF5File, link_of
from datastack_fs.formats.hdf5_mapped import is_plain
from datastack_fs.formats.hdf5_reader import HDF5Reader
from datastack_fs.formats.hdf5_rechunked import Packing, RowReader, copy_rows, new_layout, rows_in_chunks
from datastack_fs.formats.hdf5_references import Address, NewPlaces, address, encoded
from datastack_fs.formats.hdf5_writing import CHUNK_BYTES
from datastack_fs.resource import ResourceInfo, StreamedResource
from datastack_fs.storage import StorageConnector

_LIBVER: Final = ("v110", "latest")  # the oldest with a compact chunk index; newer only what the source has newer
_METADATA_BYTES: Final = 1 << 20
"""Metadata is given room in blocks of this size."""

_SMALL: Final = 1 << 20
"""Bytes up to which values are read by HDF5 itself: opening the file once more takes longer."""

_PAGE_BOUNDS: Final = (512, 1 << 30)  # HDF5's own
_SMALL_PAGE: Final = 4 << 10
_CHUNKS_IN_PAGE: Final = 16
_PAGES_IN_FILE: Final = 32
_MOST_UNUSED: Final = 0.1
_MERGE_NAMED_TYPES: Final = 0x20  # H5O_COPY_MERGE_COMMITTED_DTYPE_FLAG, which h5py has no name for


def repack(
    source: StreamedResource,
    connector: StorageConnector,
    identifier: str,
    *,
    chunk_bytes: int = CHUNK_BYTES,
    packing: Packing = "keep",
    paged: bool = False,
    page_bytes: int | None = None,
    overwrite: bool = True,
) -> ResourceInfo:
    """Stores the same groups, datasets and attributes in another layout, all or nothing.

    Chunked datasets of numbers get chunks of whole rows, read and written some MiB at a time; what was written is read
    again and compared. Those in one piece stay so, unless they are to be packed. Others (text, single values, values
    of variable length) are copied as they are. References lead to the same objects of the new file; links of all
    kinds, named types, and the order of what is in groups stay. A user block before the file's first byte is left
    out. The new file is made in the folder for temporary files first, which must have room for it.

    Args:
        source: the HDF5 file.
        connector: the store of the new one.
        identifier: its name there; that of the source replaces it.
        chunk_bytes: of a chunk, unpacked, unless a row alone is larger.
        packing: ``"keep"``, ``"none"`` or ``"gzip"``.
        paged: keep metadata and data on pages of their own, for readers with a page buffer. This library reads such a
            file no faster than one without.
        page_bytes: of a page, which makes the file paged. The default holds 16 chunks, or is 4 KiB where that left a
            tenth of the file unused: a page a little larger than a chunk would nearly double it.
        overwrite: whether what has the name may be replaced.

    Raises:
        DatasetFileCorruptError: the source is broken, or holds a reference to what has no name; or what was written is
            not what was read.
        MaliciousFilePathError: the values of a dataset are in another file.
        ResourceExistsError: the name is taken, with ``overwrite=False``.

    Examples:
        >>> import io
        >>> from datastack_fs.connectors.memory import MemoryStorageConnector
        >>> from datastack_fs.formats.hdf5 import HDF5DatasetIterator
        >>> connector, file = MemoryStorageConnector("repack-example"), io.BytesIO()
        >>> with h5py.File(file, "w") as birds:
        ...     _ = birds.create_dataset("images", data=np.ones((640, 8, 8)), chunks=(640, 1, 8))
        >>> info = connector.set_resource("birds.h5", file.getvalue())
        >>> info = repack(connector.get_resource("birds.h5"), connector, "packed.h5")
        >>> with h5py.File(connector.get_resource("packed.h5")) as birds:
        ...     birds["images"].chunks
        (128, 8, 8)
    """
    if packing not in ("keep", "none", "gzip"):
        raise ValueError(f"packing={packing!r}: it is 'keep', 'none' or 'gzip'")
    if chunk_bytes < 1:
        raise ValueError(f"chunk_bytes={chunk_bytes}: a chunk has at least one byte")
    least, largest = _PAGE_BOUNDS
    if page_bytes is not None and not least <= page_bytes <= largest:
        raise ValueError(f"page_bytes={page_bytes}: a page has {least} to {largest:,} bytes")
    with tempfile.TemporaryDirectory(prefix="datastack-") as folder:
        path = os.path.join(folder, "repacked.h5")
        if paged and page_bytes is None:
            _make_paged(source, path, chunk_bytes, packing)
        else:
            _Copy(source, chunk_bytes, packing).make(path, page_bytes)
        with open(path, "rb") as stream:
            return connector.set_resource(identifier, stream, overwrite=overwrite)


def _make_paged(source: StreamedResource, path: str, chunk_bytes: int, packing: Packing) -> None:
    least, largest = _PAGE_BOUNDS
    large = min(max(least, _CHUNKS_IN_PAGE * chunk_bytes), largest)
    if source.size >= _PAGES_IN_FILE * large:
        unused = _Copy(source, chunk_bytes, packing).make(path, large)
        if unused <= _MOST_UNUSED * os.path.getsize(path):
            return
    _Copy(source, chunk_bytes, packing).make(path, _SMALL_PAGE)


class _Copy:
    """Copies what is in a file to a new one: everything that is small first, so that it stands together."""

    def __init__(self, source: StreamedResource, chunk_bytes: int, packing: Packing) -> None:
        self._source, self._chunk_bytes, self._packing = source, chunk_bytes, packing
        self._what = f"{source.identifier} in {source.connector.url}"
        self._file = HDF5File(source.reopen())
        self._paths: dict[Address, str] = {}
        self._met: set[Address] = set()
        self._objects: list[str] = []
        self._rows: set[str] = set()

    def make(self, path: str, page_bytes: int | None) -> int:
        """Writes the new file, and says how many bytes of it hold nothing."""
        with self._file.reading():
            self._root = self._file.find("/")["/"]
            is_ordered = bool(self._root.id.get_create_plist().get_link_creation_order())
            with h5py.File(path, "w", libver=_LIBVER, track_order=is_ordered, **self._space(page_bytes)) as made:
                self._made, self._places = made, NewPlaces(self._root.file, made, self._paths, self._what)
                self._create_all()
                for name in self._objects:
                    self._places.copy_attributes(self._root[name], made[name])
                for name in self._objects:
                    self._fill(name)
                return int(made.id.get_freespace())

    def _space(self, page_bytes: int | None) -> dict[str, Any]:
        if page_bytes:
            return {"fs_strategy": "page", "fs_page_size": page_bytes}
        return {"meta_block_size": max(1 << 12, min(_METADATA_BYTES, self._source.size // 64))}

    def _create_all(self) -> None:
        waiting = self._create_types()
        self._paths[address(self._root.id)] = "/"
        self._met.add(address(self._root.id))
        self._objects.append("/")
        groups = deque(["/"])
        while groups:
            path = groups.popleft()
            group = self._root[path]
            groups += [place for name in group if self._create(place := f"{path.rstrip('/')}/{name}", group, name)]
        if waiting:
            del self._made[waiting]

    def _create_types(self) -> str:
        """Types that have names, under others till their turn comes: what stands before them may be of them."""
        found: list[str] = []
        self._root.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Datatype) else None)
        if not found:
            return ""
        waiting = "types"
        while waiting in self._root:
            waiting += "-"
        self._made.create_group(waiting)
        for number, name in enumerate(found):
            self._copy_whole(self._root[name], f"{waiting}/{number}")
            self._paths[address(self._root[name].id)] = f"{waiting}/{number}"
        return waiting

    def _create(self, place: str, group: h5py.Group, name: str) -> bool:
        """Makes what has a name in a group, without its values; True for a group that was not met before."""
        link = link_of(group, name)
        if isinstance(link, (h5py.SoftLink, h5py.ExternalLink)):
            self._made[place] = link  # kept, and not followed
            return False
        if not isinstance(link, h5py.HardLink):
            raise DatasetFileCorruptError(f"{place!r} in {self._what} is {link}, which can't be copied")
        item = group[name]
        found = address(item.id)
        if found in self._paths:
            self._made[place] = self._made[self._paths[found]]
        elif isinstance(item, h5py.Group):
            h5py.h5g.create(self._made.id, encoded(place), None, item.id.get_create_plist())
        else:
            self._create_dataset(place, item)
        is_first = found not in self._met
        self._paths[found] = place
        if is_first:
            self._met.add(found)
            self._objects.append(place)
        return is_first and isinstance(item, h5py.Group)

    def _create_dataset(self, place: str, dataset: h5py.Dataset) -> None:
        check_stored(dataset, f"{place!r} in {self._what}", self._source.size)
        if dataset.ndim and is_plain(dataset) and dataset.dtype.subdtype is None:
            self._rows.add(place)
            plist = new_layout(dataset, self._chunk_bytes, self._packing)
        elif holds_references(dataset.dtype):
            plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            if dataset.chunks:
                plist.set_chunk(dataset.chunks)
        else:
            self._copy_whole(dataset, place)
            return
        kind, space = self._places.type_of(dataset.id), dataset.id.get_space()
        h5py.h5d.create(self._made.id, encoded(place), kind, space, plist)

    def _copy_whole(self, item: h5py.Dataset | h5py.Datatype, place: str) -> None:
        how = h5py.h5p.create(h5py.h5p.OBJECT_COPY)
        how.set_copy_object(h5py.h5o.COPY_WITHOUT_ATTR_FLAG | _MERGE_NAMED_TYPES)
        h5py.h5o.copy(item.id, b".", self._made.id, encoded(place), how)

    def _fill(self, name: str) -> None:
        item = self._root[name]
        if not isinstance(item, h5py.Dataset) or item.shape is None:
            return
        if name in self._rows:
            self._fill_rows(item, self._made[name])
        elif holds_references(item.dtype):
            self._places.copy_references(item, self._made[name])

    def _fill_rows(self, dataset: h5py.Dataset, made: h5py.Dataset) -> None:
        index = self._file.chunk_index(dataset) if dataset.chunks else None
        is_sparse = index is not None and len(index.starts) < rows_in_chunks(dataset)
        read: RowReader = dataset.__getitem__
        if dataset.nbytes > _SMALL:
            read = _reader_of(self._source, dataset.name)
        copy_rows(dataset, made, read, f"{dataset.name!r} of {self._what}", is_sparse=is_sparse)


def _reader_of(source: StreamedResource, name: str) -> RowReader:
    reader = HDF5Reader(source.connector, source.info, (name, None, None))
    return lambda rows: reader.read([name], np.arange(rows.start, rows.stop))[name]
