"""What the connector base does for all: retries, lengths, translation."""

import errno
import logging

import pytest

from datastack_fs.errors import (
    DatasetFileCorruptError,
    DatastackError,
    ResourceConflictError,
    ResourceNotFoundError,
    StorageFullError,
    StoragePermissionError,
    StorageUnavailableError,
)
from datastack_fs.resource import ResourceInfo
from datastack_fs.storage import StorageConnector

CONTENT = bytes(range(200))


class Flaky(StorageConnector):
    """A store whose next answers are what the test says, then right ones."""

    gap_bytes = 0

    def __init__(self, faults, **options):
        super().__init__("flaky://ann:CANARY@host/lab", **options)
        self.faults = faults
        self.reads = []

    def _stat(self, identifier):
        if self.faults:
            raise self.faults.pop(0)
        return ResourceInfo(identifier, len(CONTENT), "1")

    def _read_ranges(self, info, ranges):
        self.reads.append(list(ranges))
        return [self.faults.pop(0) if self.faults else CONTENT[start:stop] for start, stop in ranges]

    def _list(self, prefix):
        return iter(["a", "a//b", ".datastack-tmp-1", "b"])


INFO = ResourceInfo("a", len(CONTENT), "1")


def test_only_the_ranges_that_failed_are_read_again():
    connector = Flaky([ConnectionResetError("cut"), b"short"])
    assert connector.get_ranges("a", [(0, 10), (20, 30), (40, 50)], info=INFO) == [
        CONTENT[0:10],
        CONTENT[20:30],
        CONTENT[40:50],
    ]
    assert connector.reads == [[(0, 10), (20, 30), (40, 50)], [(0, 10), (20, 30)]]


def test_gives_up_at_the_deadline():
    connector = Flaky([TimeoutError("slow")] * 10_000, deadline=0.2)
    with pytest.raises(StorageUnavailableError, match="TimeoutError: slow") as caught:
        connector.get_info("a")
    assert isinstance(caught.value, ConnectionError)
    assert isinstance(caught.value.__cause__, TimeoutError)


def test_a_range_that_stays_short_is_corrupt_not_an_end():
    connector = Flaky([b"1", b"22", b"333"])
    with pytest.raises(DatasetFileCorruptError, match="3 bytes came for the range 0-10"):
        connector.get_ranges("a", [(0, 10)], info=INFO)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (FileNotFoundError("x"), ResourceNotFoundError),
        (PermissionError("x"), StoragePermissionError),
        (NotADirectoryError("x"), ResourceConflictError),
        (OSError(errno.ENOSPC, "full"), StorageFullError),
        (ZeroDivisionError("a bug below"), DatastackError),
    ],
)
def test_translates_and_keeps_the_cause(error, expected):
    with pytest.raises(expected) as caught:
        Flaky([error], deadline=0).get_info("a")
    assert type(caught.value) is expected
    assert caught.value.__cause__ is error
    assert "a" in str(caught.value)


def test_no_secret_in_any_text(caplog):
    caplog.set_level(logging.DEBUG)
    error = ConnectionError("GET https://x/?token=CANARY and mongodb://u:CANARY@h")
    connector = Flaky([error, error], deadline=0.5)
    assert connector.get_info("a").size == 200
    failing = Flaky([error] * 1000, deadline=0)
    with pytest.raises(StorageUnavailableError) as caught:
        failing.get_info("a")
    texts = [repr(connector), connector.url, str(caught.value), caplog.text]
    assert "trying again" in caplog.text
    assert not [text for text in texts if "CANARY" in text]


def test_lists_only_identifiers():
    assert list(Flaky([]).list_resources()) == ["a", "b"]
