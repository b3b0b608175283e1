"""An empty store of every kind that can be written, on the real servers, as fixtures."""

from __future__ import annotations

import itertools
import os

import pytest

from datastack_fs.connectors import (
    FileStorageConnector,
    GCSStorageConnector,
    GridFSStorageConnector,
    MemoryStorageConnector,
    S3StorageConnector,
)
from datastack_fs.storage import StorageConnector

WRITABLE = ["file", "memory", "s3", "gcs", "gridfs"]
BUCKET = "datastack-tests"

_numbers = itertools.count()


def unique(name: str) -> str:
    """A name that no other test of this run has."""
    return f"{name}-{os.getpid()}-{next(_numbers)}"


def empty_store(kind: str, request: pytest.FixtureRequest) -> StorageConnector:
    """A connector of an empty store of that kind; its server starts if it is the first to need it."""
    if kind == "file":
        return FileStorageConnector(request.getfixturevalue("tmp_path_factory").mktemp("store"))
    if kind == "memory":
        return MemoryStorageConnector(unique("store"))
    if kind == "s3":
        server = request.getfixturevalue("seaweed")
        return S3StorageConnector(server.make_bucket(BUCKET), unique("store"), **server.options())
    if kind == "gcs":
        server = request.getfixturevalue("fake_gcs")
        return GCSStorageConnector(server.make_bucket(BUCKET), unique("store"), **server.options())
    if kind == "gridfs":
        server = request.getfixturevalue("mongod")
        return GridFSStorageConnector.from_url(f"{server.url}/{BUCKET}", bucket=unique("fs"))
    raise ValueError(f"{kind} is none of {WRITABLE}")


@pytest.fixture(params=WRITABLE)
def store(request: pytest.FixtureRequest) -> StorageConnector:
    """A connector of an empty store, of each kind in turn."""
    return empty_store(request.param, request)
