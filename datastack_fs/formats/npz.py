"""A ``.npz`` file in any store: its arrays by name; those stored unpacked are read lazily, by exact byte ranges."""

from __future__ import annotations

import math
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from datastack_fs.errors import DatasetFileCorruptError, DatastackError
from datastack_fs.formats.named_arrays import NamedArraysDatasetIterator
from datastack_fs.formats.npy import parse_npy_header
from datastack_fs.formats.stored_array import LoadedArray, StoredArray
from datastack_fs.iterators.columnar import Names
from datastack_fs.iterators.columns import Column
from datastack_fs.iterators.meta import DatasetMeta
from datastack_fs.resource import ResourceInfo, ResourceOpener, StreamedResource

MAX_BYTES: Final = 1 << 30
_ENDING: Final = ".npy"
_ZIP_ERRORS: Final = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    IndexError,
    OSError,
    OverflowError,
    RuntimeError,  # an encrypted member; NotImplementedError, an unknown compression, is one
    ValueError,
)
_LOCAL_HEADER: Final = struct.Struct("<4s5H3L2H")
_LOCAL_MAGIC: Final = b"PK\3\4"


class NpzDatasetIterator(NamedArraysDatasetIterator):
    """Arrays of a ``.npz`` file as (sample, target, tag): their first axes count the samples.

    What ``np.savez`` wrote has random access: a batch is one request for exactly its rows of all arrays. What
    ``np.savez_compressed`` wrote has none: an array is unpacked into memory when it is first read, with a warning that
    says so. Nothing is ever unpickled.

    Args:
        resource: the file. It may be closed afterwards.
        sample: the array of the samples; or several, as a list (samples are tuples) or a mapping (they are mappings).
            Without, samples and targets are found by the usual names (``samples images data features x X``, and
            ``targets labels target label y Y``), or the samples are the only array there.
        target: the same for the targets; with ``sample`` alone, every target is None.
        tag: the same for the tags; without, every tag is that of ``meta``.
        meta: what is known about it.
        max_bytes: the most that a compressed array may unpack to.

    Raises:
        DatasetNotFoundError: no array of that name; the message lists those that there are.
        DatasetFileCorruptError: it is no whole ``.npz`` file, or its arrays don't fit together.

    Examples:
        >>> import io
        >>> from datastack_fs.connectors.memory import MemoryStorageConnector
        >>> connector, file = MemoryStorageConnector("npz-example"), io.BytesIO()
        >>> np.savez(file, images=np.zeros((3, 8, 8)), labels=np.array([4, 5, 6]))
        >>> info = connector.set_resource("birds.npz", file.getvalue())
        >>> image, label, _ = NpzDatasetIterator(connector.get_resource("birds.npz"))[1]
        >>> image.shape, int(label)
        ((8, 8), 5)
    """

    def __init__(
        self,
        resource: StreamedResource,
        *,
        sample: Names | None = None,
        target: Names | None = None,
        tag: Names | None = None,
        meta: DatasetMeta | None = None,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        what = f"{resource.identifier} in {resource.connector.url}"
        with _reading(what), zipfile.ZipFile(resource) as archive:
            members = {
                member.filename.removesuffix(_ENDING): member
                for member in archive.infolist()
                if member.filename.endswith(_ENDING)
            }

        def open_array(name: str) -> Column:
            return _column(resource, members[name], max_bytes)

        super().__init__(resource, members, open_array, sample=sample, target=target, tag=tag, meta=meta)


@contextmanager
def _reading(what: str) -> Iterator[None]:
    """Around everything that zipfile does: whatever it raises on a broken file becomes ours."""
    try:
        yield
    except DatastackError:
        raise
    except _ZIP_ERRORS as error:
        raise DatasetFileCorruptError(f"{what} can't be read as npz: {error}") from error


def _column(resource: StreamedResource, member: zipfile.ZipInfo, max_bytes: int) -> Column:
    what = f"{member.filename} of {resource.identifier} in {resource.connector.url}"
    with _reading(what), zipfile.ZipFile(resource) as archive, archive.open(member) as file:
        shape, dtype = parse_npy_header(file, what)
        header = file.tell()
    size = math.prod(shape) * dtype.itemsize
    if header + size != member.file_size:
        raise DatasetFileCorruptError(
            f"{what} has {member.file_size:,} bytes, and its header ({dtype}, shape {shape}) promises {header + size:,}"
        )
    if member.compress_type == zipfile.ZIP_STORED:
        start = content_start(resource, member, what)
        if member.compress_size != member.file_size:
            raise DatasetFileCorruptError(f"{what} is stored, but of two sizes: the archive is broken")
        return StoredArray(resource, shape, dtype, start + header)
    if size > max_bytes:
        raise DatasetFileCorruptError(f"{what} unpacks to {size:,} bytes, more than max_bytes={max_bytes:,}")
    load = partial(_unpacked, resource.connector, resource.info, member.filename)
    reason = f"{what} is compressed, so all of it is unpacked into memory: np.savez writes it for random access"
    return LoadedArray(load, shape[0], reason)


def content_start(resource: StreamedResource, member: zipfile.ZipInfo, what: str) -> int:
    """Where a member's bytes begin: after its own header, whose length the archive's directory does not tell.

    Source: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT, section 4.3.7.
    """
    resource.seek(member.header_offset)
    header = resource.read(_LOCAL_HEADER.size)
    if len(header) != _LOCAL_HEADER.size or not header.startswith(_LOCAL_MAGIC):
        raise DatasetFileCorruptError(f"{what}: no member begins at byte {member.header_offset:,}")
    *_, name_length, extra_length = _LOCAL_HEADER.unpack(header)
    return member.header_offset + _LOCAL_HEADER.size + int(name_length) + int(extra_length)


def _unpacked(connector: ResourceOpener, info: ResourceInfo, name: str) -> npt.NDArray[Any]:
    what = f"{name} of {info.identifier} in {connector.url}"
    with (
        connector.get_resource(info.identifier, info=info) as resource,
        _reading(what),
        zipfile.ZipFile(resource) as archive,
        archive.open(name) as file,
    ):
        array: npt.NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
        if file.read(1):  # to the end, where zipfile compares the checksum
            raise DatasetFileCorruptError(f"{what} goes on after the end that its header says")
    return array
