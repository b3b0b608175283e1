"""The reading half of the connector contract: identifiers, ranges, file semantics, one version, other processes."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datastack_fs.errors import (
    DatastackError,
    MalformedIdentifierError,
    MaliciousFilePathError,
    ReadOnlyStorageError,
    ResourceNotFoundError,
    UnsupportedStorageError,
)
from datastack_fs.identifiers import check_identifier
from datastack_fs.storage import StorageConnector
from datastack_fs.testing.consumers import FileConsumerTests
from datastack_fs.testing.content import MIB, difference, digest, noise, read_all
from datastack_fs.testing.sharing import OtherProcessTests

MALICIOUS = ["../x", "a/../x", "..", ".", "a/./b", "/etc/passwd", "/", "C:/x", "c:x", "a\0b", "a\\b", "..\\x"]
MALFORMED = [
    "",
    "a//b",
    "a/",
    "a\nb",
    "a\x7f",
    "x" * 201,
    "/".join(["x" * 100] * 10),
    "e\u0301",
    "a\ud800",
    "s3://lab/x",
    ".datastack-tmp-1",
    "a/.datastack-x/b",
]
UNUSUAL = [
    "a#1",
    "a?b=c&d",
    "a*[x]{y}",
    "%2e%2e/x",
    "100%",
    " a b ",
    "a+b",
    "~user",
    "-rf",
    ".hidden/..name",
    "naïve/日本/🦉",
    "ab/c:d",
    "x" * 200,
    "/".join(["é" * 50] * 8),
    "quote\"'`$(x)",
    "a;b,c=d@e!",
    "CON",
]

SEMANTICS_SIZE = 300_000
_EXAMPLES = 300 if os.environ.get("DATASTACK_SOAK") else 40

_size = st.one_of(st.integers(0, 20), st.integers(65_530, 65_550), st.integers(0, 200_000))
_step = st.one_of(
    st.tuples(st.just("read"), _size),
    st.tuples(st.just("read1"), _size),
    st.tuples(st.just("readinto"), _size),
    st.tuples(st.just("readline"), st.integers(-1, 400)),
    st.tuples(st.just("seek"), st.integers(0, SEMANTICS_SIZE + 50)),
    st.tuples(st.just("seek_by"), st.integers(-70_000, 70_000)),
    st.tuples(st.just("seek_end"), st.integers(-70_000, 50)),
    st.tuples(st.just("tell"), st.just(0)),
)
_relaxed = settings(
    max_examples=_EXAMPLES,
    deadline=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.differing_executors,  # each connector's class inherits the test
    ],
)


class StorageReadingTests(FileConsumerTests, OtherProcessTests):
    """What every connector promises to readers. Inherit it and write the fixture ``fill``.

    A connector that can also write inherits ``StorageConnectorTests`` instead, which has this class in it.

    Attributes:
        lists: whether ``list_resources`` works (plain HTTP has no listing).
        unusual: names that are within the grammar, and that some layer below would like to interpret.
        leak_rounds: how often to open and close.

    A subclass whose store no other process can reach sets the tests of child processes to None.
    """

    lists: ClassVar[bool] = True
    unusual: ClassVar[list[str]] = UNUSUAL
    leak_rounds: ClassVar[int] = 100

    @pytest.fixture
    def fill(self) -> Callable[[Mapping[str, bytes]], StorageConnector]:
        """A function that gives a connector whose store holds just these resources."""
        raise NotImplementedError("write the fixture `fill`")

    # Names (clauses 1 and 2).

    def test_refuses_bad_identifiers_before_any_io(self, fill: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        connector: StorageConnector = fill({"a": b"1"})
        calls = (
            connector.get_resource,
            connector.has_resource,
            connector.get_info,
            connector.delete_resource,
            lambda name: connector.get_ranges(name, [(0, 1)]),
            lambda name: connector.read_resources([name]),
            lambda name: connector.set_resource(name, b"x"),
        )
        bad: list[tuple[str, type[Exception]]] = [(name, MaliciousFilePathError) for name in MALICIOUS]
        bad += [(name, MalformedIdentifierError) for name in MALFORMED]
        with monkeypatch.context() as patch:
            for hook in ("_open", "_stat", "_read_ranges", "_publish", "_delete"):
                patch.setattr(connector, hook, _no_io)
            for (identifier, error), call in product(bad, calls):
                with pytest.raises(error):
                    pytest.fail(f"{identifier!r} was taken: {call(identifier)!r:.100}")
        assert read_all(connector, "a") == b"1"

    @given(text=st.text(st.characters(), max_size=12) | st.text("./\\a~%:\0é", max_size=12))
    @settings(_relaxed, max_examples=3 * _EXAMPLES)
    def test_takes_or_refuses_any_text_as_the_grammar_says(self, shared_connector: StorageConnector, text: str) -> None:
        try:
            check_identifier(text)
        except DatastackError as expected:
            with pytest.raises(type(expected)):
                shared_connector.has_resource(text)
        else:
            assert shared_connector.has_resource(text) is (text == "there")

    def test_keeps_unusual_names_apart(self, fill: Any) -> None:
        contents = {name: name.encode() for name in self.unusual}
        connector: StorageConnector = fill(contents)
        assert not difference({name: read_all(connector, name) for name in contents}, contents)
        if self.lists:
            assert list(connector.list_resources()) == sorted(contents)

    def test_refuses_names_that_are_no_text(self, fill: Any) -> None:
        connector: StorageConnector = fill({"a": b"1"})
        others: list[Any] = [3, None, b"a", Path("a")]
        for name in others:
            with pytest.raises(TypeError):
                pytest.fail(f"{name!r} was taken: {connector.get_resource(name)!r}")

    # Finding (clauses 4 and 12).

    def test_says_what_is_there(self, fill: Any) -> None:
        connector: StorageConnector = fill({"birds/owl": b"hoo", "empty": b""})
        info = connector.get_info("birds/owl")
        assert (info.identifier, info.size) == ("birds/owl", 3)
        assert info.version
        assert info.checksum in (None, digest(b"hoo"))
        assert connector.get_info("birds/owl") == info
        assert connector.get_info("empty").size == 0
        assert connector.has_resource("birds/owl") is True
        assert connector.has_resource("birds/finch") is False
        assert connector.has_resource("birds") is False
        assert connector.has_resource("birds/owl/feather") is False

    @pytest.mark.parametrize("name", ["nothing", "no/thing", "birds", "birds/owl/feather"])
    def test_missing_resources_are_not_found(self, fill: Any, name: str) -> None:
        connector: StorageConnector = fill({"birds/owl": b"hoo"})
        for call in (connector.get_resource, connector.get_info, lambda n: connector.get_ranges(n, [(0, 1)])):
            with pytest.raises(ResourceNotFoundError, match=name) as caught:
                call(name)
            assert isinstance(caught.value, FileNotFoundError)

    def test_lists_by_prefix_in_order(self, fill: Any) -> None:
        names = ["a-b", "a/b", "a/c/d", "a0", "ab/c", "b"]  # no "a": a folder could not hold it beside "a/b"
        connector: StorageConnector = fill(dict.fromkeys(names, b"1"))
        if not self.lists:
            with pytest.raises(UnsupportedStorageError):
                list(connector.list_resources())
            return
        assert list(connector.list_resources()) == sorted(names)
        for prefix in ("a/", "a", "ab", "a/c", "a/c/", "z", "b", "a/b/"):
            expected = sorted(name for name in names if name.startswith(prefix))
            assert list(connector.list_resources(prefix)) == expected, prefix
        for bad in ("../", "/a", "a//"):
            with pytest.raises(ValueError, match="identifier"):
                list(connector.list_resources(bad))

    def test_scans_what_it_lists(self, fill: Any) -> None:
        contents = {"a-b": b"1", "a/b": noise(5000), "a/c/d": b"", "b": b"22"}
        connector: StorageConnector = fill(contents)
        if not self.lists:
            with pytest.raises(UnsupportedStorageError):
                list(connector.scan_resources())
            return
        for prefix in ("", "a/"):
            assert [name for name, _ in connector.scan_resources(prefix)] == list(connector.list_resources(prefix))
        for name, info in connector.scan_resources():
            if info is not None:
                present = connector.get_info(name)
                assert (info.identifier, info.size, info.version) == (name, present.size, present.version)
                assert info.checksum in (None, present.checksum)
                assert not difference(connector.read_resources([info]), [contents[name]])
        with pytest.raises(MalformedIdentifierError):
            connector.scan_resources("a//")

    # Reading as a file (clauses 9 and 11).

    def test_opening_reads_no_content(self, fill: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        connector: StorageConnector = fill({"a": noise(100_000)})
        with monkeypatch.context() as patch:
            patch.setattr(connector, "_read_ranges", _no_io)
            with connector.get_resource("a") as resource:
                assert resource.size == 100_000
                resource.seek(50_000)
                assert resource.tell() == 50_000

    @given(program=st.lists(_step, min_size=1, max_size=20))
    @settings(_relaxed)
    def test_reads_as_bytes_io_does(self, semantics: tuple[StorageConnector, bytes], program: Any) -> None:
        connector, content = semantics
        with connector.get_resource("semantics") as resource:
            model = io.BytesIO(content)
            for verb, number in program:
                assert _run(resource, verb, number) == _run(model, verb, number), (verb, number)

    def test_is_a_python_binary_file(self, fill: Any) -> None:
        content = b"one\ntwo\n\nlast"
        connector: StorageConnector = fill({"a/lines.txt": content})
        resource = connector.get_resource("a/lines.txt")
        assert isinstance(resource, io.BufferedIOBase)
        assert (resource.readable(), resource.seekable(), resource.writable()) == (True, True, False)
        assert resource.name == resource.identifier == "a/lines.txt"
        assert list(resource) == [b"one\n", b"two\n", b"\n", b"last"]
        assert resource.read() == b""
        assert resource.seek(-4, io.SEEK_END) == 9
        assert resource.readlines() == [b"last"]
        assert resource.seek(1000) == 1000
        assert resource.read(1) == b""
        with pytest.raises(ValueError, match="negative"):
            resource.seek(-1)
        with pytest.raises(io.UnsupportedOperation):
            resource.write(b"x")
        assert resource.seek(0) == 0
        assert [bytes(chunk) for chunk in resource.chunks(5)] == [b"one\nt", b"wo\n\nl", b"ast"]
        resource.close()
        with pytest.raises(ValueError, match="closed"):
            resource.read()
        with pytest.raises(ValueError, match="closed"):
            resource.seek(0)
        assert resource.closed

    def test_reopens_with_its_own_cursor(self, fill: Any) -> None:
        connector: StorageConnector = fill({"a": b"0123456789"})
        with connector.get_resource("a") as first, first.reopen() as second:
            assert first.read(4) == b"0123"
            assert second.read(2) == b"01"
            assert first.read(2) == b"45"
            assert second.info == first.info

    def test_prefetch_changes_no_bytes(self, fill: Any) -> None:
        content = noise(700_000)
        with fill({"a": content}).get_resource("a") as resource:
            resource.prefetch([(600_000, 700_000), (0, 10), (5, 5), (699_990, 800_000)])
            resource.seek(650_000)
            assert not difference(resource.read(100), content[650_000:650_100])
            resource.seek(0)
            assert not difference(resource.read(), content)

    def test_memory_stays_bounded(self, fill: Any) -> None:
        size = 128 * MIB  # all of it would be above the limit by a third
        piece = noise(1024) + bytes(7 * 1024)  # compresses, but not as a bomb does
        connector: StorageConnector = fill({"big": piece * (size // len(piece))})
        with connector.get_resource("big") as resource:
            assert not difference(resource.read(MIB), piece * 128)
            start = _resident_bytes()
            most, count = 0, MIB
            while block := resource.read(MIB):
                assert not difference(block, piece * 128)
                count += len(block)
                most = max(most, _resident_bytes() - start)
        assert count == size
        assert most < 96 * MIB, f"reading grew the process by {most / MIB:.0f} MiB"

    # Many ranges at once.

    def test_gets_ranges(self, fill: Any) -> None:
        content = noise(400_000)
        connector: StorageConnector = fill({"a": content})
        ranges = [(399_999, 400_000), (0, 10), (5, 100_000), (0, 10), (7, 7), (200_000, 200_001), (0, 400_000)]
        assert not difference(connector.get_ranges("a", ranges), [content[start:stop] for start, stop in ranges])
        assert connector.get_ranges("a", []) == []
        scattered = [(at, at + 100) for at in range(0, 400_000, 1000)]
        assert not difference(connector.get_ranges("a", scattered), [content[start:stop] for start, stop in scattered])
        for bad in [(-1, 2), (3, 2), (0, 400_001)]:
            with pytest.raises(ValueError, match="range"):
                connector.get_ranges("a", [bad])

    def test_reads_many_resources(self, fill: Any) -> None:
        contents = {f"many/{number}": noise(number * 700, number) for number in range(40)}
        contents["many/large"] = noise(3 * MIB)
        connector: StorageConnector = fill(contents)
        wanted: list[Any] = [*reversed(contents), "many/3", "many/large"]
        for _ in range(2):  # by their names, then by their versions
            found = connector.read_resources(wanted)
            names = [getattr(each, "identifier", each) for each in wanted]
            assert not difference(found, [contents[name] for name in names])
            wanted = [connector.get_info(name) for name in names]
        assert connector.read_resources([]) == []
        with pytest.raises(ResourceNotFoundError, match="many/missing"):
            connector.read_resources(["many/1", "many/missing", "many/2"])
        with pytest.raises(MaliciousFilePathError):
            connector.read_resources(["many/1", "../x"])

    def test_serves_many_threads(self, fill: Any) -> None:
        contents = {f"t/{number}": noise(200_000, number) for number in range(8)}
        connector: StorageConnector = fill(contents)

        def read(name: str) -> bool:
            return read_all(connector, name) == contents[name] and connector.get_ranges(name, [(5, 70_000)]) == [
                contents[name][5:70_000]
            ]

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(read, list(contents) * 3))

    # What is left open.

    def test_leaks_no_descriptors(self, fill: Any) -> None:
        connector: StorageConnector = fill({"a": noise(1000)})

        def use(times: int) -> None:
            for _ in range(times):
                connector.get_resource("a").close()
                with connector.get_resource("a") as resource:
                    resource.read(10)
                with pytest.raises(ResourceNotFoundError):
                    connector.get_resource("missing")

        use(20)
        before = (_descriptors(), threading.active_count())
        use(self.leak_rounds)
        after = (_descriptors(), threading.active_count())
        assert after[0] <= before[0] + 2, "descriptors"
        assert after[1] <= before[1] + 1, "threads"

    # Read-only stores.

    def test_read_only_refuses_writes_before_touching_the_source(self, fill: Any) -> None:
        connector: StorageConnector = fill({"a": b"1"})
        connector.read_only = True
        source: Any = _Untouchable()
        for call in (
            lambda: connector.set_resource("a", source),
            lambda: connector.delete_resource("a"),
            lambda: connector.sweep(),
        ):
            with pytest.raises(ReadOnlyStorageError):
                call()
        assert read_all(connector, "a") == b"1"

    def test_closes_and_goes_on(self, fill: Any) -> None:
        connector: StorageConnector = fill({"a": b"1"})
        with connector as same:
            assert read_all(same, "a") == b"1"
        assert read_all(connector, "a") == b"1"
        assert connector.url in repr(connector)

    @pytest.fixture
    def semantics(self, fill: Any) -> tuple[StorageConnector, bytes]:
        content = bytearray(noise(SEMANTICS_SIZE))
        content[100:200] = b"line\n" * 20
        return fill({"semantics": bytes(content)}), bytes(content)

    @pytest.fixture
    def shared_connector(self, fill: Any) -> Iterator[StorageConnector]:
        with fill({"there": b"1"}) as connector:
            yield connector


class _Untouchable:
    def read(self, size: int = -1) -> bytes:
        raise AssertionError("the source was read")


def _no_io(*_: object, **__: object) -> Any:
    raise AssertionError("the store was asked")


def _resident_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


def _run(file: Any, verb: str, number: int) -> Any:
    if verb == "seek":
        return file.seek(number)
    if verb == "seek_by":
        return file.seek(max(file.tell() + number, 0) - file.tell(), io.SEEK_CUR)
    if verb == "seek_end":
        return file.seek(number, io.SEEK_END)
    if verb == "tell":
        return file.tell()
    if verb == "read1":  # may be short: the bytes that came must be right, and the cursor after them
        start = file.tell()
        piece = file.read1(number)
        file.seek(start)
        return file.read(number)[: len(piece)] == piece and (bool(piece) or number == 0 or not file.read(1))
    if verb == "readinto":
        buffer = bytearray(number)
        count = file.readinto(buffer)
        return count, bytes(buffer[:count])
    return getattr(file, verb)(number)
