"""What HDF5 reads a file by: its global heaps, where values of variable length lie, are checked on the way.

HDF5 goes through a heap from object to object, by the sizes that stand there. An object of no bytes holds it up for
ever (seen with HDF5 2.0): in C, with h5py's lock held, so that neither a signal handler nor another thread gets a word
in. All that it reads of a file comes through here, also the heaps of attributes and of values behind filters.

Source: the HDF5 File Format Specification 3.0, section III.E (global heap).
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

import numpy as np

from datastack_fs.errors import DatasetFileCorruptError
from datastack_fs.resource import StreamedResource

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_BEGIN: Final = b"GCOL\1"  # signature and version
_SIZE_AT: Final = 8  # of the collection
_HEADER_BYTES: Final = 16  # of the collection, and of each object in it
_OBJECTS: Final = {size: Struct(f"<H6x{code}") for size, code in ((2, "H"), (4, "I"), (8, "Q"))}
"""Index and size of an object, by the bytes of a size in the file."""

SIZE_BYTES: Final = frozenset(_OBJECTS)
"""How many bytes a size may take. HDF5 takes more to be no error, but reads nothing then."""

_LARGEST: Final = (1 << 64) - 3 * _HEADER_BYTES
"""A size from which on its sum with the header, as HDF5 forms it, might be zero again."""

_MOST_REMEMBERED: Final = 1 << 16


class CheckedReads:
    """A file to give to h5py: it reads a resource, and raises an error before HDF5 sees a heap that would hang it.

    A heap is checked when it is first read: HDF5 keeps 2 MiB of metadata and reads the rest again and again.

    Args:
        resource: the file.
        what: names it in errors.

    Attributes:
        size_bytes: how many bytes a size takes in this file, as its first bytes say.
    """

    def __init__(self, resource: StreamedResource, what: str) -> None:
        self._resource, self._what = resource, what
        self.seek, self.tell, self.read, self.flush = resource.seek, resource.tell, resource.read, resource.flush
        self.size_bytes = 8
        self._checked: set[int] = set()
        self._begun: tuple[int, bytes] | None = None

    def readinto(self, buffer: WriteableBuffer) -> int:
        """What HDF5 calls, after ``seek``."""
        count = self._resource.readinto(buffer)
        view = memoryview(buffer)
        if count < len(view):  # what is left of the buffer would be taken for the file's
            raise DatasetFileCorruptError(
                f"{self._what} can't be read as HDF5: it ends at byte {self.tell():,}, within what is read there"
            )
        if self._begun is not None or bytes(view[: len(_BEGIN)]) == _BEGIN:
            self._look_at(view)
        return count

    def _look_at(self, view: memoryview) -> None:
        """HDF5 reads 4 KiB of a heap, which tell how long it is, and then the rest."""
        at = self.tell() - len(view)
        begun, self._begun = self._begun, None
        if begun is not None and at == begun[0] + len(begun[1]):
            self._check(begun[0], b"".join((begun[1], view)))
        elif bytes(view[: len(_BEGIN)]) == _BEGIN and at not in self._checked:
            size = int.from_bytes(view[_SIZE_AT : _SIZE_AT + self.size_bytes], "little")
            if size <= len(view):
                self._check(at, view[:size])
            else:
                self._begun = at, bytes(view)

    def _check(self, address: int, heap: bytes | memoryview) -> None:
        if self.size_bytes != 8 or _may_stand_still(heap):
            place = _standstill(heap, _OBJECTS[self.size_bytes])
            if place is not None:
                raise DatasetFileCorruptError(
                    f"{self._what}: the heap of values at byte {address:,} is damaged: it has an object of no bytes at "
                    f"byte {address + place:,}"
                )
        if len(self._checked) >= _MOST_REMEMBERED:
            self._checked.clear()
        self._checked.add(address)


def _may_stand_still(heap: bytes | memoryview) -> bool:
    """Whether there is anything that looks like an object of no bytes: 70 ns for each object are saved if not."""
    words = np.frombuffer(heap, "<u8", len(heap) // 8)
    zeros = np.flatnonzero(words[1:] == 0)
    return bool((words[zeros] & 0xFFFF == 0).any()) or bool((words >= _LARGEST).any())


def _standstill(heap: bytes | memoryview, header: Struct) -> int | None:
    """Where an object is that takes no bytes; None if HDF5 comes to the end, or to an error of its own."""
    place, last = _HEADER_BYTES, len(heap) - _HEADER_BYTES
    while place <= last:
        index, size = header.unpack_from(heap, place)
        # What is free is the object 0, and its size counts the header.
        step = (_HEADER_BYTES + (size + 7 & -8)) % (1 << 64) if index else size
        if step == 0:
            return place
        place += step
    return None
