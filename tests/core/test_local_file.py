"""The folder connector's own: links, changes in place, a full disk, extended attributes."""

import os
import resource
import shutil

import numpy as np
import pytest

from datastack_fs.connectors import FileStorageConnector
from datastack_fs.errors import (
    MaliciousFilePathError,
    ResourceChangedError,
    ResourceNotFoundError,
    StoragePermissionError,
)
from datastack_fs.testing.content import noise, read_all


@pytest.fixture
def connector(tmp_path):
    return FileStorageConnector(tmp_path / "store")


@pytest.fixture
def outside(tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_bytes(b"secret")
    return tmp_path / "outside"


@pytest.mark.parametrize("absolute", [True, False])
def test_links_that_lead_out_are_refused(connector, outside, absolute):
    connector.set_resource("here", b"1")
    target = outside if absolute else os.path.join("..", "outside")
    os.symlink(target, os.path.join(connector.root_path, "folder"))
    os.symlink(os.path.join(target, "secret"), os.path.join(connector.root_path, "file"))
    for call in (connector.get_resource, connector.has_resource, connector.get_info):
        for name in ("folder/secret", "file"):
            with pytest.raises(MaliciousFilePathError, match="leads out"):
                call(name)
    with pytest.raises(MaliciousFilePathError):
        connector.set_resource("folder/new", b"x")
    with pytest.raises(MaliciousFilePathError):
        connector.delete_resource("folder/secret")
    connector.set_resource("file", b"replaced")  # the link gives way to a file; its target is untouched
    assert list(connector.list_resources()) == ["file", "here"]
    assert sorted(os.listdir(outside)) == ["secret"]
    assert (outside / "secret").read_bytes() == b"secret"


def test_links_within_the_root_are_followed(connector):
    connector.set_resource("v2/a/b", b"1")
    os.symlink("v2", os.path.join(connector.root_path, "current"))
    os.symlink(os.path.join("v2", "a", "b"), os.path.join(connector.root_path, "alias"))
    assert read_all(connector, "current/a/b") == read_all(connector, "alias") == b"1"
    connector.set_resource("current/a/c", b"2")
    assert list(connector.list_resources()) == ["v2/a/b", "v2/a/c"]
    os.symlink("loop", os.path.join(connector.root_path, "loop"))
    assert connector.has_resource("loop/x") is False
    assert connector.has_resource("loop") is False


def test_a_root_that_is_a_link_works(tmp_path):
    (tmp_path / "real").mkdir()
    os.symlink("real", tmp_path / "link")
    FileStorageConnector(tmp_path / "link").set_resource("a", b"1")
    assert (tmp_path / "real" / "a").read_bytes() == b"1"
    sibling = tmp_path / "real-evil"
    sibling.mkdir()
    (sibling / "x").write_bytes(b"x")
    os.symlink(sibling, tmp_path / "real" / "out")
    with pytest.raises(MaliciousFilePathError):
        FileStorageConnector(tmp_path / "real").get_resource("out/x")


@pytest.mark.parametrize("how", ["truncated", "rewritten", "appended"])
def test_a_file_changed_in_place_is_noticed(connector, how):
    connector.set_resource("a", noise(500_000))
    path = os.path.join(connector.root_path, "a")
    with connector.get_resource("a") as opened:
        opened.read(10)
        if how == "truncated":
            os.truncate(path, 1000)
        elif how == "appended":
            with open(path, "ab") as file:
                file.write(b"more")
        else:
            with open(path, "r+b") as file:
                file.seek(400_000)
                file.write(b"other")
        with pytest.raises(ResourceChangedError):
            opened.read()
    assert connector.get_info("a").checksum is None, "the kept checksum is of other bytes"


def test_what_is_no_regular_file_is_not_there(connector):
    connector.set_resource("a/b", b"1")
    os.mkfifo(os.path.join(connector.root_path, "pipe"))
    for name in ("a", "pipe"):
        assert connector.has_resource(name) is False
        with pytest.raises(ResourceNotFoundError):
            connector.get_resource(name)
    assert list(connector.list_resources()) == ["a/b"]


def test_a_missing_root_is_an_empty_store(tmp_path):
    connector = FileStorageConnector(tmp_path / "none" / "yet")
    assert list(connector.list_resources()) == []
    assert connector.has_resource("a") is False
    assert connector.sweep(0) == 0
    assert not (tmp_path / "none").exists()


def test_a_disk_that_is_full_keeps_the_old(connector):
    """The limit on a file's size stands in for the disk: the kernel's answer takes the same way."""
    connector.set_resource("a", b"old")
    pid = os.fork()
    if pid == 0:
        import signal

        from datastack_fs.errors import StorageFullError

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        try:
            connector.set_resource("a", noise(3 << 20))
        except StorageFullError:
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    assert read_all(connector, "a") == b"old"
    assert os.listdir(connector.root_path) == ["a"]


def test_numpy_reads_at_c_speed_in_parent_and_child(connector, tmp_path):
    """numpy takes the descriptor itself: the offset that a fork shares must not get between the two."""
    array = np.arange(100_000)
    np.save(tmp_path / "a.npy", array)
    connector.set_resource("a.npy", (tmp_path / "a.npy").read_bytes())
    with connector.get_resource("a.npy") as opened:
        assert opened.local_path == os.path.join(connector.root_path, "a.npy")
        opened.read(10)
        pid = os.fork()
        if pid == 0:
            opened.seek(0)
            os._exit(0 if (np.load(opened) == array).all() else 1)
        opened.seek(0)
        assert (np.load(opened) == array).all()
        assert os.waitpid(pid, 0)[1] == 0


def test_a_file_without_permission_is_denied_not_missing(connector):
    connector.set_resource("a", b"1")
    os.chmod(os.path.join(connector.root_path, "a"), 0)
    pid = os.fork()
    if pid == 0:
        if os.geteuid() == 0:
            os.seteuid(65534)  # root may read everything
        try:
            connector.has_resource("a")
        except StoragePermissionError:
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0


def test_an_identical_copy_of_the_folder_serves(connector, tmp_path):
    connector.set_resource("a/b", b"1")
    shutil.copytree(connector.root_path, tmp_path / "copy")
    assert read_all(FileStorageConnector(tmp_path / "copy"), "a/b") == b"1"
