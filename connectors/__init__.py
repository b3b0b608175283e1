"""The connectors: one file a backend, loaded when it is asked for.

>>> from datastack_fs.connectors import FileStorageConnector
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datastack_fs.connectors.archive import ArchiveStorageConnector
    from datastack_fs.connectors.file import FileStorageConnector
    from datastack_fs.connectors.fsspec_ import FsspecStorageConnector
    from datastack_fs.connectors.gcs import GCSStorageConnector
    from datastack_fs.connectors.gridfs_ import GridFSStorageConnector
    from datastack_fs.connectors.gridfs_filesystem import GridFSFileSystem
    from datastack_fs.connectors.http_ import HTTPStorageConnector
    from datastack_fs.connectors.memory import MemoryStorageConnector
    from datastack_fs.connectors.s3 import S3StorageConnector

__all__ = [
    "ArchiveStorageConnector",
    "FileStorageConnector",
    "FsspecStorageConnector",
    "GCSStorageConnector",
    "GridFSFileSystem",
    "GridFSStorageConnector",
    "HTTPStorageConnector",
    "MemoryStorageConnector",
    "S3StorageConnector",
]

_MODULES = {
    "ArchiveStorageConnector": "archive",
    "FileStorageConnector": "file",
    "FsspecStorageConnector": "fsspec_",
    "GCSStorageConnector": "gcs",
    "GridFSFileSystem": "gridfs_filesystem",
    "GridFSStorageConnector": "gridfs_",
    "HTTPStorageConnector": "http_",
    "MemoryStorageConnector": "memory",
    "S3StorageConnector": "s3",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
