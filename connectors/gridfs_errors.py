"""What goes wrong with GridFS, as built-in exceptions."""

from __future__ import annotations

import errno
import os

from gridfs.errors import CorruptGridFile
from pymongo.errors import ConfigurationError, ConnectionFailure, OperationFailure, PyMongoError

from datastack_fs.credentials import redact

_DENIED = {13, 18, 8000}
_DISK_FULL = 14031


class CorruptGridFileError(CorruptGridFile, OSError):
    """A chunk is missing, or has another length than the files document promises."""


def translated(error: PyMongoError, what: str) -> Exception:
    """The built-in exception that says the same as one of pymongo's; connection errors name the server, never secrets.

    Examples:
        >>> from pymongo.errors import AutoReconnect
        >>> translated(AutoReconnect("127.0.0.1:27017: connection closed"), "birds.h5")
        ConnectionError('birds.h5: 127.0.0.1:27017: connection closed')
    """
    # pymongo appends its timeouts, and what it knows of every server of the set.
    reason = str(error).partition(", Timeout:")[0].partition(" (configured timeouts:")[0]
    text = redact(f"{what}: {reason}")
    if isinstance(error, ConnectionFailure):
        return ConnectionError(text)
    if isinstance(error, ConfigurationError):
        return ValueError(text)
    code = error.code if isinstance(error, OperationFailure) else None
    if code in _DENIED:
        return PermissionError(text)
    if code == _DISK_FULL:
        return OSError(errno.ENOSPC, text)
    return TimeoutError(text) if error.timeout else OSError(text)


def not_found(name: str, reason: str | None = None) -> FileNotFoundError:
    """The error for a name that has no revision, or whose opened revision is gone."""
    return FileNotFoundError(errno.ENOENT, reason or os.strerror(errno.ENOENT), name)
