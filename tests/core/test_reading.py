"""Which requests are made: plans of ranges, the cache and the read-ahead of the remote reader."""

import gc
import io
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datastack_fs.reading import (
    BLOCK_BYTES,
    CACHE_BYTES,
    RangePlan,
    RemoteReader,
    collection_paused,
)
from datastack_fs.resource import ResourceInfo
from datastack_fs.testing.content import noise

CONTENT = noise(2000)
ranges = st.lists(
    st.tuples(st.integers(0, 2000), st.integers(0, 2000)).map(lambda pair: (min(pair), max(pair))), max_size=20
)


@given(wanted=ranges, gap=st.integers(0, 200), part=st.integers(1, 500))
@settings(max_examples=500, deadline=None)
def test_a_plan_serves_what_was_asked_for(wanted, gap, part):
    plan = RangePlan(wanted, gap=gap, part=part)
    assert plan.cut([CONTENT[start:stop] for start, stop in plan.requests]) == [CONTENT[a:b] for a, b in wanted]
    assert all(0 < stop - start <= part for start, stop in plan.requests)
    assert all(first[1] <= second[0] for first, second in zip(plan.requests, plan.requests[1:], strict=False))


def test_a_plan_joins_neighbours_and_asks_nothing_twice():
    assert RangePlan([(0, 10), (12, 20), (0, 10)], gap=2, part=100).requests == [(0, 20)]
    assert RangePlan([(0, 10), (13, 20)], gap=2, part=100).requests == [(0, 10), (13, 20)]
    assert RangePlan([(0, 250)], gap=0, part=100).requests == [(0, 100), (100, 200), (200, 250)]


@pytest.mark.parametrize(
    ("row", "wanted", "of", "requests", "times"),
    [
        (256, 256, 40_960, 256, 1.25),  # 10 MB: some lie close by chance
        (1024, 256, 10_240, 240, 1.25),
        (4096, 256, 2_560, 220, 1.25),
        (256, 256, 4_194_304, 256, 1.0),  # 1 GB
        (256, 1024, 4_096, 20, 4.0),  # a quarter of all: a request for each would take many times as long
        (4096, 512, 2_048, 300, 1.25),
    ],
)
def test_little_is_fetched_along_unless_it_saves_many_requests(row, wanted, of, requests, times):
    rows = np.random.default_rng(1).choice(of, wanted, replace=False).tolist()
    plan = RangePlan([(at * row, at * row + row) for at in rows], gap=64 << 10, part=2 << 20)
    assert len(plan.requests) <= requests
    assert sum(stop - start for start, stop in plan.requests) <= times * wanted * row


class Source:
    """Many ranges of made-up content, and a note of what was asked for."""

    def __init__(self, size):
        self.info = ResourceInfo("a", size, "1")
        self.calls = []

    def get_ranges(self, identifier, ranges, *, info=None, copy=True):
        assert info is self.info
        self.calls.append(list(ranges))
        return [self.content(start, stop) for start, stop in ranges]

    @staticmethod
    def content(start, stop):
        return bytes((at * 7 + at // 251) % 256 for at in (start, stop - 1)) + bytes(stop - start - 2)

    @property
    def fetched(self):
        return sum(stop - start for call in self.calls for start, stop in call)


@pytest.fixture
def source():
    return Source(100 << 20)


def test_a_random_read_fetches_its_blocks_only(source):
    file = io.BufferedReader(RemoteReader(source, source.info))
    file.seek(10 * BLOCK_BYTES + 5)
    file.read(100)
    assert source.calls == [[(10 * BLOCK_BYTES, 11 * BLOCK_BYTES)]]
    file.seek(10 * BLOCK_BYTES + 40_000)
    file.read(1000)
    assert len(source.calls) == 1, "the block was kept"


def test_a_seek_stops_the_read_ahead(source):
    reader = RemoteReader(source, source.info)
    for _ in range(20):
        reader.readinto(bytearray(1 << 20))
    for part in list(reader._ahead._parts):
        part.content.result()
    reader.seek(80 << 20)
    before = source.fetched
    reader.readinto(bytearray(10))
    assert source.fetched - before == BLOCK_BYTES


def test_the_cache_is_bounded(source):
    reader = RemoteReader(source, source.info)
    while reader.readinto(bytearray(4 << 20)):
        assert len(reader._blocks) <= CACHE_BYTES // BLOCK_BYTES
    reader.prefetch([(0, 100 << 20)])
    assert len(reader._blocks) <= CACHE_BYTES // BLOCK_BYTES


def test_prefetch_makes_one_call_and_later_reads_none(source):
    reader = RemoteReader(source, source.info)
    wanted = [(at, at + 10) for at in range(0, 90 << 20, 1 << 20)]
    reader.prefetch(wanted)
    assert len(source.calls) == 1
    assert len(source.calls[0]) == 90
    for start, stop in wanted:
        reader.seek(start)
        assert reader.readinto(bytearray(stop - start)) == 10
    assert len(source.calls) == 1


def test_collection_is_paused_and_comes_back():
    import h5py  # noqa: F401 (nothing is paused without it)

    assert gc.isenabled()
    with collection_paused():
        assert not gc.isenabled()
        with collection_paused():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
    gc.disable()
    try:
        with collection_paused():
            pass
        assert not gc.isenabled(), "who had it off keeps it off"
    finally:
        gc.enable()


def test_collection_is_on_again_in_a_forked_child():
    import h5py  # noqa: F401

    with collection_paused():
        pid = os.fork()
        if pid == 0:
            on_again = gc.isenabled()
            with collection_paused():
                os._exit(0 if on_again and not gc.isenabled() else 1)
        assert os.waitpid(pid, 0)[1] == 0


def test_reads_that_overlap_for_long_collect_what_they_made(monkeypatch):
    import h5py  # noqa: F401

    monkeypatch.setattr("datastack_fs.reading.LONGEST_PAUSE", 0)
    collected = []
    gc.callbacks.append(lambda phase, info: collected.append(phase))
    try:
        with collection_paused(), collection_paused():
            assert "stop" in collected
            assert not gc.isenabled()
    finally:
        gc.callbacks.pop()
