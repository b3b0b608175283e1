"""gunzip as a stream: all that is in the file, or an error that names it."""

import gzip
import io
import random
import tracemalloc

import pytest

from datastack_fs.connectors import MemoryStorageConnector
from datastack_fs.errors import DatasetFileCorruptError
from datastack_fs.preprocessing import gunzip

PLAIN = bytes(random.Random(1).choices(b"acgt", k=300_000)) + bytes(3_000_000)


@pytest.fixture
def unpack(request):
    connector = MemoryStorageConnector(request.node.nodeid)

    def unpack(data):
        connector.set_resource("birds/train.gz", data)
        with connector.get_resource("birds/train.gz") as resource:
            return b"".join(gunzip(resource))

    return unpack


@pytest.mark.parametrize("plain", [b"", b"x", PLAIN], ids=len)
def test_whole_files(unpack, plain):
    assert unpack(gzip.compress(plain)) == plain


def test_several_members_and_padding(unpack):
    assert unpack(gzip.compress(b"a") + gzip.compress(b"b") + bytes(512)) == b"ab"


def test_blocks_are_bounded_whatever_the_ratio():
    bomb = gzip.compress(bytes(200 << 20))
    tracemalloc.start()
    try:
        size = 0
        for block in gunzip(io.BytesIO(bomb)):
            assert len(block) <= 1 << 20
            size += len(block)
        assert size == 200 << 20
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_a_part_of_a_file_is_refused_by_name(unpack):
    data = gzip.compress(PLAIN)
    for size in [*range(40), len(data) // 2, *range(len(data) - 9, len(data))]:
        with pytest.raises(DatasetFileCorruptError, match=r"birds/train\.gz is not a whole gzip file"):
            unpack(data[:size])


def test_damage_is_refused_by_name(unpack):
    data = gzip.compress(PLAIN, mtime=0)
    assert data[3] == 0, "no name, no comment: every byte counts, but for those that say time and system"
    refused = 0
    for place in [0, 1, 2, *range(10, len(data), len(data) // 60)]:
        damaged = bytearray(data)
        damaged[place] ^= 0x10
        try:  # within a long run of zeros, some copies can come from elsewhere and be the same
            assert unpack(bytes(damaged)) == PLAIN
        except DatasetFileCorruptError as error:
            assert "birds/train.gz" in str(error)  # noqa: PT017
            refused += 1
    assert refused > 50


def test_something_else_after_the_end_is_refused(unpack):
    with pytest.raises(DatasetFileCorruptError, match=r"birds/train\.gz"):
        unpack(gzip.compress(b"a") + b"garbage")
