"""A server that asks for patience gets it within bounds, and one that sends too much is not listened to."""

import itertools
import time
from email.utils import formatdate

import pytest

from datastack_fs.connectors import MemoryStorageConnector
from datastack_fs.deadline import LONGEST_WAIT, Deadline
from datastack_fs.errors import RetrievalError
from datastack_fs.retrieval import FileRetriever, HTTPRetriever, ResourceDefinition, StorageRetriever
from datastack_fs.retrieval.progress import FileProgress

NAME = "owl.bin"
CONTENT = bytes(range(256)) * 4000
OLD = b"what was stored before"


@pytest.fixture
def memory(request):
    return MemoryStorageConnector(request.node.nodeid)


@pytest.fixture
def slept(monkeypatch):
    """How long was waited for, without waiting."""
    pauses = []
    monkeypatch.setattr(FileProgress, "sleep", lambda self, seconds: seconds and pauses.append(seconds))
    return pauses


def retrieve(connector, url, **options):
    return HTTPRetriever(connector, **options).retrieve([ResourceDefinition(NAME, url)], overwrite=True)


# Retry-After.


@pytest.mark.parametrize("status", [429, 503, 500])
def test_a_pause_that_a_server_asks_for_is_kept(memory, web_server, slept, status):
    url = web_server.put("owl.bin", CONTENT)
    web_server.behave("owl.bin", statuses=[status, status], headers={"Retry-After": "7"})
    retrieve(memory, url)
    assert memory.get_resource(NAME).read() == CONTENT
    assert len(slept) == 2
    assert all(7 <= pause <= 7 + LONGEST_WAIT for pause in slept)


@pytest.mark.parametrize(("until", "pause"), [(20, 20), (-20, 0)])
def test_a_date_is_measured_by_the_clock_of_the_server(memory, web_server, slept, until, pause):
    """Its clock may be wrong: the date of its answer says what it takes for now. The server of this test has ours."""
    url = web_server.put("owl.bin", CONTENT)
    web_server.behave("owl.bin", statuses=[503], headers={"Retry-After": formatdate(time.time() + until, usegmt=True)})
    retrieve(memory, url)
    assert len(slept) == 1
    assert pause - 2 <= slept[0] <= pause + LONGEST_WAIT


@pytest.mark.parametrize("text", ["soon", "-1", "1e3", "", "٣", "Wed, 99 Foo 2026 00:00:00 GMT"])
def test_what_is_neither_is_no_pause(memory, web_server, slept, text):
    url = web_server.put("owl.bin", CONTENT)
    web_server.behave("owl.bin", statuses=[503], headers={"Retry-After": text.encode().decode("latin-1")})
    retrieve(memory, url)
    assert len(slept) == 1
    assert slept[0] <= LONGEST_WAIT


def test_a_pause_beyond_the_deadline_is_the_end_at_once(memory, web_server, slept):
    url = web_server.put("owl.bin", CONTENT)
    web_server.behave("owl.bin", statuses=[429], headers={"Retry-After": "61"})
    with pytest.raises(RetrievalError, match="HTTP 429 Too Many Requests, and asks to be left alone for 61 s"):
        retrieve(memory, url, deadline=60)
    assert slept == []
    web_server.behave("owl.bin", statuses=[429], headers={"Retry-After": "61"})
    retrieve(memory, url, deadline=90)
    assert len(slept) == 1


def test_waits_never_go_beyond_the_deadline():
    pauses = []
    deadline = Deadline(100, sleep=pauses.append)
    for _ in range(200):
        deadline.wait(ConnectionError(), at_least=99)
    assert max(pauses) <= 100
    assert min(pauses) >= 99
    assert len(set(pauses)) > 100, "with jitter: many that were sent away together do not come back together"


# max_size.


def refused(retriever, source):
    """Nothing is stored, and what was there stays."""
    connector = retriever.connector
    with pytest.raises(RetrievalError, match=f"max_size={len(CONTENT) - 1}") as caught:
        retriever.retrieve([ResourceDefinition(NAME, source)])
    assert list(connector.list_resources()) == []
    connector.set_resource(NAME, OLD)
    with pytest.raises(RetrievalError, match="max_size="):
        retriever.retrieve([ResourceDefinition(NAME, source)], overwrite=True)
    assert connector.get_resource(NAME).read() == OLD
    return str(caught.value)


@pytest.mark.parametrize("length", ["exact", "chunked", "none"])
def test_a_file_that_is_too_large_is_refused(memory, web_server, length):
    url = web_server.put("owl.bin", CONTENT)
    web_server.behave("owl.bin", length=length)
    assert url in refused(HTTPRetriever(memory, max_size=len(CONTENT) - 1), url)
    memory.delete_resource(NAME)
    retrieve(memory, url, max_size=len(CONTENT))
    assert memory.get_resource(NAME).read() == CONTENT


def test_a_length_is_enough_to_refuse_it(memory, web_server):
    url = web_server.put("owl.bin", bytes(100 << 20))
    with pytest.raises(RetrievalError, match="it has 104,857,600 bytes or more, and max_size=1000"):
        retrieve(memory, url, max_size=1000)
    assert web_server.requests[0].sent < 20 << 20, "no more than what the system's buffers took"


@pytest.mark.parametrize("length", ["chunked", "none"])
def test_a_body_that_never_ends_is_left(memory, web_server, length):
    url = web_server.put("owl.bin", CONTENT)
    web_server.behave("owl.bin", length=length, mangle=lambda _: itertools.repeat(bytes(100_000)))
    refused(HTTPRetriever(memory, max_size=len(CONTENT) - 1), url)
    assert sum(request.sent for request in web_server.requests) < 100 << 20


@pytest.mark.parametrize("more", [1, 1 << 20])
def test_a_body_longer_than_its_length_ends_there(memory, web_server, more):
    url = web_server.put("owl.bin", CONTENT)
    web_server.behave("owl.bin", mangle=lambda body: body + bytes(more))
    retrieve(memory, url, max_size=len(CONTENT))
    assert memory.get_resource(NAME).read() == CONTENT


def test_other_sources_have_the_same_limit(memory, tmp_path):
    (tmp_path / "owl.bin").write_bytes(CONTENT)
    refused(FileRetriever(memory, max_size=len(CONTENT) - 1), str(tmp_path / "owl.bin"))
    memory.delete_resource(NAME)
    refused(StorageRetriever(memory, max_size=len(CONTENT) - 1), f"file://{tmp_path}/owl.bin")
