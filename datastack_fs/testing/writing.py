"""The writing half of the connector contract: all or nothing, whatever happens to the writer."""

from __future__ import annotations

import io
import pickle
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, ClassVar

import pytest

from datastack_fs.errors import (
    DatasetFileCorruptError,
    ResourceChangedError,
    ResourceExistsError,
    ResourceNotFoundError,
)
from datastack_fs.storage import StorageConnector
from datastack_fs.testing.content import (
    MIB,
    difference,
    digest,
    failing,
    noise,
    read_all,
    stamped,
    stamped_blocks,
    versions_in,
)
from datastack_fs.testing.killing import KilledWriterTests
from datastack_fs.testing.reading import StorageReadingTests


class StorageConnectorTests(StorageReadingTests, KilledWriterTests):
    """What every connector promises, reading and writing. Write the fixture ``connector``.

    Attributes (and those of ``KilledWriterTests``):
        failures: how many writes are broken off at a byte drawn at random.
        keeps_checksum: whether the store keeps the sha256 with a resource.
        creates: whether ``overwrite=False`` is possible (else ``UnsupportedStorageError``).

    Example:
        A complete test module for a connector of your own::

            class TestMyStorageConnector(StorageConnectorTests):
                @pytest.fixture
                def connector(self, tmp_path):
                    return MyStorageConnector(tmp_path)  # empty
    """

    failures: ClassVar[int] = 100
    keeps_checksum: ClassVar[bool] = True
    overwrites_under_readers: ClassVar[int] = 100

    @pytest.fixture
    def connector(self) -> StorageConnector:
        """A connector of an empty store."""
        raise NotImplementedError("write the fixture `connector`")

    @pytest.fixture
    def fill(self, connector: StorageConnector) -> Callable[[Mapping[str, bytes]], StorageConnector]:
        def store(contents: Mapping[str, bytes]) -> StorageConnector:
            for name, content in contents.items():
                connector.set_resource(name, content)
            return connector

        return store

    # What is stored is what was given (clauses 4, 6 and 7).

    @pytest.mark.parametrize("size", [0, 1, MIB - 1, MIB, MIB + 1, 8 * MIB, 8 * MIB + 1])
    def test_round_trip(self, connector: StorageConnector, size: int) -> None:
        content = noise(size)
        info = connector.set_resource("a/b", content)
        assert (info.identifier, info.size) == ("a/b", size)
        assert connector.get_info("a/b") == info
        if self.keeps_checksum:
            assert info.checksum == digest(content)
        assert not difference(read_all(connector, "a/b"), content)

    def test_takes_every_kind_of_source(self, connector: StorageConnector) -> None:
        content = noise(self.large)
        connector.set_resource("origin", content)
        file = io.BytesIO(b"skipped" + content)
        file.seek(7)
        sources: dict[str, Any] = {
            "bytes": content,
            "bytearray": bytearray(content),
            "memoryview": memoryview(content),
            "file": file,
            "iterable": [content[at : at + 100_000] for at in range(0, len(content), 100_000)],
            "generator": (content[at : at + 3 * MIB] for at in range(0, len(content), 3 * MIB)),
            "pipe": _Unseekable(content),
            "resource": connector.get_resource("origin"),
        }
        for name, source in sources.items():
            info = connector.set_resource(name, source, checksum=digest(content))
            assert info.size == len(content), name
            assert digest(read_all(connector, name)) == digest(content), name

    @pytest.mark.parametrize("source", ["text", lambda: io.StringIO("text"), 3, None, ["text"], [1]])
    def test_refuses_what_is_no_source(self, connector: StorageConnector, source: Any) -> None:
        with pytest.raises(TypeError):
            connector.set_resource("a", source() if callable(source) else source)
        assert not connector.has_resource("a")

    def test_is_visible_to_others_on_return(self, connector: StorageConnector) -> None:
        other: StorageConnector = pickle.loads(pickle.dumps(connector))
        assert list(other.list_resources()) == []
        assert not other.has_resource("a/b")
        for number in range(3):
            connector.set_resource("a/b", stamped(number, 1000 + number))
            assert other.has_resource("a/b")
            assert list(other.list_resources()) == ["a/b"]
            assert other.get_info("a/b") == connector.get_info("a/b")
            assert not difference(read_all(other, "a/b"), stamped(number, 1000 + number))
        connector.delete_resource("a/b")
        assert not other.has_resource("a/b")
        assert list(other.list_resources()) == []

    def test_versions_differ_when_bytes_differ(self, connector: StorageConnector) -> None:
        versions = [connector.set_resource("a", stamped(number, 64)).version for number in range(5)]
        assert len(set(versions)) == 5

    @pytest.mark.parametrize("algorithm", ["sha256", "md5"])
    @pytest.mark.parametrize("kind", ["bytes", "generator", "file"])
    def test_checks_a_checksum_before_publishing(self, connector: StorageConnector, algorithm: str, kind: str) -> None:
        import hashlib

        old, new = stamped(1, 1000), noise(self.large)
        connector.set_resource("a", old)

        def source() -> Any:
            return {"bytes": new, "generator": iter([new]), "file": io.BytesIO(new)}[kind]

        right = f"{algorithm}:{hashlib.new(algorithm, new).hexdigest()}"
        wrong = f"{algorithm}:{hashlib.new(algorithm, old).hexdigest()}"
        with pytest.raises(DatasetFileCorruptError) as caught:
            connector.set_resource("a", source(), checksum=wrong)
        assert right in str(caught.value)
        assert wrong in str(caught.value)
        assert not difference(read_all(connector, "a"), old)
        with pytest.raises(DatasetFileCorruptError):
            connector.set_resource("new", source(), checksum=wrong)
        assert not connector.has_resource("new")
        assert connector.sweep(0) == 0
        connector.set_resource("a", source(), checksum=f"{algorithm}:{right.partition(':')[2].upper()}")
        assert not difference(read_all(connector, "a"), new)

    def test_refuses_a_malformed_checksum_at_once(self, connector: StorageConnector) -> None:
        for text in ("abc", "crc32:00", "sha256:zz", "md5:" + "0" * 64):
            with pytest.raises(ValueError, match="checksum"):
                connector.set_resource("a", b"x", checksum=text)
        assert not connector.has_resource("a")

    # All or nothing (clause 3).

    @pytest.mark.parametrize("old", [True, False], ids=["replacing", "new"])
    @pytest.mark.parametrize("error", [OSError("disk on fire"), RuntimeError("bug"), KeyboardInterrupt()], ids=repr)
    def test_a_source_that_raises_leaves_the_old(
        self, connector: StorageConnector, old: bool, error: BaseException
    ) -> None:
        before, after = stamped(1, 100_000), noise(self.large, 2)
        if old:
            connector.set_resource("a", before)
        for count in self._cuts():
            with pytest.raises(type(error)) as caught:
                connector.set_resource("a", failing(after, count, error))
            assert caught.value is error, "the source's own error reaches the caller as it is"
            assert connector.has_resource("a") is old
            if old:
                assert not difference(read_all(connector, "a"), before)
        assert list(connector.list_resources()) == (["a"] if old else [])
        assert connector.sweep(0) == 0, "a write that raised left something behind"

    def test_a_source_that_raises_at_any_byte_leaves_the_old(self, connector: StorageConnector) -> None:
        before, after = stamped(1, 100_000), noise(self.large, 2)
        connector.set_resource("a", before)
        clock = random.Random(11)
        for _ in range(self.failures):
            count, block = clock.randrange(self.large + 1), clock.choice([1 << 16, 1 << 20, 100_003])
            name = clock.choice(["a", "new"])
            with pytest.raises(OSError, match="disk on fire"):
                connector.set_resource(name, failing(after, count, OSError("disk on fire"), block))
            assert not difference(read_all(connector, "a"), before), f"after {count} bytes"
            assert list(connector.list_resources()) == ["a"], f"after {count} bytes"
        assert connector.sweep(0) == 0, "a write that raised left something behind"

    def test_a_source_that_raises_at_its_second_reading_leaves_the_old(self, connector: StorageConnector) -> None:
        connector.set_resource("a", b"old")
        with pytest.raises(OSError, match="second"):
            connector.set_resource("a", _FailsAtSecondReading(noise(self.large)))  # or is read but once
            raise OSError("the source was not read a second time")
        assert read_all(connector, "a") in (b"old", noise(self.large))
        assert connector.sweep(0) == 0

    def _cuts(self) -> list[int]:
        spots = [0, 1, 8, MIB, self.large // 2, self.large - 1, self.large]
        return sorted({spot for spot in spots if spot <= self.large})

    # Several writers (clause 5).

    def test_the_last_of_concurrent_writers_wins_whole(self, connector: StorageConnector) -> None:
        size = 300_000
        connector.set_resource("a", stamped(0, size))

        def write(number: int) -> None:
            for turn in range(3):
                connector.set_resource("a", stamped_blocks(10 * number + turn, size + number, 50_000))

        def read(_: int) -> None:
            for _ in range(5):
                with suppress(ResourceChangedError):
                    assert len(versions_in(read_all(connector, "a"))) == 1

        with ThreadPoolExecutor(8) as pool:
            tasks = [pool.submit(write, number) for number in range(4)]
            tasks += [pool.submit(read, number) for number in range(4)]
            for task in tasks:
                task.result()
        (version,) = versions_in(read_all(connector, "a"))
        assert version % 10 == 2
        assert connector.get_info("a").size == size + version // 10
        assert list(connector.list_resources()) == ["a"]

    @pytest.mark.parametrize("big", [False, True], ids=["small", "large"])
    def test_overwrite_false_lets_exactly_one_create(self, connector: StorageConnector, big: bool) -> None:
        size = self.large if big else 1000
        together = threading.Barrier(8)

        def source(number: int) -> Iterator[bytes]:
            with suppress(threading.BrokenBarrierError):
                together.wait(5)  # all eight have looked, and found nothing, before any of them writes
            yield from stamped_blocks(number, size)

        def create(number: int) -> int | None:
            try:
                connector.set_resource("a/new", source(number), overwrite=False)
            except ResourceExistsError as error:
                assert "a/new" in str(error)
                return None
            return number

        with ThreadPoolExecutor(8) as pool:
            winners = [number for number in pool.map(create, range(1, 9)) if number is not None]
        assert len(winners) == 1
        assert not difference(read_all(connector, "a/new"), stamped(winners[0], size))
        with pytest.raises(FileExistsError):
            connector.set_resource("a/new", b"", overwrite=False)
        assert connector.sweep(0) == 0
        connector.delete_resource("a/new")
        connector.set_resource("a/new", b"again", overwrite=False)
        assert read_all(connector, "a/new") == b"again"

    # One version under a reader (clause 10).

    @pytest.mark.parametrize("change", ["same size", "shorter", "longer", "deleted"])
    def test_a_reader_never_mixes_versions(self, connector: StorageConnector, change: str) -> None:
        size = 3 * MIB
        sizes = {"same size": size, "shorter": size // 3, "longer": 2 * size, "deleted": 0}
        rounds = max(self.overwrites_under_readers // 4, 1)
        outcomes = {"old": 0, "changed": 0}
        clock = random.Random(change)
        for number in range(1, rounds + 1):
            connector.set_resource("a", stamped(2 * number, size))
            before = clock.randrange(0, size)
            with connector.get_resource("a") as resource:
                start = resource.read(before)
                if change == "deleted":
                    connector.delete_resource("a")
                else:
                    connector.set_resource("a", stamped(2 * number + 1, sizes[change]))
                try:
                    content = start + resource.read()
                    at = clock.randrange(0, size - 8)
                    resource.seek(at)
                    assert versions_in(resource.read(100), at) == {2 * number}
                except ResourceChangedError:
                    outcomes["changed"] += 1
                    if connector.is_cached:  # it may hold a part of the old version
                        continue
                    with pytest.raises(ResourceChangedError):
                        connector.get_ranges("a", [(0, 8)], info=resource.info)
                else:
                    outcomes["old"] += 1
                    assert not difference(content, stamped(2 * number, size))
        assert sum(outcomes.values()) == rounds

    def test_reopening_a_replaced_resource_is_refused(self, connector: StorageConnector) -> None:
        connector.set_resource("a", stamped(1, 200_000))
        with connector.get_resource("a") as resource:
            resource.read(10)
            pickled = pickle.dumps(resource)
            connector.set_resource("a", stamped(2, 200_000))
            for reopen in (resource.reopen, lambda: pickle.loads(pickled)):
                with pytest.raises(ResourceChangedError) as caught, reopen() as other:
                    assert versions_in(other.read()) == {2}, "unreachable: it must raise"
                assert "a" in str(caught.value)

    def test_many_at_once_of_a_replaced_version_are_refused(self, connector: StorageConnector) -> None:
        infos = [connector.set_resource(name, stamped(1, 20_000)) for name in ("a", "b", "c")]
        connector.set_resource("b", stamped(2, 20_000))
        connector.delete_resource("c")
        for gone in infos[1:]:
            with pytest.raises(ResourceChangedError, match=gone.identifier):
                connector.read_resources([infos[0], gone])
        assert [versions_in(content) for content in connector.read_resources(["a", "b"])] == [{1}, {2}]

    # Deleting and listing.

    def test_deletes(self, connector: StorageConnector) -> None:
        connector.set_resource("a/b/c", b"1")
        connector.set_resource("a/d", b"2")
        connector.delete_resource("a/b/c")
        assert list(connector.list_resources()) == ["a/d"]
        for name in ("a/b/c", "a/b", "a", "never"):
            with pytest.raises(ResourceNotFoundError):
                connector.delete_resource(name)
        connector.delete_resource("a/d")
        assert list(connector.list_resources()) == []

    def test_a_resource_takes_the_place_of_an_emptied_folder(self, connector: StorageConnector) -> None:
        connector.set_resource("a/b/c", b"1")
        connector.delete_resource("a/b/c")
        connector.set_resource("a", b"2")
        assert read_all(connector, "a") == b"2"

    def test_lists_many(self, connector: StorageConnector) -> None:
        names = sorted(f"many/{number % 7}/{number:04}" for number in range(self.many))
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda name: connector.set_resource(name, b"1"), names))
        assert list(connector.list_resources("many/")) == names
        assert list(connector.list_resources("many/3/")) == [name for name in names if name[5] == "3"]

    many: ClassVar[int] = 1100


class _Unseekable(io.BytesIO):
    def seekable(self) -> bool:
        return False


class _FailsAtSecondReading(io.BytesIO):
    _passes = 0

    def seek(self, offset: int, whence: int = 0) -> int:
        self._passes += 1
        return super().seek(offset, whence)

    def read(self, size: int | None = -1) -> bytes:
        if self._passes and self.tell():
            raise OSError("second reading")
        return super().read(size)
