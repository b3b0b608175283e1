"""Files of this machine and of installed packages, fetched into a store."""

import gzip
import hashlib
import subprocess
import sys

import pytest

from datastack_fs.connectors import MemoryStorageConnector
from datastack_fs.errors import DatasetFileCorruptError, MissingDependencyError, RetrievalError
from datastack_fs.retrieval import FileRetriever, ResourceDefinition

CONTENT = gzip.compress(b"hoo" * 1_000_000)


@pytest.fixture
def memory(request):
    return MemoryStorageConnector(request.node.nodeid)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "an owl.gz"
    path.write_bytes(CONTENT)
    return path


def retrieve(connector, source, check=None):
    return FileRetriever(connector).retrieve([ResourceDefinition("owl.gz", source, check)])


def test_paths_and_file_urls(memory, path):
    for source in (path, str(path), path.as_uri(), path.as_uri().replace("file://", "file://localhost")):
        retrieve(memory, source, f"md5:{hashlib.md5(CONTENT).hexdigest()}")
        assert memory.get_resource("owl.gz").read() == CONTENT
        memory.delete_resource("owl.gz")


def test_on_every_store(store, path):
    (info,) = retrieve(store, path)
    assert store.get_resource("owl.gz").read() == CONTENT
    path.unlink()
    assert retrieve(store, path) == [info], "what is there is not fetched again"


def test_what_cannot_be_read_is_named(memory, tmp_path):
    for source, reason in ((tmp_path / "none.gz", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(RetrievalError, match=f"can't fetch {source}: {reason}"):
            retrieve(memory, source)
    with pytest.raises(RetrievalError, match="three slashes"):
        retrieve(memory, "file://host/owl.gz")
    assert list(memory.list_resources()) == []


def test_checksums_and_promises_hold_here_too(memory, path):
    with pytest.raises(DatasetFileCorruptError, match=f"it came from {path}"):
        retrieve(memory, path, "md5:" + "0" * 32)
    path.write_bytes(b"<html><title>Oh</title>")
    with pytest.raises(RetrievalError, match=r"a web page came instead of owl\.gz: 'Oh'"):
        retrieve(memory, path)
    assert list(memory.list_resources()) == []


def test_a_file_of_a_package_is_found_without_importing_it():
    code = """
import sys
from datastack_fs.connectors import MemoryStorageConnector
from datastack_fs.retrieval import FileRetriever, ResourceDefinition
store = MemoryStorageConnector()
source = "package://sklearn/datasets/data/digits.csv.gz"
(info,) = FileRetriever(store).retrieve([ResourceDefinition("digits.csv.gz", source)])
assert info.size == 57523, info
assert "sklearn" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_missing_package_says_what_to_install(memory, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'datastack-fs\[sklearn\]'"):
        retrieve(memory, "package://sklearn/datasets/data/digits.csv.gz")
    with pytest.raises(MissingDependencyError, match="install nosuchpackage"):
        retrieve(memory, "package://nosuchpackage/a.gz")
