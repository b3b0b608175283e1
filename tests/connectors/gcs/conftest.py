"""A GCS store: straight, through a bad network, and with the resumable sessions that Google documents."""

import pytest

from datastack_fs.connectors import GCSStorageConnector
from harness.fakegcs import FakeGCS
from harness.gcs_sessions import UNIT, GoogleSessions
from harness.proxy import FaultProxy
from harness.stores import BUCKET, unique


@pytest.fixture
def server(fake_gcs):
    if not isinstance(fake_gcs, FakeGCS):
        pytest.skip("these tests break their server's answers: they need fake-gcs-server")
    fake_gcs.make_bucket(BUCKET)
    return fake_gcs


@pytest.fixture
def connector(server):
    with GCSStorageConnector(BUCKET, unique("own"), **server.options()) as connector:
        yield connector


@pytest.fixture
def proxy(server):
    with FaultProxy.before(server.endpoint_url) as proxy:
        yield proxy


@pytest.fixture
def proxied(proxy):
    with GCSStorageConnector(BUCKET, unique("own"), token="anon", endpoint_url=proxy.url, deadline=8) as connector:
        yield connector


@pytest.fixture
def google(server):
    with GoogleSessions(server.port) as google:
        yield google


@pytest.fixture
def google_proxy(google):
    with FaultProxy.before(google.url) as proxy:
        yield proxy


@pytest.fixture
def in_sessions(google_proxy):
    """A connector whose writes of more than 256 KiB go through sessions."""
    with GCSStorageConnector(
        BUCKET, unique("own"), token="anon", endpoint_url=google_proxy.url, deadline=8, chunk_size=UNIT
    ) as connector:
        yield connector
