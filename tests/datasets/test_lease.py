"""A lease: one holder at a time while it lives, taken over when it does not, and never in the way of the work."""

import threading

import pytest

from datastack_fs.connectors import MemoryStorageConnector
from datastack_fs.errors import (
    ReadOnlyStorageError,
    ResourceExistsError,
    StorageUnavailableError,
    UnsupportedStorageError,
)
from datastack_fs.lease import Lease

LOCK = "birds/prepare.lock"


@pytest.fixture
def memory(request):
    return MemoryStorageConnector(request.node.nodeid)


def test_it_is_there_only_while_it_is_held(store):
    with Lease(store, LOCK):
        assert store.has_resource(LOCK)
    assert not store.has_resource(LOCK)
    with pytest.raises(ZeroDivisionError), Lease(store, LOCK):
        _ = 1 / 0
    assert not store.has_resource(LOCK)


def test_one_holds_it_at_a_time(store):
    holders, most = [], []

    def hold():
        for _ in range(3):
            with Lease(store, LOCK, stale_after=30):
                holders.append(1)
                most.append(len(holders))
                holders.pop()

    threads = [threading.Thread(target=hold) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(most) == 9
    assert max(most) == 1


class Counting(MemoryStorageConnector):
    """Counts writes, and calls a function after each."""

    def __init__(self, name):
        super().__init__(name)
        self.writes = 0
        self.enough = threading.Event()

    def _publish(self, identifier, upload, overwrite):
        info = super()._publish(identifier, upload, overwrite)
        self.writes += 1
        if self.writes > 20:
            self.enough.set()
        return info


def test_a_holder_that_lives_keeps_it_however_long_it_takes(request):
    connector = Counting(request.node.nodeid)
    got = threading.Event()

    def wait():
        with Lease(connector, LOCK, stale_after=1):
            got.set()

    with Lease(connector, LOCK, stale_after=1):
        waiter = threading.Thread(target=wait)
        waiter.start()
        assert connector.enough.wait(60), "twenty signs of life: three times as long as it takes to count as dead"
        assert not got.is_set()
    assert got.wait(60)
    waiter.join()
    assert not connector.has_resource(LOCK)


@pytest.mark.parametrize("left", [b'{"owner": "killed", "beat": 1}', b"", b"no JSON", b"[]"], ids=repr)
def test_a_dead_holder_is_succeeded(store, left):
    store.set_resource(LOCK, left)
    with Lease(store, LOCK, stale_after=0.3):
        assert store.get_resource(LOCK).read() != left
    assert not store.has_resource(LOCK)


def test_a_holder_that_was_taken_for_dead_leaves_the_new_one_alone(memory):
    with Lease(memory, LOCK, stale_after=0.1):
        memory.set_resource(LOCK, b'{"owner": "another"}')
    assert memory.get_resource(LOCK).read() == b'{"owner": "another"}'


class LosingAnswers(MemoryStorageConnector):
    """Writes, and then can't tell whether it was its own doing."""

    def set_resource(self, identifier, source, *, checksum=None, overwrite=True):
        super().set_resource(identifier, source, checksum=checksum, overwrite=overwrite)
        if not overwrite:
            raise ResourceExistsError(identifier)


def test_a_lost_answer_is_no_other_holder(request):
    connector = LosingAnswers(request.node.nodeid)
    with Lease(connector, LOCK, stale_after=3600):
        assert connector.has_resource(LOCK)
    assert not connector.has_resource(LOCK)


class NotAtomic(MemoryStorageConnector):
    def _publish(self, identifier, upload, overwrite):
        if not overwrite:
            raise UnsupportedStorageError("not here")
        return super()._publish(identifier, upload, overwrite)


def test_a_store_without_atomic_creation_goes_without(request):
    connector = NotAtomic(request.node.nodeid)
    with Lease(connector, LOCK):
        assert not connector.has_resource(LOCK)


class Failing(MemoryStorageConnector):
    """Stops answering once the lease is held."""

    down = False

    def _stat(self, identifier):
        if self.down:
            raise StorageUnavailableError("down")
        return super()._stat(identifier)


def test_a_store_that_fails_at_the_end_hides_neither_result_nor_error(request):
    connector = Failing(request.node.nodeid)
    connector.deadline = 0.1
    with Lease(connector, LOCK):
        connector.down = True
    connector.down = False
    connector.delete_resource(LOCK)

    def fail():
        connector.down = True
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), Lease(connector, LOCK):
        fail()


def test_a_read_only_store_says_so(request):
    connector = MemoryStorageConnector(request.node.nodeid, read_only=True)
    with pytest.raises(ReadOnlyStorageError), Lease(connector, LOCK):
        pass
