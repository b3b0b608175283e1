"""One dataset of an HDF5 file in another layout: whole rows in a chunk of some size."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from typing import Any, Final, Literal, TypeAlias

import h5py
import numpy as np
import numpy.typing as npt

from datastack_fs.errors import DatasetFileCorruptError
from datastack_fs.formats.hdf5_mapped import has_fill

Packing: TypeAlias = Literal["keep", "none", "gzip"]
"""How chunks are packed: as they were (gzip where another filter was), not at all, or by shuffle and gzip."""

RowReader: TypeAlias = Callable[[slice], npt.NDArray[Any]]

_BLOCK_BYTES: Final = 16 << 20
_GZIP_LEVEL: Final = 4
_CHECKS: Final = {h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}


def new_layout(dataset: h5py.Dataset, chunk_bytes: int, packing: Packing) -> h5py.h5p.PropDCID:
    """What a dataset is to be created with, to have the same values, fill value and growth in chunks of whole rows.

    One that is in one piece, or in the file's metadata, stays so unless it is to be packed.
    """
    plist = dataset.id.get_create_plist()
    codes = [plist.get_filter(number)[0] for number in range(plist.get_nfilters())]
    for code in codes:
        plist.remove_filter(code)
    plist.set_obj_track_times(False)
    is_packed = packing == "gzip" or (packing == "keep" and bool(set(codes) - _CHECKS))
    has_checksum = h5py.h5z.FILTER_FLETCHER32 in codes
    if plist.get_layout() == h5py.h5d.COMPACT or not (dataset.chunks or is_packed):
        return plist
    most = max(1, chunk_bytes // (dataset.nbytes // len(dataset)))
    count = -(-len(dataset) // most)
    rows = -(
        -len(dataset) // count
    )  # as long as each other: the last one takes its whole room, however little is in it
    plist.set_alloc_time(h5py.h5d.ALLOC_TIME_DEFAULT)
    if rows == len(dataset) and dataset.maxshape == dataset.shape and not (is_packed or has_checksum):
        plist.set_layout(h5py.h5d.CONTIGUOUS)
        return plist
    plist.set_chunk((rows, *dataset.shape[1:]))
    if is_packed and dataset.dtype.itemsize > 1:
        plist.set_shuffle()
    if is_packed:
        plist.set_deflate(_GZIP_LEVEL)
    if has_checksum:
        plist.set_fletcher32()
    return plist


def copy_rows(source: h5py.Dataset, made: h5py.Dataset, read: RowReader, what: str, *, is_sparse: bool) -> None:
    """Copies the values some MiB at a time, reads them again, and compares.

    Args:
        source: with rows.
        made: of the same shape and type, without values.
        read: the rows of ``source``.
        what: names it in errors.
        is_sparse: chunks of it were never written: none is written for them.

    Raises:
        DatasetFileCorruptError: what was written is not what was read.
    """
    row_bytes = source.nbytes // len(source)
    chunk_rows = made.chunks[0] if made.chunks else 1
    step = chunk_rows * max(1, _BLOCK_BYTES // (chunk_rows * row_bytes))
    blank = (
        np.full((chunk_rows, *source.shape[1:]), source.fillvalue, source.dtype) if _skips(made, is_sparse) else None
    )
    blocks = [slice(start, min(start + step, len(source))) for start in range(0, len(source), step)]
    digests = hashlib.sha256(), hashlib.sha256()
    for block in blocks:
        rows = np.ascontiguousarray(read(block)).view(source.dtype)
        digests[0].update(_content(rows))
        if blank is None:
            made.write_direct(rows, dest_sel=block)
            continue
        for start in range(0, len(rows), chunk_rows):
            part = rows[start : start + chunk_rows]
            if part.tobytes() != blank[: len(part)].tobytes():
                made.write_direct(part, dest_sel=slice(block.start + start, block.start + start + len(part)))
    made.flush()
    for block in blocks:
        digests[1].update(_content(np.ascontiguousarray(made[block])))
    if digests[0].digest() != digests[1].digest():
        raise DatasetFileCorruptError(f"{what}: what was written is not what was read")


def _skips(made: h5py.Dataset, is_sparse: bool) -> bool:
    return is_sparse and made.chunks is not None and has_fill(made)


def _content(rows: npt.NDArray[Any]) -> memoryview:
    return rows.data.cast("B") if not rows.dtype.hasobject and rows.dtype.isnative else memoryview(rows.tobytes())


def rows_in_chunks(dataset: h5py.Dataset) -> int:
    """How many chunks all of a chunked dataset has."""
    return math.prod(-(-size // step) for size, step in zip(dataset.shape, dataset.chunks, strict=True))
