"""Offline: what is there and right is used, what is missing is named, and no socket is opened."""

import hashlib
import subprocess
import sys

import pytest

import datastack_fs
from datastack_fs.connectors import FileStorageConnector, MemoryStorageConnector
from datastack_fs.datasets import MNISTFactory
from datastack_fs.errors import ConfigError, RetrievalError
from datastack_fs.retrieval import FileRetriever, HTTPRetriever, ResourceDefinition, StorageRetriever
from harness import mirrors

CONTENT = b"hoo"
CHECK = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"

GUARD = """
import sys

def guard(event, arguments):
    if event in ("socket.__new__", "socket.getaddrinfo", "socket.connect", "socket.gethostbyname", "socket.bind"):
        raise AssertionError(f"{event} {arguments}")

sys.addaudithook(guard)
"""


@pytest.fixture
def memory(request):
    return MemoryStorageConnector(request.node.nodeid)


def run_guarded(code, **environment):
    """Runs code in a process in which whoever opens a socket fails."""
    done = subprocess.run(
        [sys.executable, "-c", GUARD + code],
        capture_output=True,
        text=True,
        check=False,
        env={**__import__("os").environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_is_there_is_used_and_what_is_missing_is_named(memory, web_server):
    there = ResourceDefinition("there.txt", web_server.put("a", CONTENT), CHECK)
    unchecked = ResourceDefinition("unchecked.txt", web_server.put("a", CONTENT))
    missing = ResourceDefinition("missing.txt", "https://ann:CANARY@host/a?token=CANARY", CHECK)
    wrong = ResourceDefinition("wrong.txt", web_server.url_of("b"), CHECK)
    for name in ("there.txt", "unchecked.txt", "wrong.txt"):
        memory.set_resource(name, b"other" if name == "wrong.txt" else CONTENT)
    retriever = HTTPRetriever(memory, offline=True)
    assert [info.identifier for info in retriever.retrieve([there, unchecked])] == ["there.txt", "unchecked.txt"]
    with pytest.raises(RetrievalError, match="offline, and not in the store, or not as it should be") as caught:
        retriever.retrieve([there, missing, wrong, unchecked])
    text = str(caught.value)
    assert f"missing.txt (from https://ann:***@host/a?token=***); wrong.txt (from {web_server.url_of('b')})" in text
    assert "without offline, --offline and $DATASTACK_OFFLINE" in text
    assert memory.url in text
    assert "there.txt (" not in text
    with pytest.raises(RetrievalError, match=r"would be fetched anew: there\.txt"):
        retriever.retrieve([there], overwrite=True)
    assert web_server.requests == []
    assert memory.get_resource("wrong.txt").read() == b"other"


def test_sources_of_this_machine_are_fetched(memory, tmp_path):
    (tmp_path / "owl.txt").write_bytes(CONTENT)
    MemoryStorageConnector("published").set_resource("owl.txt", CONTENT)
    FileRetriever(memory, offline=True).retrieve([ResourceDefinition("a", str(tmp_path / "owl.txt"))])
    local = StorageRetriever(memory, offline=True)
    local.retrieve([ResourceDefinition("b", "memory://published/owl.txt")])
    StorageRetriever(memory, offline=True, source=FileStorageConnector(tmp_path)).retrieve(
        [ResourceDefinition("c", "owl.txt")]
    )
    assert {memory.get_resource(name).read() for name in "abc"} == {CONTENT}
    for away in ("s3://lab/owl.txt", "zip://owl.txt::https://host/all.zip", "zip://owl.txt::gs://lab/all.zip"):
        with pytest.raises(RetrievalError, match="offline"):
            local.retrieve([ResourceDefinition("d", away)])
    with pytest.raises(RetrievalError, match=r"can't fetch zip://.*all\.zip"):
        local.retrieve([ResourceDefinition("d", f"zip://owl.txt::file://{tmp_path}/all.zip")])


@pytest.mark.parametrize(
    ("variable", "given", "offline"),
    [("1", None, True), ("TRUE", None, True), ("0", None, False), ("", None, False), ("1", False, False)],
)
def test_the_environment_says_so_too(memory, web_server, monkeypatch, variable, given, offline):
    monkeypatch.setenv("DATASTACK_OFFLINE", variable)
    definitions = [ResourceDefinition("owl.txt", web_server.put("a", CONTENT))]
    if offline:
        with pytest.raises(RetrievalError, match="offline"):
            HTTPRetriever(memory, offline=given).retrieve(definitions)
    else:
        HTTPRetriever(memory, offline=given).retrieve(definitions)
    assert len(web_server.requests) == (0 if offline else 1)


def test_what_the_environment_says_is_yes_or_no(memory, monkeypatch):
    monkeypatch.setenv("DATASTACK_OFFLINE", "maybe")
    with pytest.raises(ConfigError, match="DATASTACK_OFFLINE is 1 or 0, not 'maybe'"):
        HTTPRetriever(memory).retrieve([ResourceDefinition("owl.txt", "http://host/a")])


def test_a_dataset_that_is_prepared_opens_and_another_says_what_is_missing(memory, web_server):
    mirrors.serve(web_server)
    options = {"resource_definitions": mirrors.definitions(web_server.url), "offline": True}
    with pytest.raises(RetrievalError, match=r"offline.*mnist/raw/samples_train\.gz \(from http"):
        MNISTFactory(memory, **options).prepare()
    assert web_server.requests == []
    own = MNISTFactory(memory, **options, retriever=HTTPRetriever(memory))
    with pytest.raises(RetrievalError, match="offline"):
        own.prepare()
    MNISTFactory(memory, **{**options, "offline": False}).prepare()
    web_server.requests.clear()
    iterator, _ = MNISTFactory(memory, **options).get_dataset_iterator()
    assert len(iterator)
    assert web_server.requests == []


def test_load_dataset_passes_it_on(memory):
    with pytest.raises(RetrievalError, match="offline"):
        datastack_fs.load_dataset("mnist", storage=memory, offline=True)
    assert len(datastack_fs.load_dataset("digits", storage=memory, offline=True)) == 1437


def test_no_socket_is_opened(tmp_path, web_server):
    """Neither for what is there nor for what is missing; the guard itself is seen to work."""
    mirrors.serve(web_server)
    definitions = mirrors.definitions(web_server.url)
    MNISTFactory(FileStorageConnector(tmp_path), resource_definitions=definitions).prepare()
    web_server.requests.clear()
    code = f"""
import datastack_fs
from datastack_fs.retrieval import HTTPRetriever, ResourceDefinition
from datastack_fs.errors import RetrievalError

print(len(datastack_fs.load_dataset("mnist", storage={str(tmp_path)!r})))
print(len(datastack_fs.load_dataset("digits", storage={str(tmp_path)!r})))
for name in ("fashion-mnist",):
    try:
        datastack_fs.load_dataset(name, storage={str(tmp_path)!r})
    except RetrievalError as error:
        print("offline" in str(error))
try:
    HTTPRetriever(datastack_fs.connect({str(tmp_path)!r}), offline=False, deadline=0).retrieve(
        [ResourceDefinition("a", {web_server.url!r})]
    )
except (AssertionError, RetrievalError) as error:
    print(type(error).__name__, str(error)[:40])
"""
    out = run_guarded(code, DATASTACK_OFFLINE="1").split("\n")
    assert out[:3] == [str(mirrors.COUNTS["train"]), "1437", "True"]
    assert "socket" in out[3]
    assert web_server.requests == []


def test_the_command_does_not_open_one_either(tmp_path):
    code = f"""
from datastack_fs.cli.app import app
for name, code in (("digits", 0), ("mnist", 1)):
    try:
        app(["prepare", name, "--offline", "--storage", {str(tmp_path)!r}])
    except SystemExit as end:
        assert end.code == code, (name, end.code)
"""
    assert "digits is in file://" in run_guarded(code)
