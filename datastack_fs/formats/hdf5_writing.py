"""Samples and targets stored as HDF5, laid out for reading from remote stores."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import h5py
import numpy as np
import numpy.typing as npt

from datastack_fs.errors import DatasetFileCorruptError
from datastack_fs.formats.hdf5 import CLASS_NAMES, FEATURE_NAMES

if TYPE_CHECKING:
    from datastack_fs.resource import ResourceInfo
    from datastack_fs.storage import StorageConnector

CHUNK_BYTES: Final = 64 << 10
"""Whole samples up to this size make one chunk: small enough for one sample, large enough for one request."""

_LIBVER: Final = ("v110", "v110")  # a compact chunk index, read in one request or two; the default takes twenty
_BLOCK_BYTES: Final = 4 << 20


def store_hdf5(
    connector: StorageConnector,
    identifier: str,
    blocks: Iterable[tuple[npt.NDArray[Any], npt.NDArray[Any]]],
    length: int,
    *,
    class_names: Sequence[str] | None = None,
    feature_names: Sequence[str] | None = None,
) -> ResourceInfo:
    """Stores samples and their targets as the datasets ``samples`` and ``targets`` of an HDF5 file.

    It is written to a temporary file first, block by block, and then stored all or nothing. The same samples give
    the same bytes (with one version of HDF5).

    Args:
        connector: the store.
        identifier: the name of the resource.
        blocks: samples and targets, as many rows of each; best ``rows_per_block`` of them.
        length: how many samples there are in all.
        class_names: the names of the classes that the targets number; an attribute of ``targets``.
        feature_names: what the values of a sample are called, if it is a vector; an attribute of ``samples``.

    Raises:
        DatasetFileCorruptError: there are fewer samples than ``length``, or more.

    Examples:
        >>> from datastack_fs.connectors.memory import MemoryStorageConnector
        >>> from datastack_fs.formats.hdf5 import HDF5DatasetIterator
        >>> connector = MemoryStorageConnector("store-hdf5-example")
        >>> block = np.zeros((5, 8, 8), dtype=np.uint8), np.arange(5)
        >>> info = store_hdf5(connector, "birds.h5", [block], 5, class_names=["owl", "wren", "finch", "jay", "robin"])
        >>> HDF5DatasetIterator(connector.get_resource("birds.h5")).meta.class_names[:2]
        ('owl', 'wren')
    """
    named = ({"samples": samples, "targets": targets} for samples, targets in blocks)
    words = {("targets", CLASS_NAMES): class_names, ("samples", FEATURE_NAMES): feature_names}
    return store_columns(connector, identifier, named, length, words=words)


def store_columns(
    connector: StorageConnector,
    identifier: str,
    blocks: Iterable[Mapping[str, npt.NDArray[Any]]],
    length: int,
    *,
    words: Mapping[tuple[str, str], Sequence[str] | None] | None = None,
) -> ResourceInfo:
    """Stores columns as datasets of an HDF5 file, each by its name, in the same way as ``store_hdf5`` does.

    Args:
        connector: the store.
        identifier: the name of the resource.
        blocks: some rows of all columns each, one after the other: numbers, arrays of one shape, or text.
        length: how many rows there are in all.
        words: lists of words by dataset and attribute.

    Raises:
        DatasetFileCorruptError: the rows are fewer than ``length``, or more, or not as many in all columns.
        TypeError: a column holds what HDF5 has no type for: objects, or arrays of several shapes.

    Examples:
        >>> from datastack_fs.connectors.memory import MemoryStorageConnector
        >>> from datastack_fs.formats.hdf5 import HDF5DatasetIterator
        >>> connector = MemoryStorageConnector("store-columns-example")
        >>> columns = {"grams": np.array([480.0, 9.0]), "name": np.array(["owl", "wren"], object)}
        >>> info = store_columns(connector, "birds.h5", [columns], 2)
        >>> HDF5DatasetIterator(connector.get_resource("birds.h5"), sample="grams", target="name")[1]
        (np.float64(9.0), 'wren', None)
    """
    with tempfile.TemporaryDirectory(prefix="datastack-") as folder:
        path = os.path.join(folder, "dataset.h5")
        with h5py.File(path, "w", libver=_LIBVER) as file:
            _fill(file, blocks, length, identifier)
            for (name, attribute), values in (words or {}).items():
                _name(file[name], attribute, values)
        with open(path, "rb") as stream:
            return connector.set_resource(identifier, stream)


def rows_per_chunk(row_bytes: int) -> int:
    """How many samples of that size make a chunk."""
    return max(1, CHUNK_BYTES // max(1, row_bytes))


def rows_per_block(row_bytes: int) -> int:
    """How many samples of that size to write at once: whole chunks of them."""
    rows = rows_per_chunk(row_bytes)
    return rows * max(1, _BLOCK_BYTES // max(1, rows * row_bytes))


def _name(dataset: h5py.Dataset, attribute: str, names: Sequence[str] | None) -> None:
    if names is not None:
        encoded = np.array([name.encode() for name in names])  # of fixed length: no heap, same bytes
        dataset.attrs.create(attribute, encoded, dtype=h5py.string_dtype("utf-8", encoded.itemsize))


def _fill(file: h5py.File, blocks: Iterable[Mapping[str, npt.NDArray[Any]]], length: int, identifier: str) -> None:
    done = 0
    for block in blocks:
        count = len(next(iter(block.values())))
        if done + count > length:
            raise DatasetFileCorruptError(f"{identifier}: more than the {length:,} samples promised")
        for name, rows in block.items():
            if len(rows) != count:
                raise DatasetFileCorruptError(
                    f"{identifier}: {len(rows):,} rows of {name!r} beside {count:,} of others"
                )
            if name not in file:
                chunk = min(max(1, length), rows_per_chunk(rows.nbytes // max(1, len(rows))))
                chunks = (chunk, *rows.shape[1:])
                kind = _stored_type(name, rows, identifier)
                file.create_dataset(name, (length, *rows.shape[1:]), kind, chunks=chunks, track_times=False)
            file[name][done : done + count] = rows
        done += count
    if done != length:
        raise DatasetFileCorruptError(f"{identifier}: {done:,} samples instead of the {length:,} promised")


def _stored_type(name: str, rows: npt.NDArray[Any], identifier: str) -> Any:
    if rows.dtype.kind not in "OU":
        return rows.dtype
    if all(isinstance(value, str) for value in rows.flat):
        return h5py.string_dtype()
    kinds = ", ".join(sorted({type(value).__name__ for value in rows.flat}))
    raise TypeError(
        f"{identifier}: column {name!r} holds {kinds} of no common type and shape, which HDF5 can't store as rows: "
        "make them numbers, text, or arrays of one shape"
    )
