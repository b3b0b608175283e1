"""What an open file asks the server for, and when: seen by the driver's own log of commands, and at a proxy."""

import os
import random
import threading
from itertools import chain

import pytest

from datastack_fs.connectors.gridfs_ import GridFSStorageConnector
from datastack_fs.errors import ResourceChangedError
from harness.proxy import FaultProxy

MIB = 1 << 20
CHUNK = 255 << 10
DATA = random.Random(11).randbytes(24 * MIB + 5)


def chunk_numbers(commands):
    """The chunks that each query asked for."""
    filters = [command["filter"]["n"] for command in commands.of("find", "fs.chunks")]
    return [list(range(n["$gte"], n["$lt"])) if "$gte" in n else n["$in"] for n in filters]


def helpers():
    return [thread for thread in threading.enumerate() if thread.name == "datastack-gridfs"]


@pytest.mark.parametrize("size", [8192, 100_001, MIB, 3 * MIB])
def test_front_to_back_every_chunk_is_fetched_once(counted, size):
    fs, commands = counted
    fs.pipe_file("x", DATA)
    commands.sent.clear()
    with fs.open("x") as file:
        assert b"".join(iter(lambda: file.read(size), b"")) == DATA
    asked = chunk_numbers(commands)
    assert sorted(chain(*asked)) == list(range(-(-len(DATA) // CHUNK)))
    assert len(asked) <= 12
    assert not commands.of("getMore", "fs.chunks")


def test_it_starts_after_two_adjacent_reads_and_stops_on_a_seek(counted):
    fs, commands = counted
    fs.pipe_file("x", DATA)
    file = fs.open("x")
    commands.sent.clear()
    file.seek(CHUNK + 1)
    file.read(10)
    file.seek(40 * CHUNK)
    file.read(CHUNK)
    assert chunk_numbers(commands) == [[1], [40]]
    file.read(CHUNK)
    file.raw._ahead.close()  # the queries under way end
    assert sorted(chain(*chunk_numbers(commands)))[:4] == [1, 40, 41, 42]
    commands.sent.clear()
    for number in [90, 3, 70]:
        file.seek(number * CHUNK + 17)
        assert file.read(100) == DATA[number * CHUNK + 17 : number * CHUNK + 117]
    assert chunk_numbers(commands) == [[90], [3], [70]]
    file.close()


def test_prefetched_chunks_are_not_asked_for_again(counted):
    fs, commands = counted
    fs.pipe_file("x", DATA)
    file = fs.open("x")
    commands.sent.clear()
    file.raw.prefetch([(number * CHUNK, number * CHUNK + 9) for number in range(90, 0, -3)])
    assert [len(numbers) for numbers in chunk_numbers(commands)] == [16, 14]
    for number in range(3, 91, 3):
        file.seek(number * CHUNK)
        assert file.read(9) == DATA[number * CHUNK : number * CHUNK + 9]
    assert len(chunk_numbers(commands)) == 2
    file.close()


def test_no_thread_is_left_after_close_and_none_is_waited_for_in_a_child(url):
    before = len(helpers())
    with GridFSStorageConnector(url) as connector:
        connector.set_resource("x", DATA)
        with connector.get_resource("x") as resource:
            for _ in range(3):
                resource.read(MIB)
            assert len(helpers()) > before
            child = os.fork()
            if child == 0:
                os._exit(0 if resource.read() == DATA[3 * MIB :] else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            assert resource.read(MIB) == DATA[3 * MIB : 4 * MIB]
    assert len(helpers()) == before


def test_connections_that_break_in_the_middle_cost_a_window_each(mongod, url):
    with FaultProxy.before(mongod.url) as proxy:
        through = url.replace(f":{mongod.port}", f":{proxy.port}")
        with GridFSStorageConnector(through) as connector:
            connector.set_resource("x", DATA)
            before = proxy.bytes_down
            proxy.arm("rst", at=MIB, times=2)
            with connector.get_resource("x") as resource:
                assert b"".join(resource.chunks()) == DATA
            assert proxy.fired["rst"]
            assert proxy.bytes_down - before < len(DATA) + 2 * 5 * MIB


def test_a_revision_that_goes_while_it_is_read_ahead_is_changed(url):
    with GridFSStorageConnector(url) as connector:
        connector.set_resource("x", DATA)
        resource = connector.get_resource("x")
        for number in range(3):
            assert resource.read(MIB) == DATA[number * MIB : (number + 1) * MIB]
        connector.set_resource("x", bytes(len(DATA)))
        blocks = []
        with pytest.raises(ResourceChangedError):  # what was under way may still be served
            blocks.extend(resource.chunks())
        assert b"".join(blocks) == DATA[3 * MIB : 3 * MIB + len(b"".join(blocks))]
        resource.close()
