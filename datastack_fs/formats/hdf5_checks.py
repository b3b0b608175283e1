"""Which HDF5 datasets are read, and which are refused: those that lead to other files, hold no data, or lie."""

from __future__ import annotations

import math
from typing import Any, Final

import h5py
import numpy as np

from datastack_fs.errors import DatasetFileCorruptError, MaliciousFilePathError, MissingDependencyError

MOST_RATIO: Final = 1100
"""How much smaller than its data a file can be: deflate makes bytes 1,032 times fewer at best."""

ALWAYS_ALLOWED: Final = 16 << 20
"""Bytes up to which a dataset may be larger than that: one that was never written reads as its fill value."""

_VLEN_KIND: Final = 3
"""Where an encoded type says if it is rows (0) or text (1), in the lower half of a byte; h5py has text as a string."""


def check_dataset(dataset: h5py.Dataset, what: str, file_bytes: int) -> None:
    """Refuses a dataset that can't be read, or must not be.

    Args:
        dataset: as h5py opens it.
        what: names it in errors.
        file_bytes: the size of its file.

    Raises:
        MaliciousFilePathError: its data is in another file.
        MissingDependencyError: it needs a filter that is not installed.
        DatasetFileCorruptError: it holds nothing, or references, or its shape can't be true.
    """
    check_stored(dataset, what, file_bytes)
    if dataset.shape is None:
        raise DatasetFileCorruptError(f"{what} is empty (h5py.Empty): it holds no value")
    if holds_references(dataset.dtype):
        raise DatasetFileCorruptError(f"{what} holds references, not data")


def check_stored(dataset: h5py.Dataset, what: str, file_bytes: int) -> None:
    """The same of one that need not hold data: it may be empty, or hold references."""
    if dataset.is_virtual or dataset.external:
        raise MaliciousFilePathError(f"{what}: its data leads to another file, which is refused")
    check_type(dataset.id.get_type(), what)
    _check_filters(dataset, what)
    if dataset.shape is not None:
        _check_shape(dataset, what, file_bytes)


def holds_references(dtype: np.dtype[Any]) -> bool:
    """Whether values of that type lead to other places of their file."""
    if dtype.subdtype is not None:
        return holds_references(dtype.base)
    if dtype.names is not None:
        return any(holds_references(dtype[name]) for name in dtype.names)
    element = h5py.check_vlen_dtype(dtype)
    if isinstance(element, np.dtype):
        return holds_references(element)
    return h5py.check_ref_dtype(dtype) is not None


def check_type(stored: h5py.h5t.TypeID, what: str) -> None:
    """Refuses a damaged type of variable length, over whose values HDF5 2.0 crashes."""
    if isinstance(stored, h5py.h5t.TypeCompoundID):
        for number in range(stored.get_nmembers()):
            check_type(stored.get_member_type(number), what)
    elif isinstance(stored, (h5py.h5t.TypeVlenID, h5py.h5t.TypeArrayID)):
        if isinstance(stored, h5py.h5t.TypeVlenID) and stored.encode()[_VLEN_KIND] & 0xF != 0:
            raise DatasetFileCorruptError(f"{what} is damaged: its type is neither rows nor text of variable length")
        check_type(stored.get_super(), what)


def _check_filters(dataset: h5py.Dataset, what: str) -> None:
    filters = dataset.id.get_create_plist()
    for position in range(filters.get_nfilters()):
        code, _, _, name = filters.get_filter(position)
        if not h5py.h5z.filter_avail(code):
            label = name.decode(errors="replace").strip("\0") or "unnamed"
            raise MissingDependencyError(
                f"{what} is compressed by the HDF5 filter {code} ({label}), which is not there: "
                "pip install hdf5plugin, then import hdf5plugin"
            )


def _check_shape(dataset: h5py.Dataset, what: str, file_bytes: int) -> None:
    """Refuses a shape that a damaged header made up: reading it would take for ever, or all memory."""
    promised = math.prod(dataset.shape) * dataset.dtype.itemsize
    most = max(ALWAYS_ALLOWED, MOST_RATIO * file_bytes)
    if promised <= most:
        return
    if dataset.chunks:  # other filters may do better than deflate, and chunks that are there count whole
        chunk_bytes = math.prod(dataset.chunks) * dataset.dtype.itemsize
        most = max(most, MOST_RATIO * dataset.id.get_num_chunks() * chunk_bytes)
    if promised > most:
        raise DatasetFileCorruptError(
            f"{what} has the shape {dataset.shape}, which is {promised:,} bytes, in a file of {file_bytes:,}: it is "
            "damaged, or was never written"
        )
