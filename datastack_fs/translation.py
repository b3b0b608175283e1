"""Which of the library's errors a built-in one stands for."""

import errno
from collections.abc import Sequence
from typing import Final

from datastack_fs.errors import (
    DatastackError,
    ResourceConflictError,
    ResourceExistsError,
    ResourceNotFoundError,
    StorageFullError,
    StoragePermissionError,
    StorageUnavailableError,
    UnsupportedStorageError,
)

Translation = tuple[type[DatastackError], str]
"""A class and the reason to give."""

_ONE_NAME = "a resource and a folder can't have the same name here"
_NO_ANSWER = "no answer"

_CLASSES: Final[Sequence[tuple[tuple[type[Exception], ...], Translation]]] = (
    ((FileNotFoundError,), (ResourceNotFoundError, "not found")),
    ((FileExistsError,), (ResourceExistsError, "it is there")),
    ((IsADirectoryError, NotADirectoryError), (ResourceConflictError, _ONE_NAME)),
    ((PermissionError,), (StoragePermissionError, "these credentials, or this user, may not")),
    ((TimeoutError, ConnectionError, EOFError), (StorageUnavailableError, _NO_ANSWER)),
    ((NotImplementedError,), (UnsupportedStorageError, "this store can't do that safely")),
)

_CODES: Final[dict[int, Translation]] = {
    errno.ENOSPC: (StorageFullError, "no room"),
    errno.EDQUOT: (StorageFullError, "over the quota"),
    errno.EFBIG: (StorageFullError, "too large for this file system, or for this process's limit"),
    errno.ENOTDIR: (ResourceConflictError, _ONE_NAME),
    errno.EISDIR: (ResourceConflictError, _ONE_NAME),
    errno.ENOTEMPTY: (ResourceConflictError, _ONE_NAME),
    errno.EIO: (StorageUnavailableError, _NO_ANSWER),
    errno.ETIMEDOUT: (StorageUnavailableError, _NO_ANSWER),
    errno.EBUSY: (StorageUnavailableError, _NO_ANSWER),
    errno.EAGAIN: (StorageUnavailableError, _NO_ANSWER),
    errno.EHOSTUNREACH: (StorageUnavailableError, _NO_ANSWER),
    errno.ENETUNREACH: (StorageUnavailableError, _NO_ANSWER),
}


def translate_built_in(error: Exception) -> Translation | None:
    """The class and the reason for a built-in exception, by its class or its errno; None for one without meaning here.

    Examples:
        >>> translate_built_in(OSError(errno.ENOSPC, "No space left on device"))
        (<class 'datastack_fs.errors.StorageFullError'>, 'no room')
    """
    for classes, translation in _CLASSES:
        if isinstance(error, classes):
            return translation
    return _CODES.get(getattr(error, "errno", None) or 0)
