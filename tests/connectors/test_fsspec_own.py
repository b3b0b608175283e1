"""What is fsspec's own: its many filesystems, their URLs, versions, listings, and its I/O thread."""

import asyncio
import os
import pickle
import signal
import sys
import threading
import time

import fsspec
import fsspec.asyn
import pytest
from fsspec.implementations.arrow import ArrowFSWrapper
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import known_implementations
from pyarrow.fs import LocalFileSystem as ArrowLocalFileSystem

from datastack_fs.connectors.fsspec_ import FsspecStorageConnector
from datastack_fs.connectors.fsspec_loop import gather_ranges, run_on_loop
from datastack_fs.credentials import EnvironmentText
from datastack_fs.errors import (
    ConfigError,
    MissingDependencyError,
    ResourceChangedError,
    ResourceConflictError,
    ResourceExistsError,
    ResourceNotFoundError,
    StoragePermissionError,
    StorageUnavailableError,
    UnknownPluginError,
    UnsupportedStorageError,
)
from datastack_fs.testing.content import failing, noise, read_all, stamped
from datastack_fs.testing.processes import in_child
from harness.children import read_of
from harness.stores import unique

MIB = 1 << 20
BUCKET = "datastack-fsspec"


@pytest.fixture
def memory():
    root = f"/{unique('own')}"
    yield FsspecStorageConnector(fsspec.filesystem("memory"), root)
    for path in [path for path in MemoryFileSystem.store if path.startswith(root)]:
        del MemoryFileSystem.store[path]


@pytest.fixture
def local(tmp_path):
    return FsspecStorageConnector(LocalFileSystem(), str(tmp_path / "store"))


@pytest.fixture
def wrapped(tmp_path):
    """A filesystem of which nothing is known: the general ways must do."""
    return FsspecStorageConnector(ArrowFSWrapper(ArrowLocalFileSystem()), str(tmp_path / "wrapped"))


@pytest.fixture
def remote(seaweed):
    """An asynchronous filesystem."""
    seaweed.make_bucket(BUCKET)
    return FsspecStorageConnector(f"s3://{BUCKET}", unique("own"), **seaweed.options())


# URLs.


def test_opens_a_url(tmp_path):
    (tmp_path / "birds").mkdir()
    (tmp_path / "birds" / "owl.txt").write_bytes(b"hoo")
    connector = FsspecStorageConnector.from_url(f"local://{tmp_path}", auto_mkdir=False)
    assert list(connector.list_resources()) == ["birds/owl.txt"]
    assert read_all(connector, "birds/owl.txt") == b"hoo"
    inner = FsspecStorageConnector(f"local://{tmp_path}", "birds")
    assert list(inner.list_resources()) == ["owl.txt"]
    assert inner.url == f"local://{tmp_path}/birds"


def test_opens_a_chained_url(tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "birds.zip", "w") as archive:
        archive.writestr("birds/owl.txt", b"hoo")
    connector = FsspecStorageConnector(f"zip::file://{tmp_path}/birds.zip")
    assert list(connector.list_resources()) == ["birds/owl.txt"]
    assert read_all(connector, "birds/owl.txt") == b"hoo"


def test_says_which_schemes_there_are():
    with pytest.raises(UnknownPluginError, match="nonsense") as caught:
        FsspecStorageConnector("nonsense://host/folder")
    assert "sftp" in str(caught.value)


def test_says_what_to_install(monkeypatch):
    monkeypatch.setitem(known_implementations, "far", {"class": "far.Away", "err": "pip install far"})
    with pytest.raises(MissingDependencyError, match="pip install far"):
        FsspecStorageConnector("far://host/folder")


def test_options_go_with_a_url():
    with pytest.raises(TypeError, match="host"):
        FsspecStorageConnector(fsspec.filesystem("memory"), "/x", host="h")


def test_secrets_stay_out_of_sight_and_out_of_pickles(monkeypatch):
    url = EnvironmentText("ftp://ann:${FTP_PASSWORD}@127.0.0.1:1/data")
    connector = FsspecStorageConnector.from_url(url, encoding=EnvironmentText("${FTP_ENCODING}"), deadline=0)
    with pytest.raises(ConfigError, match="FTP_PASSWORD"):
        connector.has_resource("a")
    monkeypatch.setenv("FTP_PASSWORD", "s3cret")
    monkeypatch.setenv("FTP_ENCODING", "utf-8")
    with pytest.raises(StorageUnavailableError) as caught:  # nobody listens there
        connector.has_resource("a")
    assert b"s3cret" not in pickle.dumps(connector)
    assert "s3cret" not in f"{connector!r} {caught.value} {caught.value.__cause__}"
    plain = FsspecStorageConnector("ftp://ann:s3cret@127.0.0.1:1/data")
    assert plain.url == "ftp://ann:***@127.0.0.1:1/data"


# Versions and reading.


def test_a_file_replaced_by_one_of_the_same_size_is_told(local, memory, wrapped):
    for connector in (local, memory, wrapped):
        info = connector.set_resource("a", stamped(1, 1000))
        connector.set_resource("a", stamped(2, 1000))
        with pytest.raises(ResourceChangedError):
            connector.get_ranges("a", [(0, 10)], info=info)
        connector.delete_resource("a")
        with pytest.raises(ResourceChangedError):
            connector.get_ranges("a", [(0, 10)], info=info)


class Swapping(LocalFileSystem):
    """Replaces a file while it is read."""

    cachable = False

    def cat_ranges(self, paths, starts, ends, **options):
        answers = super().cat_ranges(paths, starts, ends, **options)
        self.pipe_file(paths[0] + ".new", b"another one")
        os.replace(paths[0] + ".new", paths[0])
        return answers


def test_a_file_replaced_while_it_is_read_is_told(tmp_path):
    connector = FsspecStorageConnector(Swapping(), str(tmp_path))
    connector.set_resource("a", b"the old one")
    with pytest.raises(ResourceChangedError), connector.get_resource("a") as resource:
        resource.read()


class Sizeless(LocalFileSystem):
    cachable = False

    def info(self, path, **options):
        return {**super().info(path, **options), "size": None}


def test_a_file_of_unknown_size_is_refused(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    connector = FsspecStorageConnector(Sizeless(), str(tmp_path))
    with pytest.raises(UnsupportedStorageError, match="size"):
        connector.get_resource("a")


def test_the_time_is_told_however_the_filesystem_has_it(local, memory, remote):
    before = time.time() - 5
    for connector in (local, memory, remote):
        modified = connector.set_resource("a", b"1").modified
        assert before < modified.timestamp() < time.time() + 5
        assert modified.tzinfo is not None


def test_threads_share_the_memory_without_sharing_a_position(memory):
    content = noise(MIB)
    memory.set_resource("a", content)
    wrong = []

    def read():
        for start in range(0, MIB, 40_000):
            with memory.get_resource("a") as resource:
                resource.seek(start)
                if resource.read(1000) != content[start : start + 1000]:
                    wrong.append(start)

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# Listing.


class Forgetful(LocalFileSystem):
    """A folder of it can't be read just now."""

    cachable = False

    def ls(self, path, detail=False, **options):
        if path.endswith("/locked"):
            raise PermissionError("not now")
        return super().ls(path, detail=detail, **options)


def test_a_folder_that_cant_be_listed_is_an_error(tmp_path):
    for name in ("a/b", "locked/c"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"1")
    filesystem = Forgetful()
    assert filesystem.find(str(tmp_path)) == [f"{tmp_path}/a/b"], "fsspec itself goes on as if it were empty"
    with pytest.raises(StoragePermissionError):
        list(FsspecStorageConnector(filesystem, str(tmp_path)).list_resources())


def test_lists_in_order(local, memory, wrapped, remote):
    names = sorted(["a-b", "a b", "a.b", "a/b", "a/c/d", "a0", "b*/[c]", "#", "50%"])
    for connector in (local, memory, wrapped, remote):
        for name in names:
            connector.set_resource(name, name.encode())
        assert list(connector.list_resources()) == names
        assert list(connector.list_resources("a/")) == ["a/b", "a/c/d"]
        assert list(connector.list_resources("a/b/")) == []
        assert list(connector.list_resources("nowhere/")) == []
        assert [read_all(connector, name).decode() for name in names] == names


def test_sees_what_others_wrote_after_a_listing(seaweed, remote):
    filesystem = fsspec.filesystem("s3", **seaweed.options())
    root = remote.url.removeprefix("s3://")
    connector = FsspecStorageConnector(filesystem, root)
    remote.set_resource("a", b"1")
    assert filesystem.ls(root)
    assert list(connector.list_resources()) == ["a"]
    remote.set_resource("b", b"2")
    remote.set_resource("a", b"one")
    assert connector.has_resource("b")
    assert list(connector.list_resources()) == ["a", "b"]
    assert read_all(connector, "a") == b"one"


def test_version_aware_stores_keep_their_marks_as_text(seaweed, remote):
    options = {**seaweed.options(), "version_aware": True}
    connector = FsspecStorageConnector(f"s3://{BUCKET}", unique("aware"), **options)
    names = ["h", "h#123", "h?versionId=1", "h%23123"]
    for name in names:
        connector.set_resource(name, name.encode())
    assert list(connector.list_resources()) == sorted(names)
    assert [read_all(connector, name).decode() for name in names] == names


# Writing.


@pytest.mark.parametrize("error", [RuntimeError("bug"), KeyboardInterrupt()], ids=repr)
def test_a_write_that_fails_leaves_nothing(local, wrapped, memory, remote, error):
    for connector in (local, wrapped, memory, remote):
        connector.set_resource("a/b", b"old")
        with pytest.raises(type(error)):
            connector.set_resource("a/b", failing(noise(MIB), MIB // 2, error))
        assert read_all(connector, "a/b") == b"old"
        assert list(connector._places.get().names("")) == ["a/b"]


class Breaking(LocalFileSystem):
    """Fails in the middle of a copy, and leaves the half."""

    cachable = False
    error = RuntimeError("broken")

    def put_file(self, path1, path2, **options):
        super().put_file(path1, path2, **options)
        os.truncate(path2, 3)
        if self.error:
            raise self.error


@pytest.mark.parametrize("error", [OSError("broken"), KeyboardInterrupt(), None], ids=repr)
def test_half_a_copy_is_removed_and_never_published(tmp_path, error):
    filesystem = Breaking()
    filesystem.error = error
    (tmp_path / "a").write_bytes(b"old")
    connector = FsspecStorageConnector(filesystem, str(tmp_path))
    with pytest.raises(BaseException) as caught:  # noqa: PT011
        connector.set_resource("a", b"the new one")
    assert not isinstance(caught.value, AssertionError)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


def test_overwrite_false_is_atomic_or_refused(local, memory, wrapped, remote):
    for connector in (local, memory):
        connector.set_resource("a", b"1", overwrite=False)
        with pytest.raises(ResourceExistsError):
            connector.set_resource("a", b"2", overwrite=False)
        assert read_all(connector, "a") == b"1"
        assert list(connector._places.get().names("")) == ["a"]
    for connector in (wrapped, remote):
        with pytest.raises(UnsupportedStorageError, match="atomic"):
            connector.set_resource("a", b"1", overwrite=False)
        assert not connector.has_resource("a")


def test_a_resource_and_a_folder_of_one_name_conflict(local, memory):
    for connector in (local, memory):
        connector.set_resource("a", b"1")
        for overwrite in (True, False):
            with pytest.raises(ResourceConflictError):
                connector.set_resource("a/b", b"2", overwrite=overwrite)
        with pytest.raises(ResourceNotFoundError):
            connector.get_resource("a/b")
        assert read_all(connector, "a") == b"1"


def test_makes_and_removes_folders_below_the_root(tmp_path):
    connector = FsspecStorageConnector(DirFileSystem(path=str(tmp_path), fs=LocalFileSystem()), "data/store")
    connector.set_resource("a/b/c", b"1")
    connector.delete_resource("a/b/c")
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == ["data", "data/store"]


def test_a_delete_takes_nothing_else_along(local, memory, wrapped, remote):
    for connector in (local, memory, wrapped, remote):
        for name in ("a/b/c", "a/b/d", "a/e"):
            connector.set_resource(name, b"1")
        connector.delete_resource("a/b/c")
        assert list(connector.list_resources()) == ["a/b/d", "a/e"], "rmdir of some filesystems is recursive"


class Unmoved(ArrowFSWrapper):
    """Does not rename onto a file, and says so in one way or the other."""

    cachable = False
    error = None

    def mv(self, path1, path2, **options):
        if not self.exists(path2):
            super().mv(path1, path2)
        elif self.error:
            raise self.error


@pytest.mark.parametrize("error", [None, FileExistsError("there is one")], ids=repr)
def test_a_filesystem_that_does_not_replace_is_found_out(tmp_path, error):
    filesystem = Unmoved(ArrowLocalFileSystem())
    filesystem.error = error
    connector = FsspecStorageConnector(filesystem, str(tmp_path))
    connector.set_resource("a", b"old")
    with pytest.raises(UnsupportedStorageError, match="replace"):
        connector.set_resource("a", b"new")
    assert read_all(connector, "a") == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_makes_no_bucket(seaweed, remote):
    name = unique("nowhere")
    place = FsspecStorageConnector(f"s3://{name}", **seaweed.options())._places.get()
    with pytest.raises(FileNotFoundError):
        place.make_folders("a/b")
    top = FsspecStorageConnector("s3://", **seaweed.options())._places.get()
    top.make_folders(f"{name}/a")
    top.prune(f"{name}/a")
    assert name not in place.fs.ls("")


def test_sweeps_old_temporary_files(local, wrapped, memory, remote):
    for connector in (local, wrapped, memory, remote):
        connector.set_resource("a/kept", b"1")
        place = connector._places.get()
        now = int(time.time())
        left = [f"a/.datastack-tmp-{now - 5000:x}-00ff", f".datastack-tmp-{now - 100:x}-00ff", "a/.datastack-tmp-x"]
        for name in left:
            place.call("pipe_file", place.path(name), b"left over")
        assert list(connector.list_resources()) == ["a/kept"]
        assert connector.sweep(7200) == 0
        assert connector.sweep(3600) == 1
        assert connector.sweep(0) == 1
        assert list(connector.list_resources()) == ["a/kept"]


# Processes.


def test_an_asynchronous_filesystem_works_in_every_child(seaweed, remote):
    filesystem = fsspec.filesystem("s3", **seaweed.options(), skip_instance_cache=True)
    connector = FsspecStorageConnector(filesystem, remote.url.removeprefix("s3://"))
    content = noise(MIB)
    connector.set_resource("a", content)
    for each in (connector, remote):
        with each.get_resource("a") as resource:
            assert resource.read(10) == content[:10]
            for method in ("fork", "spawn", "forkserver"):
                assert in_child(method, read_of, pickle.dumps(each), "a") == content
            assert in_child("fork", read_and_drop, [each], content) is True
            assert resource.read() == content[10:]


def read_and_drop(connectors, content):
    right = read_all(connectors[0], "a") == content
    connectors.clear()
    return right


def test_a_fork_while_the_loops_lock_is_held_does_not_hang_the_child():
    with fsspec.asyn.get_lock():
        pid = os.fork()
        if pid == 0:
            signal.alarm(20)
            fsspec.asyn.get_loop()  # takes the lock
            os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0


# The I/O thread.


def test_gathers_what_can_be_read_and_stops_at_a_failure():
    begun = []

    async def read_one(start, stop):
        begun.append(start)
        if start == 30:
            raise OSError("bad sector")
        return b"x" * (stop - start)

    ranges = [(start, start + 1 + start // 10) for start in range(0, 100, 10)]
    answers = gather_ranges(fsspec.asyn.get_loop(), read_one, ranges, concurrency=1)
    assert answers[:3] == [b"x", b"xx", b"xxx"]
    assert all(isinstance(answer, OSError) for answer in answers[3:])
    assert begun == [0, 10, 20, 30], "nothing is begun after a failure"


def test_gathers_no_more_at_once_than_allowed():
    under_way = most = 0

    async def read_one(start, stop):
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        return b"x"

    loop = fsspec.asyn.get_loop()
    assert gather_ranges(loop, read_one, [(0, 1)] * 100, concurrency=7) == [b"x"] * 100
    assert most == 7
    assert gather_ranges(loop, read_one, []) == []


def test_gives_up_when_nothing_ends():
    ended = []

    async def read_one(start, stop):
        if start:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(start)
        return b"x"

    answers = gather_ranges(fsspec.asyn.get_loop(), read_one, [(0, 1), (1, 2), (2, 3)], timeout=0.1)
    assert answers[0] == b"x"
    assert all(isinstance(answer, TimeoutError) for answer in answers[1:])
    assert sorted(ended) == [1, 2], "what was under way has been ended"


def test_an_interrupted_wait_ends_the_coroutine():
    ended = threading.Event()

    async def wait_for_ever():
        main = threading.main_thread().ident
        while sys._current_frames()[main].f_code.co_name != "wait":
            await asyncio.sleep(0)
        signal.pthread_kill(main, signal.SIGINT)
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with pytest.raises(KeyboardInterrupt):
        run_on_loop(fsspec.asyn.get_loop(), wait_for_ever())
    assert ended.wait(10)


@pytest.mark.parametrize("is_begun", [True, False])
def test_an_interrupt_while_the_loop_is_told_leaves_no_task(is_begun):
    loop = fsspec.asyn.get_loop()
    coroutine = asyncio.Event().wait()

    class Interrupted:
        """The loop, but the first call to it is interrupted: after it was told, or before."""

        told = 0

        def call_soon_threadsafe(self, callback):
            self.told += 1
            if is_begun or self.told > 1:
                loop.call_soon_threadsafe(callback)
            if self.told == 1:
                raise KeyboardInterrupt

        def __getattr__(self, name):
            return getattr(loop, name)

    with pytest.raises(KeyboardInterrupt):
        run_on_loop(Interrupted(), coroutine)
    for _ in range(4):  # the cancelling takes a few turns of the loop
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result()
    assert coroutine.cr_frame is None, "it has been cancelled, or was never begun"
