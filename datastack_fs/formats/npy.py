"""A ``.npy`` file in any store as samples: its first axis counts them, and each is read by exact byte ranges."""

from __future__ import annotations

import math
from typing import IO, Any, Final

import numpy as np
import numpy.lib.format as npy_format

from datastack_fs.errors import DatasetFileCorruptError, DatastackError
from datastack_fs.formats.array_file import ArrayFileDatasetIterator, Targets
from datastack_fs.formats.stored_array import StoredArray
from datastack_fs.iterators.meta import DatasetMeta
from datastack_fs.resource import StreamedResource

_HEADER_READERS: Final = {(1, 0): npy_format.read_array_header_1_0, (2, 0): npy_format.read_array_header_2_0}


class NpyDatasetIterator(ArrayFileDatasetIterator):
    """The rows of a ``.npy`` file as samples, with labels from a second file or an array.

    A batch is one request for exactly its rows (nearby ones joined); a file of this machine is mapped into memory
    instead. Nothing is ever unpickled: arrays of objects are refused.

    Args:
        resource: the file of the samples. It may be closed afterwards.
        targets: as many labels: another such file, as a resource or by its name in the same store, or an array;
            without, every target is None.
        meta: what is known about it; its tag is the tag of every sample.

    Raises:
        DatasetFileCorruptError: it is no whole ``.npy`` file, or one that rows can't be read from.

    Examples:
        >>> import io
        >>> from datastack_fs.connectors.memory import MemoryStorageConnector
        >>> connector, file = MemoryStorageConnector("npy-example"), io.BytesIO()
        >>> np.save(file, np.arange(6).reshape(3, 2))
        >>> info = connector.set_resource("pairs.npy", file.getvalue())
        >>> iterator = NpyDatasetIterator(connector.get_resource("pairs.npy"), targets=[0, 1, 0])
        >>> pair, target, tag = iterator[1]
        >>> pair.tolist(), int(target), tag
        ([2, 3], 1, None)
    """

    def __init__(
        self,
        resource: StreamedResource,
        *,
        targets: Targets = None,
        meta: DatasetMeta | None = None,
    ) -> None:
        super().__init__(resource, NpyColumn, targets, meta)


class NpyColumn(StoredArray):
    """The rows of the array in a ``.npy`` file, as a column; it pickles as the file's address and version."""

    def __init__(self, resource: StreamedResource) -> None:
        super().__init__(resource, *read_npy_header(resource))


def read_npy_header(resource: StreamedResource) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """Shape, type and the place of the first byte of data, checked against the size of the file."""
    what = f"{resource.identifier} in {resource.connector.url}"
    resource.seek(0)
    shape, dtype = parse_npy_header(resource, what)
    offset = resource.tell()
    expected = offset + math.prod(shape) * dtype.itemsize
    if resource.size != expected:
        raise DatasetFileCorruptError(
            f"{what} has {resource.size:,} bytes, and its header ({dtype}, shape {shape}) promises {expected:,}"
        )
    return shape, dtype, offset


def parse_npy_header(file: IO[bytes], what: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of the array that a file goes on with; ``what`` names it in errors."""
    try:
        version = npy_format.read_magic(file)
        if version not in _HEADER_READERS:
            raise ValueError(f"format version {version[0]}.{version[1]}; 1.0 and 2.0 are read")
        shape, fortran_order, dtype = _HEADER_READERS[version](file)
    except DatastackError:
        raise
    except Exception as error:  # the translating edge: numpy's parser raises whatever a broken header leads to
        raise DatasetFileCorruptError(f"{what} is not a .npy file that can be read: {error}") from error
    if dtype.hasobject:
        raise DatasetFileCorruptError(f"{what} holds Python objects ({dtype}): reading them would run code from data")
    if not shape:
        raise DatasetFileCorruptError(f"{what} holds a single value: there is no first axis to count samples by")
    if min(shape) < 0:
        raise DatasetFileCorruptError(f"{what} has a header with the shape {shape}")
    if fortran_order and len(shape) > 1:
        raise DatasetFileCorruptError(
            f"{what} is in Fortran order, so its rows are scattered over the file; np.save(path, "
            "np.ascontiguousarray(array)) writes one that can be read by rows"
        )
    return shape, dtype
