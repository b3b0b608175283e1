"""An HDF5 file rewritten for object storage: whole rows in chunks of one request, metadata together."""

from __future__ import annotations

import hashlib
import os
import tempfile
from typing import Final, Literal, TypeAlias

import h5py
import numpy as np

from datastack_fs.errors import DatasetFileCorruptError, MaliciousFilePathError
from datastack_fs.formats.hdf5_checks import holds_references
from datastack_fs.formats.hdf5_file import HDF5File
from datastack_fs.formats.hdf5_mapped import has_fill, is_plain
from datastack_fs.formats.hdf5_reader import HDF5Reader
from datastack_fs.formats.hdf5_writing import CHUNK_BYTES
from datastack_fs.resource import ResourceInfo, StreamedResource
from datastack_fs.storage import StorageConnector

Packing: TypeAlias = Literal["keep", "none", "gzip"]
"""How chunks are packed: as they were (gzip where another filter was), not at all, or by shuffle and gzip."""

_LIBVER: Final = ("v110", "v110")  # the oldest with a compact chunk index
_METADATA_BYTES: Final = 1 << 20
"""Metadata is given room in blocks of this size. Pages would do the same, and leave a gap behind every chunk."""

_BLOCK_BYTES: Final = 16 << 20
_GZIP_LEVEL: Final = 4


def repack(
    source: StreamedResource,
    connector: StorageConnector,
    identifier: str,
    *,
    chunk_bytes: int = CHUNK_BYTES,
    packing: Packing = "keep",
    overwrite: bool = True,
) -> ResourceInfo:
    """Stores the same groups, datasets and attributes in another layout, all or nothing.

    Datasets of numbers, and of bytes of fixed length, get chunks of whole rows, read and written some MiB at a time;
    what was written is read again and compared. Others (text of variable length, single values) are copied as they
    are. The new file is made in the folder for temporary files first, which must have room for it.

    Args:
        source: the HDF5 file.
        connector: the store of the new one.
        identifier: its name there; that of the source replaces it.
        chunk_bytes: of a chunk, unpacked, unless a row alone is larger.
        packing: ``"keep"``, ``"none"`` or ``"gzip"``.
        overwrite: whether what has the name may be replaced.

    Raises:
        DatasetFileCorruptError: the source is broken, or holds references, which would lead nowhere; or what was
            written is not what was read.
        MaliciousFilePathError: it leads to another file.
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
    with tempfile.TemporaryDirectory(prefix="datastack-") as folder:
        path = os.path.join(folder, "repacked.h5")
        together = max(1 << 12, min(_METADATA_BYTES, source.size // 64))
        with h5py.File(path, "w", libver=_LIBVER, meta_block_size=together) as made:
            _Copy(source, made, chunk_bytes, packing).make()
        with open(path, "rb") as stream:
            return connector.set_resource(identifier, stream, overwrite=overwrite)


class _Copy:
    """Copies what is in a file to a new one."""

    def __init__(self, source: StreamedResource, made: h5py.File, chunk_bytes: int, packing: Packing) -> None:
        self._source, self._made, self._chunk_bytes, self._packing = source, made, chunk_bytes, packing
        self._what = f"{source.identifier} in {source.connector.url}"
        self._file = HDF5File(source.reopen())
        self._seen: dict[tuple[int, int], str] = {}

    def make(self) -> None:
        with self._file.reading():
            self._copy_group("/", self._file.find("/"))

    def _copy_group(self, path: str, group: h5py.Group) -> None:
        self._seen[h5py.h5g.get_objinfo(group.id).objno] = path
        self._copy_attributes(group, self._made.require_group(path))
        for name in group:
            place, link = path.rstrip("/") + f"/{name}", group.get(name, getlink=True)
            if isinstance(link, h5py.SoftLink):
                self._made[place] = h5py.SoftLink(link.path)
            elif not isinstance(link, h5py.HardLink):
                raise MaliciousFilePathError(f"{place!r} in {self._what}: it leads to another file, which is refused")
            elif seen := self._seen.get(h5py.h5g.get_objinfo(group[name].id).objno):
                self._made[place] = self._made[seen]
            elif isinstance(group[name], h5py.Group):
                self._copy_group(place, group[name])
            else:
                self._copy_object(place, group[name])

    def _copy_object(self, path: str, item: h5py.Dataset | h5py.Datatype) -> None:
        self._seen[h5py.h5g.get_objinfo(item.id).objno] = path
        if isinstance(item, h5py.Dataset):
            self._file.find(path)  # refuses what must not be read
            if item.ndim and is_plain(item) and item.dtype.subdtype is None:
                self._copy_attributes(item, self._copy_rows(path, item))
                return
        self._check_attributes(item)
        self._made.copy(item, path)

    def _copy_rows(self, path: str, dataset: h5py.Dataset) -> h5py.Dataset:
        row_bytes = dataset.nbytes // len(dataset)
        made = self._created(path, dataset, min(len(dataset), max(1, self._chunk_bytes // row_bytes)))
        step = made.chunks[0] if made.chunks else 1
        step *= max(1, _BLOCK_BYTES // (step * row_bytes))
        reader = HDF5Reader(self._source.connector, self._source.info, (path, None, None))
        read, written = hashlib.sha256(), hashlib.sha256()
        blocks = [slice(start, min(start + step, len(dataset))) for start in range(0, len(dataset), step)]
        for block in blocks:
            rows = reader.read([path], np.arange(block.start, block.stop))[path]
            read.update(np.ascontiguousarray(rows).data.cast("B"))
            made.write_direct(np.ascontiguousarray(rows).view(dataset.dtype), dest_sel=block)
        made.flush()
        for block in blocks:
            written.update(np.ascontiguousarray(made[block]).data.cast("B"))
        if read.digest() != written.digest():
            raise DatasetFileCorruptError(f"{path!r} of {self._what}: what was written is not what was read")
        return made

    def _created(self, path: str, dataset: h5py.Dataset, chunk_rows: int) -> h5py.Dataset:
        plist = dataset.id.get_create_plist()
        codes = {plist.get_filter(number)[0] for number in range(plist.get_nfilters())}
        checks = {h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}
        is_packed = self._packing == "gzip" or (self._packing == "keep" and bool(codes - checks))
        has_checksum = h5py.h5z.FILTER_FLETCHER32 in codes
        is_one_piece = chunk_rows == len(dataset) and dataset.maxshape == dataset.shape
        return self._made.create_dataset(
            path,
            dataset.shape,
            dataset.dtype,
            chunks=None if is_one_piece and not (is_packed or has_checksum) else (chunk_rows, *dataset.shape[1:]),
            maxshape=dataset.maxshape,
            compression="gzip" if is_packed else None,
            compression_opts=_GZIP_LEVEL if is_packed else None,
            shuffle=is_packed and dataset.dtype.itemsize > 1,
            fletcher32=has_checksum,
            fillvalue=dataset.fillvalue if has_fill(dataset) else None,
            track_times=False,
        )

    def _copy_attributes(self, source: h5py.Group | h5py.Dataset, made: h5py.Group | h5py.Dataset) -> None:
        self._check_attributes(source)
        for name in source.attrs:
            attribute = source.attrs.get_id(name)
            value = source.attrs[name]
            if isinstance(value, h5py.Empty):
                made.attrs[name] = value
            else:
                made.attrs.create(name, value, attribute.shape, attribute.dtype)

    def _check_attributes(self, item: h5py.Group | h5py.Dataset | h5py.Datatype) -> None:
        for name in item.attrs:
            if holds_references(item.attrs.get_id(name).dtype):
                raise DatasetFileCorruptError(
                    f"the attribute {name!r} of {item.name!r} in {self._what} holds references, "
                    "which would lead nowhere in a new file"
                )
