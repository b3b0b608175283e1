"""Files of this machine that are read by path or memory map, still pinned to one version."""

from __future__ import annotations

import mmap
import os
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from datastack_fs.errors import ResourceChangedError
from datastack_fs.iterators.columns import rows_at
from datastack_fs.iterators.indices import IndexArray
from datastack_fs.resource import StreamedResource

FileState: TypeAlias = tuple[int, int, int, int]
"""Device, inode, size and time of change: another one means another file, or other bytes."""


def state_of(descriptor: int) -> FileState:
    """The state of an open file."""
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def pinned_state(resource: StreamedResource) -> FileState:
    """The state of the file under a local resource, fresh from ``get_resource``, while it is the pinned version.

    Raises:
        ResourceChangedError: it is that version no longer.
    """
    state = state_of(resource.fileno())
    resource.seek(0)
    resource.read(1)  # checks the version after the bytes, so also after the state above
    return state


class PinnedFile:
    """An open file of this machine at one version, mapped into memory through the very descriptor that was checked.

    Args:
        descriptor: of the file; it stays the caller's, who keeps it open.
        state: the version.
        what: names the file in errors.
    """

    def __init__(self, descriptor: int, state: FileState, what: str) -> None:
        self._descriptor, self._state, self._what = descriptor, state, what
        self._map: mmap.mmap | None = None
        self._resource: StreamedResource | None = None

    @classmethod
    def of(cls, resource: StreamedResource) -> PinnedFile:
        """The file under a local resource, fresh from ``get_resource``, which it keeps open."""
        pinned = cls(resource.fileno(), pinned_state(resource), f"{resource.identifier} in {resource.connector.url}")
        pinned._resource = resource
        return pinned

    @property
    def buffer(self) -> mmap.mmap:
        """Its bytes. Whoever touches them calls ``check`` before and after, as ``take`` does."""
        if self._map is None:
            self._map = mmap.mmap(self._descriptor, 0, access=mmap.ACCESS_READ)
        return self._map

    @property
    def size(self) -> int:
        """In bytes."""
        return self._state[2]

    def check(self) -> None:
        """Raises ``ResourceChangedError`` if the file is no longer at that version."""
        if state_of(self._descriptor) != self._state:
            raise ResourceChangedError(f"{self._what} was changed in place")

    def array(
        self, shape: tuple[int, ...], dtype: np.dtype[Any], offset: int = 0, strides: tuple[int, ...] | None = None
    ) -> npt.NDArray[Any]:
        """Its bytes as an array, to be read by ``take`` alone."""
        array: npt.NDArray[Any] = np.ndarray(shape, dtype, self.buffer, offset, strides)
        return array

    def take(self, array: npt.NDArray[Any], indices: IndexArray) -> npt.NDArray[Any]:
        """Rows of one of its arrays, as a new array.

        Raises:
            ResourceChangedError: the file was changed in place.
        """
        # Before: touching a page that a truncation took away would kill the process. After: the bytes may be new.
        if self.buffer.size() != self._state[2]:  # of the file as it is now; at a third of the time of ``check``
            self.check()
        rows = rows_at(array, indices)
        self.check()
        return rows
