"""What is read from front to back is fetched in several windows at once, and right whatever happens."""

import io
import os
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datastack_fs.errors import ResourceChangedError
from datastack_fs.reading import RemoteReader
from datastack_fs.resource import ResourceInfo
from datastack_fs.testing.content import noise

MIB = 1 << 20
CONTENT = noise(40 * MIB)


class Source:
    """Content in memory; ``met`` is called with each range that is fetched."""

    def __init__(self, met=lambda start, stop: None):
        self.info = ResourceInfo("a", len(CONTENT), "1")
        self.met = met
        self.fetched = 0

    def get_ranges(self, identifier, ranges, *, info, copy):
        for start, stop in ranges:
            self.met(start, stop)
            self.fetched += stop - start
        return [CONTENT[start:stop] for start, stop in ranges]


def opened(source):
    return io.BufferedReader(RemoteReader(source, source.info))


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("datastack-read-ahead")]


def left():
    for thread in threads():
        thread.join(10)
    return threads()


@pytest.mark.parametrize("size", [1000, 8192, 100_000, MIB, 3 * MIB + 17, 50 * MIB])
def test_a_stream_is_the_content_and_is_fetched_once(size):
    source = Source()
    with opened(source) as file:
        digest = b"".join(iter(lambda: file.read(size), b""))
    assert digest == CONTENT
    assert source.fetched <= len(CONTENT) + MIB
    assert left() == []


moves = st.lists(st.tuples(st.none() | st.integers(0, len(CONTENT)), st.integers(0, 5 * MIB)), max_size=12)


@settings(max_examples=30, deadline=None)
@given(moves)
def test_reads_and_seeks_in_any_order_are_right(moves):
    source = Source()
    with opened(source) as file, io.BytesIO(CONTENT) as expected:
        for place, size in moves:
            if place is not None:
                assert file.seek(place) == expected.seek(place)
            assert file.read(size) == expected.read(size)


def test_several_windows_are_in_flight():
    together = threading.Barrier(2)

    def met(start, stop):
        if start >= 8 * MIB and threading.current_thread() in threads():
            together.wait(timeout=10)  # passes only with another one that waits as well

    with opened(Source(met)) as file:
        while len(file.read(MIB)) and file.tell() < 24 * MIB:
            pass
        together.abort()


def test_what_a_window_meets_is_raised_when_its_turn_comes():
    def met(start, stop):
        if stop > 20 * MIB:
            raise ResourceChangedError("it was replaced")

    with opened(Source(met)) as file:
        read = []
        with pytest.raises(ResourceChangedError):
            read.extend(iter(lambda: file.read(MIB), b""))
    assert CONTENT.startswith(b"".join(read))
    assert len(read) >= 15
    assert left() == []


def test_few_reads_or_small_ones_fetch_little():
    source = Source()
    with opened(source) as file:
        for _ in range(8):
            file.read(512)
        file.seek(30 * MIB)
        file.read(MIB)
    assert source.fetched <= 2 * MIB
    assert threads() == []


def test_a_forked_child_reads_on():
    with opened(Source()) as file:
        for _ in range(4):
            file.read(MIB)
        place = file.tell()
        child = os.fork()
        if child == 0:
            os._exit(0 if file.read(10 * MIB) == CONTENT[place : place + 10 * MIB] else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert file.read(10 * MIB) == CONTENT[place : place + 10 * MIB]
