"""Files of this machine that are read by path or memory map, still pinned to one version."""

import os
from typing import TypeAlias

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
