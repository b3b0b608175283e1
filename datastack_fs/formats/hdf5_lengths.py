"""How long values of variable length say they are: checked before HDF5 makes room for them.

A dataset has 16 bytes for such a value: how many elements, and in which heap of the file they lie. HDF5 2.0 clears as
much memory as that says before it looks at the heap: a damaged length costs up to 4 GiB, and 32 of float64.

Source: the HDF5 File Format Specification 3.0, sections IV.A.2.d (datatypes) and III.E (global heap).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any, Final

import h5py
import numpy as np

from datastack_fs.errors import DatasetFileCorruptError
from datastack_fs.formats.hdf5_filters import ChunkError, FilterPipeline
from datastack_fs.resource import StreamedResource

_REFERENCE: Final = np.dtype([("length", "<u4"), ("heap", "<u8"), ("index", "<u4")])
_HEAP: Final = np.dtype([("signature", "S4"), ("version", "<u4"), ("size", "<u8")])
_SIZES: Final = (8, 8)  # of addresses and lengths: other files are next to unknown
_NO_MATTER: Final = 16 << 20
"""Bytes of one value up to which its heap is not asked."""


class LengthCheck:
    """Checks the lengths of a dataset's values, those of each chunk once.

    Args:
        dataset: with values of variable length; those within other such values are not checked.
        resource: its file, without a user block.
    """

    def __init__(self, dataset: h5py.Dataset, resource: StreamedResource) -> None:
        self._dataset, self._resource = dataset, resource
        self._what = f"{dataset.name!r} of {resource.identifier} in {resource.connector.url}"
        self._shape, self._chunk = dataset.shape, dataset.chunks  # h5py makes them anew each time
        stored = dataset.id.get_type()
        self._fields, self.element_bytes = list(_fields(stored, 0)), _stored_bytes(stored)
        self._filters: FilterPipeline | None = None
        if self._chunk:
            self._filters = FilterPipeline.of(dataset, math.prod(self._chunk) * self.element_bytes)
        self._checked: set[int] = set()

    def check(self, first: int, last: int) -> None:
        """Checks the rows from one to another, both included.

        Raises:
            DatasetFileCorruptError: a value is longer than the heap that it is said to be in.
        """
        if not self._chunk:
            start, row_bytes = self._dataset.id.get_offset(), math.prod(self._shape[1:]) * self.element_bytes
            if start is not None:  # else nothing is written, or it is in the header
                self._resource.seek(start + first * row_bytes)
                self._look_at(self._resource.read((last + 1 - first) * row_bytes))
        elif self._filters is not None:
            rows = self._chunk[0]
            for step in range(first // rows, last // rows + 1):
                if step not in self._checked:
                    self._checked.add(step)
                    for content in self._chunks(step, self._filters):
                        self._look_at(content)

    def _chunks(self, step: int, filters: FilterPipeline) -> Iterator[Any]:
        """The chunks at one step along the first axis that are there."""
        beside = [range(0, size, chunk) for size, chunk in zip(self._shape, self._chunk, strict=True)]
        for corner in itertools.product([step * self._chunk[0]], *beside[1:]):
            try:
                mask, content = self._dataset.id.read_direct_chunk(corner)
            except (OSError, RuntimeError, ValueError):  # there is none; or it can't be read, which HDF5 will say
                continue
            try:
                yield filters.undone(content, mask)
            except ChunkError as error:
                raise DatasetFileCorruptError(f"{self._what}: the chunk at {corner} is damaged: {error}") from error

    def _look_at(self, content: Any) -> None:
        elements = np.frombuffer(content, np.uint8, len(content) // self.element_bytes * self.element_bytes)
        elements = elements.reshape(-1, self.element_bytes)
        for offset, unit in self._fields:
            found = elements[:, offset : offset + _REFERENCE.itemsize].copy().view(_REFERENCE)
            for reference in found[found["length"] > _NO_MATTER // unit]:
                self._ask_heap(int(reference["length"]) * unit, int(reference["heap"]))

    def _ask_heap(self, wanted: int, address: int) -> None:
        there = 0
        if address + _HEAP.itemsize <= self._resource.size:
            self._resource.seek(address)
            heap = np.frombuffer(self._resource.read(_HEAP.itemsize), _HEAP)[0]
            there = int(heap["size"]) if heap["signature"] == b"GCOL" else 0
        if wanted > min(there, self._resource.size):
            raise DatasetFileCorruptError(
                f"{self._what} is damaged: a value of {wanted:,} bytes is said to be in the heap at byte {address:,}, "
                f"which has {there:,}"
            )


def length_check(dataset: h5py.Dataset, resource: StreamedResource) -> LengthCheck | None:
    """The check of a dataset of a file without a user block; None if it has no values of variable length."""
    if not dataset.dtype.hasobject or dataset.file.id.get_create_plist().get_sizes() != _SIZES:
        return None
    return LengthCheck(dataset, resource)


def _is_varying(stored: h5py.h5t.TypeID) -> bool:
    return isinstance(stored, h5py.h5t.TypeVlenID) or (
        isinstance(stored, h5py.h5t.TypeStringID) and bool(stored.is_variable_str())
    )


def _members(stored: h5py.h5t.TypeCompoundID) -> Iterator[tuple[int, h5py.h5t.TypeID]]:
    """The members by their places, and their types."""
    numbers = sorted(range(stored.get_nmembers()), key=stored.get_member_offset)
    return ((stored.get_member_offset(number), stored.get_member_type(number)) for number in numbers)


def _stored_bytes(stored: h5py.h5t.TypeID) -> int:
    """The size of an element in the file: HDF5 tells that in memory, which differs for what varies."""
    if _is_varying(stored):
        return _REFERENCE.itemsize
    if isinstance(stored, h5py.h5t.TypeCompoundID):
        return int(stored.get_size()) + sum(_stored_bytes(kind) - int(kind.get_size()) for _, kind in _members(stored))
    if isinstance(stored, h5py.h5t.TypeArrayID):
        return int(math.prod(stored.get_array_dims())) * _stored_bytes(stored.get_super())
    return int(stored.get_size())


def _fields(stored: h5py.h5t.TypeID, start: int) -> Iterator[tuple[int, int]]:
    """Where an element in the file has references, and how many bytes each of the elements takes that they count."""
    if _is_varying(stored):
        element = stored.get_super() if isinstance(stored, h5py.h5t.TypeVlenID) else None
        yield start, 1 if element is None else max(1, _stored_bytes(element))
    elif isinstance(stored, h5py.h5t.TypeCompoundID):
        grown = 0
        for offset, kind in _members(stored):
            yield from _fields(kind, start + offset + grown)
            grown += _stored_bytes(kind) - int(kind.get_size())
    elif isinstance(stored, h5py.h5t.TypeArrayID):
        step = _stored_bytes(stored.get_super())
        for number in range(math.prod(stored.get_array_dims())):
            yield from _fields(stored.get_super(), start + number * step)
