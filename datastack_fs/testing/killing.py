"""The part of the connector contract that kills writers: the old resource or the new one stays, and no litter."""

from __future__ import annotations

import pickle
import random
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, ClassVar

from datastack_fs.errors import ResourceChangedError
from datastack_fs.storage import StorageConnector
from datastack_fs.testing.content import MIB, digest, read_all, stamped, stamped_blocks, versions_in
from datastack_fs.testing.processes import context_of


class KilledWriterTests:
    """What a connector promises of writers that end by SIGKILL.

    Attributes:
        large: a size at which this store writes in several parts.
        kills: how many writing processes are killed.
    """

    large: ClassVar[int] = 3 * MIB
    kills: ClassVar[int] = 20

    def test_a_killed_writer_leaves_old_or_new(self, connector: StorageConnector) -> None:
        """SIGKILL at random moments of a process that overwrites one resource and creates another."""
        sizes = {1: self.large, 2: self.large + 12_345}
        connector.set_resource("kept", stamped(1, sizes[1]))
        effective = 0
        clock = random.Random(7)
        with _Writer(connector, sizes) as writer:
            for _ in range(self.kills):
                effective += writer.start_and_kill(clock)
                content = _read_settled(connector, "kept")
                (version,) = versions_in(content)
                assert len(content) == sizes[version]
                for name in list(connector.list_resources("new/")):
                    fresh = _read_settled(connector, name)
                    assert versions_in(fresh) == {2}
                    assert len(fresh) == sizes[2]
        assert effective >= self.kills // 2, f"only {effective} of {self.kills} kills hit a writer at work"
        live = {name: digest(_read_settled(connector, name)) for name in connector.list_resources()}
        connector.sweep(0)
        assert connector.sweep(0) == 0, "sweep did not remove all it found"
        assert self.left_overs(connector) == 0
        assert {name: digest(read_all(connector, name)) for name in connector.list_resources()} == live

    def left_overs(self, connector: StorageConnector) -> int:
        """Counts in the store itself what killed writers left, where a test can look behind the connector."""
        return 0

    def test_sweep_spares_the_young(self, connector: StorageConnector) -> None:
        with _Writer(connector, {1: self.large, 2: self.large}) as writer:
            clock = random.Random(3)
            for _ in range(5):
                writer.start_and_kill(clock)
        before = sorted(connector.list_resources())
        assert connector.sweep(3600) == 0
        connector.sweep(0)
        assert sorted(connector.list_resources()) == before


def _read_settled(connector: StorageConnector, name: str) -> bytes:
    """The whole resource, once a server no longer works at what a killed writer had asked of it."""
    for _ in range(10):
        with suppress(ResourceChangedError):
            return read_all(connector, name)
    raise AssertionError(f"{name} changes again and again, and nobody writes it")


class _Writer:
    """Processes that write for ever, to be killed: forked from a clean server that has the library loaded already."""

    def __init__(self, connector: StorageConnector, sizes: dict[int, int]) -> None:
        self._arguments = pickle.dumps(connector), sizes
        self._context = context_of("forkserver")
        self._next: tuple[Any, Any] | None = None
        self._turn = 0
        self._round = 0.0

    def __enter__(self) -> _Writer:
        self._next = self._spawn()
        return self

    def __exit__(self, *_: object) -> None:
        if self._next is not None:
            child, pipe = self._next
            child.kill()
            child.join()
            pipe.close()

    def start_and_kill(self, clock: random.Random) -> bool:
        """Lets a writer begin, kills it at a random moment of a round; whether it was at work then."""
        assert self._next is not None
        child, pipe = self._next
        self._next = self._spawn()  # starts up while this one works
        assert pipe.poll(60), "the writer did not start"
        pipe.recv()
        pipe.send(self._turn)
        if self._turn == 0:
            self._round = pipe.recv() if pipe.poll(60) else 0.5
        self._turn += 1
        time.sleep(clock.random() * min(self._round, 1.0))
        child.kill()
        child.join()
        alive = bool(child.exitcode == -9)
        pipe.close()
        return alive

    def _spawn(self) -> tuple[Any, Any]:
        ours, theirs = self._context.Pipe()
        child = self._context.Process(target=_write_for_ever, args=(theirs, *self._arguments), daemon=True)
        child.start()
        theirs.close()
        return child, ours


def _write_for_ever(pipe: Connection, pickled: bytes, sizes: dict[int, int]) -> None:
    connector: StorageConnector = pickle.loads(pickled)
    connector.has_resource("kept")  # the client is made and connected
    pipe.send("ready")
    number = first = pipe.recv()  # the next writer begins with the other version
    while True:
        start = time.monotonic()
        version = 1 + number % 2
        connector.set_resource("kept", stamped_blocks(version, sizes[version], 100_000))
        connector.set_resource(f"new/{number % 3}", stamped_blocks(2, sizes[2], 100_000))
        if number == first:
            pipe.send(time.monotonic() - start)
        number += 1
