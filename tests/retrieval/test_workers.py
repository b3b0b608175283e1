"""Several files at once: so many and no more, in order, and the first error ends the rest."""

import itertools
import os
import signal
import subprocess
import sys
import threading

import pytest

from datastack_fs.connectors import FileStorageConnector, MemoryStorageConnector
from datastack_fs.errors import DatasetFileCorruptError, RetrievalError
from datastack_fs.retrieval import FileRetriever, HTTPRetriever, ResourceDefinition, Retriever, StorageRetriever
from harness.proxy import FaultProxy

NAMES = [f"{number}.bin" for number in (3, 1, 4, 2, 9, 5, 6, 8, 7)]


@pytest.fixture
def memory(request):
    return MemoryStorageConnector(request.node.nodeid)


@pytest.fixture
def definitions(web_server):
    return [ResourceDefinition(name, web_server.put(name, name.encode() * 50_000)) for name in NAMES]


def no_threads():
    return not [thread for thread in threading.enumerate() if thread.name.startswith("retrieve")]


class Together:
    """Counts who is there at the same time; the first few go on when all of them are there."""

    def __init__(self, count):
        self._barrier = threading.Barrier(count)
        self._lock = threading.Lock()
        self._calls = self._there = 0
        self.most = 0

    def __call__(self, body):
        with self._lock:
            self._calls += 1
            self._there += 1
            self.most = max(self.most, self._there)
            first = self._calls <= self._barrier.parties
        if first:
            self._barrier.wait(30)
        with self._lock:
            self._there -= 1
        return body


@pytest.mark.parametrize("workers", [1, 3])
def test_so_many_files_at_once_and_no_more(memory, web_server, definitions, workers):
    together = Together(workers)
    for definition in definitions:
        web_server.behave(definition.identifier, mangle=together)
    infos = HTTPRetriever(memory, workers=workers).retrieve(definitions)
    assert together.most == workers
    assert [info.identifier for info in infos] == NAMES
    assert all(memory.get_resource(name).read() == name.encode() * 50_000 for name in NAMES)
    assert no_threads()


def test_what_is_there_keeps_its_place(memory, web_server, definitions):
    for name in NAMES[::2]:
        memory.set_resource(name, b"there")
    infos = HTTPRetriever(memory).retrieve(definitions)
    assert [info.identifier for info in infos] == NAMES
    assert [info.size == 5 for info in infos] == [position % 2 == 0 for position in range(len(NAMES))]
    assert sorted(request.path for request in web_server.requests) == sorted(NAMES[1::2])


def test_every_kind_of_source(store, tmp_path):
    published = FileStorageConnector(tmp_path)
    for name in NAMES:
        published.set_resource(name, name.encode())
    files = FileRetriever(store).retrieve([ResourceDefinition(f"a/{name}", str(tmp_path / name)) for name in NAMES])
    others = StorageRetriever(store, source=published).retrieve([ResourceDefinition(f"b/{n}", n) for n in NAMES])
    assert [info.identifier for info in files + others] == [f"{folder}/{name}" for folder in "ab" for name in NAMES]
    assert all(store.get_resource(f"{folder}/{name}").read() == name.encode() for folder in "ab" for name in NAMES)


@pytest.mark.parametrize("kind", ["404", "checksum"])
def test_the_first_error_ends_the_rest(memory, web_server, definitions, kind):
    """Two never end, one fails, and those that have not begun are not asked for."""
    failing = definitions[2]
    for definition in definitions[:2]:
        body = itertools.repeat(bytes(100_000))
        web_server.behave(definition.identifier, length="none", mangle=lambda _, body=body: body)
    if kind == "404":
        web_server.behave(failing.identifier, statuses=[404])
    else:
        definitions[2] = ResourceDefinition(failing.identifier, failing.source, "md5:" + "0" * 32)
    error, text = (RetrievalError, "HTTP 404") if kind == "404" else (DatasetFileCorruptError, "expected md5:0000")
    with pytest.raises(error, match=text):
        HTTPRetriever(memory, workers=3).retrieve(definitions)
    assert {request.path for request in web_server.requests} <= set(NAMES[:3])
    assert list(memory.list_resources()) == []
    assert no_threads()


def test_who_waits_for_bytes_is_woken(memory, web_server, definitions):
    """No byte comes any more, and there are minutes left until the deadline."""
    with FaultProxy.before(web_server.url) as proxy:
        stalled = proxy.arm("stall", at=1000, times=2)
        proxy.arm("404", when=lambda request: stalled.fired == 2)
        moved = [
            ResourceDefinition(each.identifier, each.source.replace(web_server.url, proxy.url)) for each in definitions
        ]
        with pytest.raises(RetrievalError, match="HTTP 404"):
            HTTPRetriever(memory, workers=3, deadline=600).retrieve(moved)
    assert no_threads()


def test_who_waits_for_the_next_try_is_woken(memory, web_server, definitions):
    web_server.behave(NAMES[0], statuses=[503], headers={"Retry-After": "500"})
    web_server.behave(NAMES[1], statuses=[404])
    with pytest.raises(RetrievalError, match="HTTP 404"):
        HTTPRetriever(memory, workers=2, deadline=600).retrieve(definitions)
    assert no_threads()


def test_ctrl_c_ends_all_and_leaves_nothing(tmp_path, web_server):
    for name in NAMES:
        web_server.behave(name, length="none", mangle=lambda _: itertools.repeat(bytes(100_000)))
        web_server.put(name, b"x")
    code = f"""
from datastack_fs.connectors import FileStorageConnector
from datastack_fs.retrieval import HTTPRetriever, ResourceDefinition
definitions = [ResourceDefinition(name, {web_server.url!r} + "/" + name) for name in {NAMES!r}]
HTTPRetriever(FileStorageConnector({str(tmp_path)!r}), workers=3).retrieve(definitions)
"""
    child = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    while sum(request.sent > 1_000_000 for request in list(web_server.requests)) < 3:
        assert child.poll() is None, child.stderr.read()
    os.kill(child.pid, signal.SIGINT)
    _, shown = child.communicate(timeout=60)
    assert "KeyboardInterrupt" in shown.splitlines()[-1]
    assert list(FileStorageConnector(tmp_path).list_resources()) == []
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_retriever_of_ones_own_needs_to_know_nothing(memory):
    class Words(Retriever):
        def _fetch(self, definition, bar):
            if definition.source == "bad":
                raise RetrievalError("no such word")
            return self._publish(definition, iter([definition.source.encode()]))

    words = [ResourceDefinition(name, "hoo") for name in NAMES]
    assert [info.identifier for info in Words(memory).retrieve(words)] == NAMES
    with pytest.raises(RetrievalError, match="no such word"):
        Words(memory).retrieve([*words, ResourceDefinition("bad", "bad")], overwrite=True)


def test_progress_of_all_and_of_each(memory, definitions, capfd):
    HTTPRetriever(memory, progress=True, workers=3).retrieve(definitions)
    shown = capfd.readouterr().err
    assert all(name in shown for name in NAMES)
    assert f"{len(NAMES)}/{len(NAMES)}" in shown


def test_misuse_is_refused(memory, definitions):
    with pytest.raises(ValueError, match=r"3\.bin: defined more than once"):
        HTTPRetriever(memory).retrieve([*definitions, definitions[0]])
    with pytest.raises(ValueError, match="workers=0"):
        HTTPRetriever(memory, workers=0)
    with pytest.raises(ValueError, match="connections=0"):
        HTTPRetriever(memory, connections=0)
