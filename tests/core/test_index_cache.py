"""The cache of indexes: it saves time, and whatever is wrong with it costs only that."""

import logging
import os
import resource
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from datastack_fs.errors import ResourceChangedError
from datastack_fs.index_cache import IndexCache, IndexKey, cache_folder
from datastack_fs.resource import ResourceInfo
from datastack_fs.testing.processes import in_child

INFO = ResourceInfo("birds.csv", 1000, "etag-1")
KEY = IndexKey("s3://lab", INFO, "rows-1", {"delimiter": ","})


@pytest.fixture
def cache(tmp_path):
    return IndexCache(tmp_path / "cache")


def files(cache):
    return sorted(cache.folder.iterdir())


def test_what_was_stored_is_found(cache):
    assert cache.load(KEY) is None
    assert bytes(cache.store(KEY, [b"abc", memoryview(b"def")])) == b"abcdef"
    assert bytes(IndexCache(cache.folder).load(KEY)) == b"abcdef"
    assert bytes(cache.store(KEY, [])) == b""
    assert bytes(cache.load(KEY)) == b""


@pytest.mark.parametrize(
    "other",
    [
        replace(KEY, store="s3://other"),
        replace(KEY, kind="rows-2"),
        replace(KEY, parameters={"delimiter": ";"}),
        replace(KEY, info=replace(INFO, version="etag-2")),
        replace(KEY, info=replace(INFO, identifier="owls.csv")),
        replace(KEY, info=replace(INFO, size=1001)),
        replace(KEY, info=replace(INFO, checksum="sha256:1")),
    ],
    ids=["store", "kind", "parameters", "version", "identifier", "size", "checksum"],
)
def test_another_version_or_kind_has_an_index_of_its_own(cache, other):
    cache.store(KEY, [b"abc"])
    assert cache.load(other) is None


def test_a_damaged_file_is_passed_over_and_replaced(cache, caplog):
    cache.store(KEY, [b"abcdef"])
    (path,) = files(cache)
    whole = path.read_bytes()
    for broken in (whole[:-1], whole[1:], b"", whole[:3] + b"X" + whole[4:], whole + b"\0", b"x" * 5):
        path.write_bytes(broken)
        with caplog.at_level(logging.WARNING):
            assert cache.load(KEY) is None
        assert "damaged" in caplog.text
        assert bytes(cache.store(KEY, [b"abcdef"])) == b"abcdef"
        assert bytes(cache.load(KEY)) == b"abcdef"


def test_a_folder_that_can_not_be_written_to_means_one_log_line(tmp_path, caplog):
    (tmp_path / "file").write_bytes(b"")
    cache = IndexCache(tmp_path / "file" / "cache")
    assert cache.store(KEY, [b"abc"]) is None
    assert cache.load(KEY) is None
    assert [record.levelname for record in caplog.records if "written" in record.message] == ["WARNING"]


def store_on_a_full_disk(folder):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    kept = IndexCache(folder).store(KEY, [b"x" * 700] * 1000)
    return kept, os.listdir(folder)


def test_a_full_disk_leaves_nothing(tmp_path):
    assert in_child("fork", store_on_a_full_disk, tmp_path) == (None, [])


def test_what_the_parts_raise_is_passed_on_and_nothing_is_kept(cache):
    def parts():
        yield b"abc"
        raise ResourceChangedError("birds.csv was replaced")  # an OSError, and not the cache's

    with pytest.raises(ResourceChangedError):
        cache.store(KEY, parts())
    assert files(cache) == []


def keep(folder, content):
    IndexCache(folder).store(KEY, [content] * 1000)
    return bytes(IndexCache(folder).load(KEY)[:1])


def test_two_processes_at_once_keep_one_whole_index(cache):
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda letter: in_child("fork", keep, cache.folder, letter * 997), [b"a", b"b"] * 4))
    assert set(found) <= {b"a", b"b"}
    content = bytes(cache.load(KEY))
    assert content in (b"a" * 997_000, b"b" * 997_000)
    assert len(files(cache)) == 1


def test_the_oldest_go_first_when_it_is_full(tmp_path):
    cache = IndexCache(tmp_path, max_bytes=10_000)
    keys = [replace(KEY, kind=str(number)) for number in range(6)]
    for age, key in enumerate(keys[:5]):
        cache.store(key, [b"x" * 1900])
        os.utime(cache._path(key), (1000 + age, 1000 + age))
    assert cache.load(keys[0]) is not None  # and so it is no longer the oldest
    cache.store(keys[5], [b"x" * 1900])
    assert [cache.load(key) is not None for key in keys] == [True, False, True, True, True, True]


def test_what_is_larger_than_the_cache_is_given_and_not_kept(tmp_path):
    cache = IndexCache(tmp_path, max_bytes=100)
    assert bytes(cache.store(KEY, [b"x" * 200])) == b"x" * 200
    assert files(cache) == []


def test_left_overs_of_killed_processes_go_and_fresh_ones_stay(cache):
    cache.store(KEY, [b"abc"])
    old, fresh = cache.folder / "old.part", cache.folder / "fresh.part"
    for path in (old, fresh):
        path.write_bytes(b"ab")
    os.utime(old, (1000, 1000))
    cache.store(replace(KEY, kind="other"), [b"abc"])
    assert not old.exists()
    assert fresh.exists()


def test_a_store_in_memory_has_no_lasting_versions(cache):
    key = replace(KEY, store="zip::memory://lab/birds.zip")
    assert cache.store(key, [b"abc"]) is None
    assert cache.load(key) is None
    assert cache.store(replace(key, info=replace(INFO, checksum="sha256:1")), [b"abc"]) is not None


def test_the_folder_is_named_by_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("DATASTACK_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    monkeypatch.delenv("DATASTACK_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "datastack-fs"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "datastack-fs"
