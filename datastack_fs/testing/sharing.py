"""The part of the connector contract about other processes: pickled, spawned, forked, whatever threads are doing."""

from __future__ import annotations

import pickle
import threading
from typing import Any

import pytest

from datastack_fs.storage import StorageConnector
from datastack_fs.testing.content import difference, digest, noise, read_all
from datastack_fs.testing.processes import in_child, read_inherited, read_pickled


class OtherProcessTests:
    """What a connector and its open resources promise in a process that did not make them (clauses 15 and 16)."""

    def test_pickles_connector_and_open_resource(self, fill: Any) -> None:
        connector: StorageConnector = fill({"a": b"0123456789"})
        assert read_all(pickle.loads(pickle.dumps(connector)), "a") == b"0123456789"
        with connector.get_resource("a") as resource:
            resource.seek(3)
            with pickle.loads(pickle.dumps(resource)) as copy:
                assert copy.tell() == 3
                assert copy.read(2) == b"34"
                assert copy.info == resource.info
            assert resource.read(1) == b"3"

    @pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
    def test_works_in_child_processes(self, fill: Any, method: str) -> None:
        content = noise(300_000)
        connector: StorageConnector = fill({"a": content})
        with connector.get_resource("a") as resource:
            assert not difference(resource.read(100_000), content[:100_000])
            rest = in_child(method, read_pickled, pickle.dumps((connector, resource)))
            assert not difference(rest, content[100_000:])

    def test_works_after_a_plain_fork(self, fill: Any) -> None:
        content = noise(300_000)
        connector: StorageConnector = fill({"a": content})
        stop = threading.Event()

        def busy() -> None:
            while not stop.is_set():
                connector.get_ranges("a", [(0, 1000), (200_000, 201_000)])

        threads = [threading.Thread(target=busy) for _ in range(4)]
        with connector.get_resource("a") as resource:
            resource.read(100_000)
            for thread in threads:
                thread.start()
            try:
                for _ in range(3):
                    assert read_inherited(connector, resource) == digest(content[100_000:] + content)
            finally:
                stop.set()
                for thread in threads:
                    thread.join()
            assert not difference(resource.read(10), content[100_000:100_010])
