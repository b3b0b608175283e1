"""Files of this machine that are read by path or memory map, still pinned to one version."""

import mmap
import os
from typing import TypeAlias

from datastack_fs.errors import ResourceChangedError
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


class MappedFile:
    """A local file, mapped through the very descriptor whose version was checked; ``buffer`` has its bytes.

    Whoever touches them calls ``check`` before (touching a page that a truncation took away would kill the process) and
    after (the bytes may be new).
    """

    def __init__(self, resource: StreamedResource) -> None:
        self._state: FileState = pinned_state(resource)
        self._resource = resource  # keeps the descriptor open
        self._descriptor = resource.fileno()
        self.buffer = mmap.mmap(self._descriptor, 0, access=mmap.ACCESS_READ)

    def check(self) -> None:
        """Looks whether it is still that version.

        Raises:
            ResourceChangedError: it was changed in place.
        """
        if state_of(self._descriptor) != self._state:
            resource = self._resource
            raise ResourceChangedError(f"{resource.identifier} in {resource.connector.url} was changed in place")
