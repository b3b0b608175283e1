"""IDX, the format of MNIST's files: a header with type and shape, then the array; plain, or packed by gzip."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from functools import partial
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt

from datastack_fs.errors import DatasetFileCorruptError
from datastack_fs.formats.array_file import ArrayFileDatasetIterator, Targets
from datastack_fs.formats.stored_array import LoadedArray, StoredArray
from datastack_fs.iterators.columns import Column
from datastack_fs.iterators.meta import DatasetMeta
from datastack_fs.resource import ResourceInfo, ResourceOpener, StreamedResource

DTYPES: Final = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
"""Types by their code in the header. Source: http://yann.lecun.com/exdb/mnist/, "the IDX file format"."""

MAX_BYTES: Final = 1 << 30
_GZIP: Final = b"\x1f\x8b"


class IDXDatasetIterator(ArrayFileDatasetIterator):
    r"""The rows of an IDX file as samples, with labels from a second file or an array.

    A batch of a plain file is one request for exactly its rows. A gzipped one has no random access: it is unpacked
    into memory when it is first read, with a warning that says so.

    Args:
        resource: the file of the samples. It may be closed afterwards.
        targets: as many labels: another IDX file, as a resource or by its name in the same store, or an array;
            without, every target is None.
        meta: what is known about it; its tag is the tag of every sample.
        max_bytes: the most that a gzipped file may unpack to.

    Raises:
        DatasetFileCorruptError: it is no whole IDX file, or too large.

    Examples:
        >>> from datastack_fs.connectors.memory import MemoryStorageConnector
        >>> connector = MemoryStorageConnector("idx-example")
        >>> info = connector.set_resource("labels.idx", b"\0\0\x08\1\0\0\0\3" + bytes([4, 5, 6]))
        >>> labels = IDXDatasetIterator(connector.get_resource("labels.idx"))
        >>> int(labels[1][0]), len(labels)
        (5, 3)
    """

    def __init__(
        self,
        resource: StreamedResource,
        *,
        targets: Targets = None,
        meta: DatasetMeta | None = None,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        super().__init__(resource, partial(idx_column, max_bytes=max_bytes), targets, meta)


def idx_column(resource: StreamedResource, *, max_bytes: int = MAX_BYTES) -> Column:
    """The rows of the array in an IDX file, plain or gzipped."""
    what = f"{resource.identifier} in {resource.connector.url}"
    resource.seek(0)
    packed = resource.read(2) == _GZIP
    resource.seek(0)
    if not packed:
        shape, dtype, offset = read_idx_header(resource, what)
        size = offset + math.prod(shape) * dtype.itemsize
        if resource.size != size:
            raise DatasetFileCorruptError(
                f"{what} has {resource.size:,} bytes, and its IDX header ({dtype}, shape {shape}) promises {size:,}"
            )
        return StoredArray(resource, shape, dtype, offset)
    with gzip.GzipFile(fileobj=resource) as file:
        shape, dtype, _ = read_idx_header(file, what)
    size = math.prod(shape) * dtype.itemsize
    if size > max_bytes:
        raise DatasetFileCorruptError(f"{what} unpacks to {size:,} bytes, more than max_bytes={max_bytes:,}")
    load = partial(_unpacked, resource.connector, resource.info)
    reason = f"{what} is gzipped, so all of it is unpacked into memory: gunzip it once for random access"
    return LoadedArray(load, shape[0], reason)


def read_idx_header(file: BinaryIO | gzip.GzipFile, what: str) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    r"""Shape, type, and the place of the first byte of data.

    Raises:
        DatasetFileCorruptError: it is no IDX header; the message begins with ``what``.

    Examples:
        >>> import io
        >>> read_idx_header(io.BytesIO(b"\0\0\x0b\2\0\0\0\3\0\0\0\4"), "images")
        ((3, 4), dtype('>i2'), 12)
    """
    start = _read(file, 4, what)
    zeros, code, axes = struct.unpack(">HBB", start)
    if zeros or code not in DTYPES or not axes:
        raise DatasetFileCorruptError(
            f"{what} is no IDX file: it begins with {start.hex(' ')}, not with 00 00, a type (08 09 0b 0c 0d 0e) and "
            "the number of axes"
        )
    shape = struct.unpack(f">{axes}I", _read(file, 4 * axes, what))
    return shape, np.dtype(DTYPES[code]), 4 + 4 * axes


def _unpacked(connector: ResourceOpener, info: ResourceInfo) -> npt.NDArray[Any]:
    what = f"{info.identifier} in {connector.url}"
    with connector.get_resource(info.identifier, info=info) as resource, gzip.GzipFile(fileobj=resource) as file:
        shape, dtype, _ = read_idx_header(file, what)
        content = _read(file, math.prod(shape) * dtype.itemsize, what)
        if _read_some(file, 1, what):
            raise DatasetFileCorruptError(f"{what} goes on after the end that its IDX header says, shape {shape}")
    return np.frombuffer(content, dtype).reshape(shape)


def _read(file: BinaryIO | gzip.GzipFile, size: int, what: str) -> bytes:
    content = _read_some(file, size, what)
    if len(content) != size:
        raise DatasetFileCorruptError(f"{what} ends too early: it is a part of an IDX file")
    return content


def _read_some(file: BinaryIO | gzip.GzipFile, size: int, what: str) -> bytes:
    try:
        return file.read(size)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DatasetFileCorruptError(f"{what} is not a whole gzip file: {error}") from error
