"""An empty store of every kind that can be written, on the real servers, as fixtures."""

from __future__ import annotations

import io
import itertools
import os
import tarfile
import zipfile
from collections.abc import Mapping

import pytest

from datastack_fs.connectors import (
    ArchiveStorageConnector,
    FileStorageConnector,
    GCSStorageConnector,
    GridFSStorageConnector,
    HTTPStorageConnector,
    MemoryStorageConnector,
    S3StorageConnector,
)
from datastack_fs.storage import StorageConnector

READABLE = ["file", "memory", "s3", "gcs", "gridfs", "http", "zip", "deflated zip", "tar", "zip in s3"]
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


def filled_store(kind: str, contents: Mapping[str, bytes], request: pytest.FixtureRequest) -> StorageConnector:
    """A connector of a store of one of the ``READABLE`` kinds, which holds just these resources."""
    if kind == "http":
        server = request.getfixturevalue("web_server")
        for name, content in contents.items():
            server[f"data/{name}"] = content
        return HTTPStorageConnector(f"{server.url}/data")
    if kind in WRITABLE:
        connector = empty_store(kind, request)
        for name, content in contents.items():
            connector.set_resource(name, content)
        return connector
    archive = tarred(contents) if kind == "tar" else zipped(contents, deflated=kind == "deflated zip")
    inner = empty_store("s3" if kind.endswith(" in s3") else "memory", request)
    name = "archive.tar" if kind == "tar" else "archive.zip"
    inner.set_resource(name, archive)
    return ArchiveStorageConnector(inner, name)


def zipped(contents: Mapping[str, bytes], *, deflated: bool = False) -> bytes:
    """A zip file of these members."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return stream.getvalue()


def tarred(contents: Mapping[str, bytes]) -> bytes:
    """A tar file of these members."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


@pytest.fixture(params=WRITABLE)
def store(request: pytest.FixtureRequest) -> StorageConnector:
    """A connector of an empty store, of each kind in turn."""
    return empty_store(request.param, request)


@pytest.fixture(params=["file", "memory"])
def local_store(request: pytest.FixtureRequest) -> StorageConnector:
    """An empty store whose files are read by path, and one that is read by ranges, as every remote store is."""
    return empty_store(request.param, request)
