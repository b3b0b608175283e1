"""One process fetches a block that several want; one that dies or hangs holds nobody up."""

import multiprocessing
import os
import signal
import threading

import pytest

from datastack_fs.cache import block_cache, claims
from datastack_fs.cache.block_cache import BlockCache
from datastack_fs.cache.settings import CacheSettings
from datastack_fs.resource import ResourceInfo

INFO = ResourceInfo("a", 4, "1")
RANGES = [(INFO, [(0, 4)])]


def cache_in(folder):
    return BlockCache(CacheSettings(str(folder), 1 << 20, 0))


def read(cache, fetch):
    ((content,),) = cache.read("s3://lab", RANGES, lambda info: 1024, fetch)
    return bytes(content)


def fetched(wanted):
    return [[b"abcd"] for _ in wanted]


def never(wanted):
    raise AssertionError("it is there")


def hang(folder, began):
    def fetch(wanted):
        began.set()
        signal.pause()

    read(cache_in(folder), fetch)


@pytest.fixture
def holder(tmp_path):
    """A process that has claimed a block, and never has it."""
    context = multiprocessing.get_context("fork")
    began = context.Event()
    process = context.Process(target=hang, args=(tmp_path, began))
    process.start()
    assert began.wait(30)
    yield process
    process.kill()
    process.join()


def test_a_killed_holder_holds_nobody_up(tmp_path, holder, monkeypatch):
    monkeypatch.setattr(block_cache.time, "sleep", never)
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    assert read(cache_in(tmp_path), fetched) == b"abcd"
    assert read(cache_in(tmp_path), never) == b"abcd"


def test_one_that_hangs_is_waited_for_a_bounded_time(tmp_path, holder, monkeypatch):
    for module in (block_cache, claims):
        monkeypatch.setattr(module, "LONGEST_WAIT", 0.05)
    assert read(cache_in(tmp_path), fetched) == b"abcd"


def test_threads_that_want_the_same_block_fetch_it_once(tmp_path):
    cache = cache_in(tmp_path)
    began, goes_on = threading.Event(), threading.Event()

    def slowly(wanted):
        began.set()
        assert goes_on.wait(30)
        return fetched(wanted)

    first = threading.Thread(target=read, args=(cache, slowly))
    first.start()
    assert began.wait(30)
    answers = []
    second = threading.Thread(target=lambda: answers.append(read(cache, never)))
    second.start()
    goes_on.set()
    first.join()
    second.join()
    assert answers == [b"abcd"]
