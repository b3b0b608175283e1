"""Large files come by several connections, each part of the same version, or as one stream."""

import hashlib
import os
import re
import threading
import tracemalloc

import pytest

from datastack_fs.connectors import FileStorageConnector, MemoryStorageConnector
from datastack_fs.errors import DatasetFileCorruptError, RetrievalError, StorageFullError
from datastack_fs.retrieval import HTTPRetriever, ResourceDefinition
from datastack_fs.retrieval.parts import PART_BYTES, SMALLEST_BYTES
from harness.proxy import FaultProxy, ranged_get

SIZE = 5 * PART_BYTES + 12_345
CONTENT = os.urandom(1 << 20) * (SIZE >> 20) + os.urandom(SIZE & 0xFFFFF)
OTHER = CONTENT[::-1]
NAME = "owl.bin"
CHECK = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


@pytest.fixture
def memory(request):
    return MemoryStorageConnector(request.node.nodeid)


@pytest.fixture
def url(web_server):
    return web_server.put("owl.bin", CONTENT)


def retrieve(connector, url, check=CHECK, *, deadline=30, **options):
    retriever = HTTPRetriever(connector, deadline=deadline, **options)
    return retriever.retrieve([ResourceDefinition(NAME, url, check)], overwrite=True)


def no_threads():
    return not [thread for thread in threading.enumerate() if thread.name.startswith("retrieve")]


def ranges(web_server):
    """The parts that were asked for, in order; the first comes with the answer to a request for all."""
    found = [re.fullmatch(r"bytes=(\d+)-(\d+)", request.range) for request in web_server.requests if request.range]
    return sorted((int(each[1]), int(each[2]) + 1) for each in found)


def test_a_large_file_comes_in_parts_by_a_bounded_number_of_connections(memory, web_server, url):
    retrieve(memory, url, connections=3)
    assert memory.get_resource(NAME).read() == CONTENT
    assert web_server.requests[0].range is None
    starts = range(PART_BYTES, SIZE, PART_BYTES)
    assert ranges(web_server) == [(start, min(start + PART_BYTES, SIZE)) for start in starts]
    assert len({request.headers["if-range"] for request in web_server.requests[1:]}) == 1
    assert 2 <= web_server.connections <= 4, "three, and another for the first answer that was cut off"
    assert web_server.requests[0].sent < SIZE, "of which the rest was not wanted"
    assert no_threads()


@pytest.mark.parametrize(
    "reason", ["small", "one connection", "no ranges", "weak", "no etag", "no length"], ids=lambda text: text
)
def test_others_come_as_one_stream(memory, web_server, url, reason):
    size = SMALLEST_BYTES - 1 if reason == "small" else SIZE
    web_server.put("owl.bin", CONTENT[:size])
    changes = {
        "no ranges": {"ranges": False},
        "weak": {"etag": "weak"},
        "no etag": {"etag": None},
        "no length": {"length": "chunked"},
    }
    web_server.behave("owl.bin", **changes.get(reason, {}))
    retrieve(memory, url, None, connections=1 if reason == "one connection" else 8)
    assert memory.get_resource(NAME).read() == CONTENT[:size]
    assert [request.range for request in web_server.requests] == [None]


def test_parts_that_break_off_go_on_where_they_were(memory, web_server, url):
    with FaultProxy.before(web_server.url) as proxy:
        faults = [
            proxy.arm("rst", at=3_000_000, when=lambda request: request.range is None),
            proxy.arm("fin", at=1_000_000, times=2, when=ranged_get),
            proxy.arm("503", times=2, when=ranged_get),
        ]
        retrieve(memory, f"{proxy.url}/owl.bin")
        assert [fault.fired for fault in faults] == [1, 2, 2]
    assert memory.get_resource(NAME).read() == CONTENT
    again = sum(stop - start for start, stop in ranges(web_server)) - (SIZE - PART_BYTES)
    assert 0 < again < 3 * PART_BYTES, "the rest of three parts, and no part as a whole"


def test_a_file_that_changes_on_the_way_is_never_mixed(memory, web_server, url):
    """Half of the parts are of the one version when the server begins to serve the other."""
    asked = []

    def swap(body):
        asked.append(len(body))
        if len(asked) == 3:
            web_server.put("owl.bin", OTHER)
        return body

    web_server.behave("owl.bin", mangle=swap)
    retrieve(memory, url, None, connections=2)
    assert memory.get_resource(NAME).read() == OTHER
    assert web_server.requests[-1].range is None, "begun anew, it is one stream"
    assert no_threads()


@pytest.mark.parametrize("answer", [403, 416, 412, 400])
def test_a_server_that_refuses_parts_after_all_is_asked_for_one_stream(memory, web_server, url, answer):
    with FaultProxy.before(web_server.url) as proxy:
        fault = proxy.arm(str(answer), times=None, when=ranged_get)
        retrieve(memory, f"{proxy.url}/owl.bin")
        assert fault.fired >= 1
    assert memory.get_resource(NAME).read() == CONTENT
    assert no_threads()


def test_a_part_that_never_comes_is_given_up(memory, web_server, url):
    with FaultProxy.before(web_server.url) as proxy:
        proxy.arm("rst", at=0, times=None, when=lambda request: (request.range or "").startswith("bytes=16777216"))
        with pytest.raises(RetrievalError, match="a part broke off after 16,777,216 bytes"):
            retrieve(memory, f"{proxy.url}/owl.bin", deadline=0.5)
    assert list(memory.list_resources()) == []
    assert no_threads()


def test_the_checksum_is_that_of_the_whole(memory, url):
    with pytest.raises(DatasetFileCorruptError, match=f"found {CHECK}"):
        retrieve(memory, url, "sha256:" + "0" * 64)
    assert list(memory.list_resources()) == []
    assert no_threads()


def test_too_large_a_file_is_refused_before_any_part(memory, web_server, url):
    with pytest.raises(RetrievalError, match="max_size"):
        retrieve(memory, url, max_size=SIZE - 1)
    assert len(web_server.requests) == 1


def test_a_store_that_fails_ends_the_parts_at_once(memory, web_server, url):
    class Full(MemoryStorageConnector):
        def _publish(self, identifier, upload, overwrite):
            next(upload.blocks())
            raise StorageFullError("no room")

    with FaultProxy.before(web_server.url) as proxy:
        proxy.arm("stall", at=1000, times=None, when=ranged_get)
        with pytest.raises(StorageFullError):
            retrieve(Full("full"), f"{proxy.url}/owl.bin")
    assert no_threads()


def test_memory_is_bounded_by_the_window(tmp_path, web_server, url):
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        retrieve(FileStorageConnector(tmp_path), url, connections=2)
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert peak < 2 * PART_BYTES + (8 << 20)
