"""What a cache keeps, what it lets go, and what it does when its folder is damaged, full or gone."""

import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from datastack_fs.cache.block_cache import BlockCache
from datastack_fs.cache.records import is_intact, read_part, record_bytes, record_of
from datastack_fs.cache.settings import CacheSettings
from datastack_fs.errors import ConfigError
from datastack_fs.resource import ResourceInfo
from datastack_fs.testing.content import noise

BLOCK = 4096
SIZE = 2 << 20


class Store:
    """Resources that are noise; it counts what is fetched."""

    def __init__(self, folder, *, size=SIZE, free=0, name="s3://lab"):
        self.cache = BlockCache(CacheSettings(str(folder), size, free))
        self.name = name
        self.asked = []

    def fetch(self, wanted):
        self.asked += [wanted_range for _, ranges in wanted for wanted_range in ranges]
        return [[content_of(info)[start:stop] for start, stop in ranges] for info, ranges in wanted]

    def read(self, info, ranges):
        before = len(self.asked)
        (found,) = self.cache.read(self.name, [(info, ranges)], lambda _: BLOCK, self.fetch)
        assert [bytes(each) for each in found] == [content_of(info)[start:stop] for start, stop in ranges]
        return self.asked[before:]

    def epoch(self, infos, order):
        """The part of the blocks of an epoch, each read once, that was found."""
        places = [(info, start) for info in infos for start in range(0, info.size, BLOCK)]
        order(places)
        missed = 0
        for first in range(0, len(places), 8):
            batch = [(info, [(start, start + BLOCK)]) for info, start in places[first : first + 8]]
            before = len(self.asked)
            found = self.cache.read(self.name, batch, lambda _: BLOCK, self.fetch)
            missed += len(self.asked) - before
            for (info, ((start, stop),)), (content,) in zip(batch, found, strict=True):
                assert content == content_of(info)[start:stop]
        return 1 - missed / len(places)


_contents = {}


def content_of(info):
    key = info.identifier, info.version, info.size
    if key not in _contents:
        _contents[key] = noise(info.size, hash(key) % 1000)
    return _contents[key]


def resource(name="a", size=100_000, version="1"):
    return ResourceInfo(name, size, version)


def files(folder):
    return [path for path in Path(folder).rglob("*") if path.is_file()]


def test_a_block_is_fetched_once_and_found_by_every_process(tmp_path):
    store, info = Store(tmp_path), resource()
    assert store.read(info, [(5, 10), (4000, 9000)]) == [(0, BLOCK), (BLOCK, 2 * BLOCK), (2 * BLOCK, 3 * BLOCK)]
    assert store.read(info, [(0, 3 * BLOCK), (7, 7)]) == []
    assert Store(tmp_path).read(info, [(1, 2 * BLOCK)]) == []
    assert store.read(info, [(0, info.size)])[-1] == (24 * BLOCK, 100_000)
    assert store.read(info, [(99_999, 100_000)]) == []


def test_another_version_size_name_or_store_is_another_block(tmp_path):
    store = Store(tmp_path)
    for info in (resource(), resource(version="2"), resource(name="b"), resource(size=5000)):
        assert store.read(info, [(0, 10)]) == [(0, BLOCK)]
    assert Store(tmp_path, name="s3://other").read(resource(), [(0, 10)]) == [(0, BLOCK)]


@pytest.mark.parametrize("order", [random.Random(1).shuffle, lambda places: None], ids=["shuffled", "in order"])
def test_epochs_over_more_than_it_holds_find_what_fits_of_it(tmp_path, order):
    store = Store(tmp_path)
    held = SIZE - 300_000  # about: its table takes room, too
    first, second = ([resource(f"{name}{number}", 4 * SIZE // 8) for number in range(8)] for name in "ab")
    found = [store.epoch(first, order) for _ in range(4)]
    assert found[0] == 0
    assert min(found[1:]) >= 0.9 * held / (4 * SIZE)
    found = [store.epoch(second, order) for _ in range(5)]
    assert found[0] == 0
    assert min(found[3:]) >= 0.8 * held / (4 * SIZE), "other data takes the place of what nobody reads"
    assert sum(path.stat().st_size for path in files(tmp_path)) <= SIZE


def test_what_is_not_kept_is_fetched_no_further_than_wanted(tmp_path):
    store, info = Store(tmp_path, size=1 << 20), resource(size=4 << 20)
    store.read(info, [(0, info.size)])
    asked = store.read(info, [(info.size - 100_000, info.size - 100), (3, 5)])
    assert asked == [(info.size - 100_000, info.size - 100)]


def test_a_damaged_block_is_fetched_again(tmp_path, caplog):
    store, info = Store(tmp_path), resource()
    store.read(info, [(0, info.size)])
    for path in files(tmp_path):
        if path.suffix == ".blocks":
            content = bytearray(path.read_bytes())
            content[5 * record_bytes(BLOCK) + 7] ^= 1
            path.write_bytes(content)
    assert store.read(info, [(0, info.size)]) == [(5 * BLOCK, 6 * BLOCK)]
    assert "damaged" in caplog.text
    assert store.read(info, [(0, info.size)]) == []


def reader(record):
    return lambda at, size: bytes(record[at : at + size])


def test_any_change_to_a_part_of_a_block_is_noticed():
    dice = random.Random(1)
    key, other = np.array([5, 7], np.uint64), np.array([5, 8], np.uint64)
    for length in (1, 8191, 8192, 8193, 65_536, 261_120):
        content = noise(length)
        record, checksum = record_of(key, content)
        for _ in range(40):
            start = dice.randrange(length)
            wanted = start, dice.randint(start, min(start + 20_000, length))
            part = read_part(reader(record), key, length, checksum, wanted)
            assert bytes(part.content) == content[part.offset : part.offset + len(part.content)]
            assert part.offset <= wanted[0] <= wanted[1] <= part.offset + len(part.content)
            if wanted[0] < wanted[1]:
                assert read_part(reader(record), other, length, checksum, wanted) is None
            changed = bytearray(record)
            changed[dice.randrange(len(record))] ^= 1 << dice.randrange(8)
            part = read_part(reader(changed), key, length, checksum, wanted)
            assert part is None or bytes(part.content) == content[part.offset : part.offset + len(part.content)]
            assert is_intact(key, record, length, checksum)
            assert not is_intact(key, bytes(changed), length, checksum)


def test_a_table_that_is_none_is_made_anew(tmp_path):
    Store(tmp_path).read(resource(), [(0, 100)])
    (table,) = [path for path in files(tmp_path) if path.name == "table"]
    table.write_bytes(table.read_bytes()[:1000])
    store = Store(tmp_path)
    assert store.read(resource(), [(0, 100)]) == [(0, BLOCK)]
    assert store.read(resource(), [(0, 100)]) == []


def unusable(tmp_path, monkeypatch, how):
    if how == "a file is there":
        (tmp_path / "cache").write_bytes(b"mine")
    if how == "a disk that is full":
        return Store(tmp_path / "cache", free=1 << 60)
    if how == "a disk that fails":
        monkeypatch.setattr("os.pwrite", _no_space)
    return Store(tmp_path / "cache")


def _no_space(*_):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("how", ["a file is there", "a disk that is full", "a disk that fails"])
def test_a_folder_that_takes_nothing_slows_the_job_and_never_stops_it(tmp_path, monkeypatch, caplog, how):
    store = unusable(tmp_path, monkeypatch, how)
    for _ in range(3):
        assert store.read(resource(), [(5, 10)]) in ([(5, 10)], [(0, BLOCK)])
    assert len(caplog.records) == (how != "a disk that is full"), "it is told once"


def test_a_folder_that_vanishes_slows_the_job_and_never_stops_it(tmp_path):
    store, info = Store(tmp_path / "cache"), resource(size=1 << 20)
    store.read(info, [(0, 10)])
    shutil.rmtree(tmp_path / "cache")
    for start in range(0, info.size, BLOCK):
        store.read(info, [(start, start + 10)])


def test_a_folder_that_can_only_be_read_still_serves(tmp_path, monkeypatch):
    Store(tmp_path).read(resource(), [(0, 10)])
    monkeypatch.setattr("os.access", lambda path, mode: False)
    before = {path: path.read_bytes() for path in files(tmp_path)}
    store = Store(tmp_path)
    assert store.read(resource(), [(0, 10), (9000, 9010)]) == [(9000, 9010)]
    assert {path: path.read_bytes() for path in files(tmp_path)} == before


def test_files_of_others_stay(tmp_path):
    (tmp_path / "mine.blocks").write_bytes(b"mine")
    store = Store(tmp_path, size=1 << 20)
    (tmp_path / "datastack-blocks" / "notes.txt").parent.mkdir(exist_ok=True)
    (tmp_path / "datastack-blocks" / "notes.txt").write_bytes(b"mine, too")
    for number in range(4):
        store.epoch([resource(f"a{number}", 1 << 20)], random.shuffle)
    assert (tmp_path / "mine.blocks").read_bytes() == b"mine"
    assert (tmp_path / "datastack-blocks" / "notes.txt").read_bytes() == b"mine, too"


def test_what_the_store_raises_is_passed_on_and_holds_nobody_up(tmp_path):
    store, info = Store(tmp_path), resource()

    def refuse(wanted):
        raise ConnectionError("no answer")

    with pytest.raises(ConnectionError, match="no answer"):
        store.cache.read(store.name, [(info, [(0, 10)])], lambda _: BLOCK, refuse)
    assert store.read(info, [(0, 10)]) == [(0, BLOCK)]


def test_what_has_no_lasting_version_is_not_kept(tmp_path):
    store, info = Store(tmp_path), resource()
    for _ in range(2):
        before = len(store.asked)
        store.cache.read(store.name, [(info, [(5, 10)])], lambda _: 0, store.fetch)
        assert store.asked[before:] == [(5, 10)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cache_size": "1 GB"}, "cache_size without cache="),
        ({"cache": "c", "cache_size": "much"}, "cache_size='much': a size is a number of bytes"),
        ({"cache": "c", "cache_size": "3 KB"}, "3,000 bytes; a cache has 1,048,576 at least"),
        ({"cache": "c", "cache_free": -1}, "cache_free=-1"),
        ({"cache": ""}, "it is the path of a folder"),
    ],
)
def test_a_setting_that_is_none_is_told(options, message):
    with pytest.raises(ConfigError) as caught:
        CacheSettings.of(options)
    assert message in str(caught.value)
