"""What only archives have: directories that lie, compressed members, bombs, names that break out, damage."""

import bz2
import gzip
import io
import itertools
import lzma
import os
import pickle
import random
import struct
import tarfile
import tracemalloc
import warnings
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datastack_fs import registry
from datastack_fs.connectors import (
    ArchiveStorageConnector,
    FileStorageConnector,
    HTTPStorageConnector,
    MemoryStorageConnector,
)
from datastack_fs.connectors import archive_index as indexing
from datastack_fs.decompression import ForwardStream, Inflater
from datastack_fs.errors import (
    ConfigError,
    DatasetFileCorruptError,
    DatastackError,
    MaliciousFilePathError,
    ReadOnlyStorageError,
    ResourceChangedError,
    ResourceNotFoundError,
    StorageUnavailableError,
    UnsupportedStorageError,
)
from datastack_fs.testing.content import noise, read_all, stamped, versions_in

MIB = 1 << 20
METHODS = {"stored": zipfile.ZIP_STORED, "deflated": zipfile.ZIP_DEFLATED, "bz2": zipfile.ZIP_BZIP2}
METHODS["lzma"] = zipfile.ZIP_LZMA
PACKERS = [*METHODS, "tar", "tar.gz", "tar.bz2", "tar.xz"]

_DAMAGES = 2000 if os.environ.get("DATASTACK_SOAK") else 60

_numbers = itertools.count()


def zipped(contents, method=zipfile.ZIP_STORED, **options):
    with zipfile.ZipFile(stream := io.BytesIO(), "w", method, **options) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a name that is there twice
        for name, content in contents.items() if isinstance(contents, dict) else contents:
            file.writestr(name, content)
    return stream.getvalue()


def tarred(contents, compression="", **options):
    with tarfile.open(fileobj=(stream := io.BytesIO()), mode=f"w:{compression}", **options) as file:
        for name, content in contents.items() if isinstance(contents, dict) else contents:
            member = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def packed(packer, contents):
    """The name and the bytes of an archive."""
    if packer in METHODS:
        return "a.zip", zipped(contents, METHODS[packer])
    return f"a.{packer}", tarred(contents, packer.partition(".")[2])


class Recording(MemoryStorageConnector):
    """A store that remembers which ranges were read."""

    def __init__(self, content, name="a.zip"):
        super().__init__(f"archive-own-{next(_numbers)}")
        self.set_resource(name, content)
        self.calls = []

    def get_ranges(self, identifier, ranges, *, info=None, copy=True):
        self.calls.append(list(ranges))
        return super().get_ranges(identifier, ranges, info=info)

    def read_bytes(self):
        return sum(stop - start for call in self.calls for start, stop in call)


def open_bytes(content, name="a.zip", **options):
    return ArchiveStorageConnector(Recording(content, name), name, **options)


def compressible(size, seed=0):
    rng = random.Random(seed)
    return b"".join(rng.choice([b"finch ", b"owl ", b"great tit "]) * 20 for _ in range(size // 80))[:size]


# Reading.


@pytest.mark.parametrize("packer", PACKERS)
def test_reads_large_members_in_any_order(packer):
    contents = {"a": compressible(3 * MIB), "b": noise(MIB + 17), "c": b"", "d": b"1"}
    name, archive = packed(packer, contents)
    connector = open_bytes(archive, name)
    assert list(connector.list_resources()) == ["a", "b", "c", "d"]
    rng = random.Random(1)
    with connector.get_resource("a") as resource:
        for _ in range(30):
            start = rng.choice([rng.randrange(3 * MIB), resource.tell()])
            resource.seek(start)
            size = rng.choice([1, 1000, 300_000])
            assert resource.read(size) == contents["a"][start : start + size]
    ranges = [(MIB, MIB + 17), (0, 10), (500_000, 900_000), (5, 5), (0, MIB + 17)]
    assert connector.get_ranges("b", ranges) == [contents["b"][start:stop] for start, stop in ranges]
    assert {name: read_all(connector, name) for name in contents} == contents


@pytest.mark.parametrize("packer", PACKERS)
def test_readers_take_turns(packer):
    contents = {f"m{number}": compressible(700_000, number) for number in range(12)}
    name, archive = packed(packer, contents)
    connector = open_bytes(archive, name)
    resources = [connector.get_resource(name) for name in contents]
    pieces = [[resource.read(100_000) for resource in resources] for _ in range(7)]
    assert [b"".join(each) for each in zip(*pieces, strict=True)] == list(contents.values())


@pytest.mark.parametrize("packer", PACKERS)
def test_threads_share_a_connector(packer):
    contents = {f"m{number}": compressible(200_000, number) for number in range(6)}
    name, archive = packed(packer, contents)
    connector = open_bytes(archive, name)

    def read(seed):
        rng = random.Random(seed)
        for _ in range(10):
            name = rng.choice(list(contents))
            start = rng.randrange(200_000)
            assert connector.get_ranges(name, [(start, 200_000), (0, 5)]) == [
                contents[name][start:],
                contents[name][:5],
            ]
            if seed == 0:
                connector.close()
        return True

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(read, range(6)))


_size = st.integers(0, 150_000)
_step = st.one_of(
    st.tuples(st.sampled_from(["read", "readinto"]), _size),
    st.tuples(st.just("readline"), st.integers(-1, 300)),
    st.tuples(st.just("seek"), st.integers(0, 400_100)),
)


@given(program=st.lists(_step, min_size=1, max_size=25), packer=st.sampled_from(PACKERS))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_reads_as_bytes_io_does(program, packer):
    content = compressible(400_000)
    with open_once(packer).get_resource("a") as resource:
        model = io.BytesIO(content)
        for verb, number in program:
            results = []
            for file in (resource, model):
                if verb == "readinto":
                    buffer = bytearray(number)
                    results.append((file.readinto(buffer), buffer))
                else:
                    results.append(getattr(file, verb)(number))
            assert results[0] == results[1], (verb, number)


_open = {}


def open_once(packer):
    if packer not in _open:
        name, archive = packed(packer, {"before": noise(1000), "a": compressible(400_000), "after": b"1"})
        _open[packer] = open_bytes(archive, name)
    return _open[packer]


@pytest.mark.parametrize("packer", ["stored", "deflated", "tar", "tar.gz"])
def test_memory_stays_bounded(packer):
    name, archive = packed(packer, {"a": compressible(8 * MIB) * 20})
    connector = open_bytes(archive, name)
    tracemalloc.start()
    try:
        with connector.get_resource("a") as resource:
            assert sum(len(block) for block in resource.chunks(MIB)) == 160 * MIB
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 80 * MIB


def test_feeds_numpy_with_the_members_of_npz():
    import numpy as np

    for save in (np.savez, np.savez_compressed):
        save(stream := io.BytesIO(), images=np.arange(60_000).reshape(100, 600), labels=np.arange(100))
        connector = open_bytes(stream.getvalue(), "birds.npz")
        assert list(connector.list_resources()) == ["images.npy", "labels.npy"]
        with connector.get_resource("images.npy") as resource:
            assert (np.load(resource, allow_pickle=False) == np.arange(60_000).reshape(100, 600)).all()


# What it costs.


def test_a_zip_is_read_by_ranges():
    contents = {f"m{number}": noise(5 * MIB, number) for number in range(4)}
    store = Recording(zipped(contents))
    connector = ArchiveStorageConnector(store, "a.zip")
    assert list(connector.list_resources()) == list(contents)
    assert store.read_bytes() < 200_000
    connector.get_ranges("m1", [(0, 1)])
    store.calls.clear()
    assert connector.get_ranges("m1", [(MIB, MIB + 10), (0, 5)]) == [contents["m1"][MIB : MIB + 10], contents["m1"][:5]]
    assert store.read_bytes() == 15
    assert len(store.calls) == 1
    with connector.get_resource("m3") as resource:
        resource.seek(3 * MIB)
        assert resource.read(1000) == contents["m3"][3 * MIB : 3 * MIB + 1000]
    assert store.read_bytes() < 300_000


@pytest.mark.parametrize("packer", ["stored", "deflated"])
def test_a_small_member_takes_one_request(packer):
    contents = {f"m{number:03}": compressible(5000, number) for number in range(200)}
    store = Recording(packed(packer, contents)[1])
    connector = ArchiveStorageConnector(store, "a.zip")
    connector.get_info("m000")
    store.calls.clear()
    for name in random.Random(1).sample(list(contents), 50):
        assert read_all(connector, name) == contents[name]
    assert len(store.calls) == 50


def test_the_headers_of_a_tar_are_read_by_ranges():
    contents = {f"m{number}": noise(5 * MIB, number) for number in range(4)}
    store = Recording(tarred(contents), "a.tar")
    connector = ArchiveStorageConnector(store, "a.tar")
    assert list(connector.list_resources()) == list(contents)
    assert store.read_bytes() < 500_000
    store.calls.clear()
    assert connector.get_ranges("m1", [(MIB, MIB + 10)]) == [contents["m1"][MIB : MIB + 10]]
    assert store.read_bytes() == 10


def test_the_headers_of_small_tar_members_come_in_few_requests():
    contents = {f"m{number:04}": noise(3000, number) for number in range(4000)}
    store = Recording(tarred(contents), "a.tar")
    connector = ArchiveStorageConnector(store, "a.tar")
    assert len(list(connector.list_resources())) == 4000
    assert len(store.calls) < 10


def test_a_compressed_tar_read_in_order_is_decompressed_once_more():
    contents = {f"m{number:03}": noise(100_000, number) for number in range(100)}
    archive = tarred(contents, "gz")
    store = Recording(archive, "a.tar.gz")
    connector = ArchiveStorageConnector(store, "a.tar.gz")
    for name in connector.list_resources():
        assert read_all(connector, name) == contents[name]
    assert store.read_bytes() < 2.5 * len(archive)


def test_says_where_stored_members_lie():
    contents = {f"m{number:02}": noise(100_000, number) for number in range(20)}
    for name, archive, headers in (("a.zip", zipped(contents), 1), ("a.tar", tarred(contents), 0)):
        store = Recording(archive, name)
        connector = ArchiveStorageConnector(store, name)
        connector.get_info("m00")
        store.calls.clear()
        info, places = connector.locate(contents)
        assert len([call for call in store.calls if call]) == headers
        assert store.get_ranges(name, places, info=info) == list(contents.values())
        assert connector.locate(contents) == (info, places)
    for packer in ("deflated", "tar.gz"):
        name, archive = packed(packer, contents)
        assert open_bytes(archive, name).locate(["m01", "m02"])[1] == [None, None]
    with pytest.raises(ResourceNotFoundError, match="m99"):
        connector.locate(["m01", "m99"])
    with pytest.raises(MaliciousFilePathError):
        connector.locate(["../m01"])


# Kinds of archives.


def test_local_headers_that_are_longer_than_the_directory_says():
    with zipfile.ZipFile(stream := io.BytesIO(), "w") as file:
        for name in ("a", "b"):
            with file.open(name, "w", force_zip64=True) as member:
                member.write(noise(100_000, ord(name)))
    connector = open_bytes(stream.getvalue())
    assert connector.get_ranges("a", [(99_990, 100_000)]) == [noise(100_000, ord("a"))[-10:]]
    assert [read_all(connector, name) for name in "ab"] == [noise(100_000, ord(name)) for name in "ab"]
    _, places = open_bytes(stream.getvalue()).locate("ab")
    assert [stream.getvalue()[start:stop] for start, stop in places] == [noise(100_000, ord(name)) for name in "ab"]


@pytest.mark.parametrize("packer", PACKERS)
def test_many_members_are_one_request_or_one_pass(packer):
    contents = {f"m/{number}": compressible(50_000, number) for number in range(9)} | {"empty": b""}
    name, archive = packed(packer, contents)
    connector = open_bytes(archive, name)
    infos = [info for _, info in connector.scan_resources()][::-1]
    store = connector._connector
    for _ in range(2):  # with and without local headers to find
        store.calls.clear()
        found = connector.read_resources([*infos, infos[3]])
        assert found == [contents[info.identifier] for info in [*infos, infos[3]]]
        if name.count(".") == 1:
            assert len(store.calls) == 1
        assert store.read_bytes() <= len(archive) + (64 << 10)


@pytest.mark.parametrize("packer", METHODS)
def test_one_damaged_member_of_many_is_named(packer):
    contents = {f"m{number}": compressible(5000, number) for number in range(5)}
    name, archive = packed(packer, contents)
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        member = file.getinfo("m3")
    damaged = bytearray(archive)
    damaged[member.header_offset + 40 + member.compress_size // 2] ^= 0xFF
    connector = open_bytes(bytes(damaged), name)
    assert connector.read_resources(["m2", "m4"]) == [contents["m2"], contents["m4"]]
    with pytest.raises(DatasetFileCorruptError, match="m3"):
        connector.read_resources(list(contents))


def test_many_members_of_a_replaced_archive_are_refused():
    connector = open_bytes(zipped({"a": b"1", "b": b"2"}))
    infos = [info for _, info in connector.scan_resources()]
    connector._connector.set_resource("a.zip", zipped({"a": b"3", "b": b"4"}))
    with pytest.raises(ResourceChangedError, match="a in"):
        connector.read_resources(infos)
    assert connector.read_resources(["b", "a"]) == [b"4", b"3"]
    with pytest.raises(ResourceChangedError, match="a in"):
        connector.read_resources(["b", infos[0]])


class Unseekable(io.RawIOBase):
    """A pipe: zip sizes then stand behind the members' bytes."""

    def __init__(self):
        self.content = b""

    def writable(self):
        return True

    def write(self, block):
        self.content += bytes(block)
        return len(block)


@pytest.mark.parametrize("method", METHODS.values())
def test_zips_written_to_a_pipe(method):
    pipe = Unseekable()
    with zipfile.ZipFile(pipe, "w", method) as file:
        for name in ("a", "b"):
            file.writestr(name, compressible(100_000))
    assert read_all(open_bytes(pipe.content), "b") == compressible(100_000)


def test_zips_with_more_around_them():
    archive = zipped({"a": b"hoo"})
    with zipfile.ZipFile(stream := io.BytesIO(b"#!/bin/sh\n" * 1000 + archive), "a") as file:
        file.comment = b"PK\3\4 a comment"
    for content in (b"#!/bin/sh\n" * 1000 + archive, stream.getvalue()):
        assert read_all(open_bytes(content), "a") == b"hoo"
    assert list(open_bytes(zipped({})).list_resources()) == []
    assert list(open_bytes(zipped({"folder/": b""})).list_resources()) == []


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_tars_of_all_forms(form):
    name = "/".join(["folder" * 10] * 3)
    contents = {"a": noise(1000), name: noise(700), "./b": b"2", "././c/d": b"3"}
    connector = open_bytes(tarred(contents, format=form), "a.tar")
    assert list(connector.list_resources()) == sorted(["a", name, "b", "c/d"])
    assert read_all(connector, name) == noise(700)
    assert read_all(connector, "b") == b"2"


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_compressed_tars_in_several_streams(compress):
    content = tarred({"a": noise(300_000), "b": noise(200_000)})
    pieces = [content[start : start + 70_001] for start in range(0, len(content), 70_001)]
    padding = b"\0" * 512 if compress is not bz2.compress else b""
    archive = b"".join(map(compress, pieces)) + padding
    connector = open_bytes(archive, "a.tgz")
    assert [read_all(connector, name) for name in "ba"] == [noise(200_000), noise(300_000)]


def test_the_first_bytes_tell_the_kind():
    for archive, kind in (
        (zipped({"a": b"1"}), "zip"),
        (tarred({"a": b"1"}, "xz"), "tar"),
        (tarred({"a": b"1"}), "tar"),
    ):
        connector = open_bytes(archive, "birds")
        assert connector.url.startswith("archive::memory://")
        assert read_all(connector, "a") == b"1"
        assert connector.url.startswith(f"{kind}::memory://")
    with pytest.raises(DatasetFileCorruptError, match="neither a zip nor a tar"):
        open_bytes(noise(1000), "birds").get_resource("a")
    with pytest.raises(ConfigError, match="'zip' or 'tar'"):
        open_bytes(b"", kind="rar")


def test_a_prefix_is_a_root():
    contents = {"birds/a": b"1", "birds/b/c": b"2", "birdsong": b"3", "birds/../x": b"4", "d": b"5", "birds//e": b"6"}
    for name, archive in (("a.zip", zipped(contents)), ("a.tar", tarred(contents))):
        for prefix in ("birds", "birds/"):
            connector = open_bytes(archive, name, prefix=prefix)
            assert list(connector.list_resources()) == ["a", "b/c"]
            assert read_all(connector, "b/c") == b"2"
            assert connector.has_resource("d") is False
    with pytest.raises(MaliciousFilePathError):
        open_bytes(archive, name, prefix="../birds")


# Names that can't be reached.


BAD_NAMES = [
    "/etc/passwd",
    "../up",
    "a/../../up",
    "a//b",
    "C:/x",
    "back\\slash",
    "new\nline",
    ".datastack-tmp-1",
    "x" * 201,
]


def test_names_outside_the_grammar_are_not_there():
    contents = {**dict.fromkeys(BAD_NAMES, b"bad"), "good": b"1"}
    for name, archive in (("a.zip", zipped(contents)), ("a.tar", tarred(contents))):
        connector = open_bytes(archive, name)
        assert list(connector.list_resources()) == ["good"]
        for bad in BAD_NAMES:
            with pytest.raises(ValueError, match="identifier"):
                connector.get_resource(bad)


def test_a_nul_does_not_shorten_a_name():
    archive = zipped({"a.txt_x.exe": b"1"}).replace(b"a.txt_x.exe", b"a.txt\0x.exe")
    assert list(open_bytes(archive).list_resources()) == []


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE]
)
def test_links_and_devices_of_a_tar_are_not_there(kind):
    special = tarfile.TarInfo("special")
    special.type = kind
    special.linkname = "good"
    connector = open_bytes(tarred([("good", b"1"), (special, b"")]), "a.tar")
    assert list(connector.list_resources()) == ["good"]
    with pytest.raises(ResourceNotFoundError):
        connector.get_resource("special")


@pytest.mark.parametrize("mode", [0o120777, 0o020666, 0o060666, 0o010666, 0o040755, 0o140755])
def test_links_and_devices_of_a_zip_are_not_there(mode):
    special = zipfile.ZipInfo("special")
    special.create_system = 3
    special.external_attr = mode << 16
    connector = open_bytes(zipped([("good", b"1"), (special, b"/etc/passwd")]))
    assert list(connector.list_resources()) == ["good"]
    assert connector.has_resource("special") is False


def test_what_is_there_twice_is_not_reached():
    twice = [("a", b"1"), ("b", b"2"), ("a", b"3")]
    for name, archive in (("a.zip", zipped(twice)), ("a.tar", tarred([*twice, ("./a", b"4")]))):
        connector = open_bytes(archive, name)
        assert list(connector.list_resources()) == ["b"]
        assert connector.has_resource("a") is False
        with pytest.raises(ResourceNotFoundError, match="more than once"):
            connector.get_resource("a")


# What can't be read.


def central(archive, name=b""):
    """Where the directory's entry of a member begins."""
    place = archive.index(b"PK\1\2")
    while not archive.startswith(name, place + 46):  # before it are numbers, and a time, that may look like it
        place = archive.index(b"PK\1\2", place + 1)
    return place


def patched(archive, at, form, *values):
    content = bytearray(archive)
    struct.pack_into(form, content, at, *values)
    return bytes(content)


def test_encrypted_members():
    archive = zipped({"a": b"1", "b": b"2"})
    archive = patched(archive, central(archive, b"a") + 8, "<H", 1)
    connector = open_bytes(archive)
    assert connector.has_resource("a")
    with pytest.raises(UnsupportedStorageError, match=r"can't read a in zip::memory.*encrypted"):
        connector.get_resource("a")
    assert read_all(connector, "b") == b"2"


def test_unknown_methods():
    archive = zipped({"a": b"1"})
    connector = open_bytes(patched(archive, central(archive, b"a") + 10, "<H", 9))
    with pytest.raises(UnsupportedStorageError, match="method 9"):
        connector.get_resource("a")


@pytest.mark.parametrize("packer", ["stored", "deflated", "bz2", "lzma"])
@pytest.mark.parametrize("by", [-1, 1, 100_000])
def test_sizes_that_lie(packer, by):
    content = compressible(200_000)
    archive = packed(packer, {"a": content})[1]
    connector = open_bytes(patched(archive, central(archive, b"a") + 24, "<I", len(content) + by))
    with pytest.raises(DatasetFileCorruptError, match="can't read a in zip"):
        read_all(connector, "a")


@pytest.mark.parametrize("packer", ["deflated", "bz2", "lzma"])
def test_a_member_that_holds_more_than_it_says(packer):
    content = compressible(200_000)
    archive = packed(packer, {"a": content})[1]
    at = central(archive, b"a")
    archive = patched(archive, at + 16, "<I", zlib.crc32(content[:150_000]))
    connector = open_bytes(patched(archive, at + 24, "<I", 150_000))
    with pytest.raises(DatasetFileCorruptError, match="more than the promised 150,000"):
        read_all(connector, "a")


def test_members_that_overlap():
    archive = zipped({"a": noise(1000), "b": b"2"})
    archive = patched(archive, central(archive, b"a") + 20, "<II", 1100, 1100)
    with pytest.raises(DatasetFileCorruptError, match="overlaps"):
        read_all(open_bytes(archive), "a")


def test_members_that_are_the_same_bytes():
    archive = zipped({"a": b"1", "b": b"1"})
    connector = open_bytes(patched(archive, central(archive, b"b") + 42, "<I", 0))
    for call in (lambda: read_all(connector, "a"), lambda: list(connector.list_resources())):
        with pytest.raises(DatasetFileCorruptError, match="members overlap"):
            call()


def test_a_directory_that_points_elsewhere():
    archive = zipped({"a": b"1", "b": b"2"})
    for at in (5, len(archive) + 100, 2**32 - 2):
        connector = open_bytes(patched(archive, central(archive, b"b") + 42, "<I", at))
        with pytest.raises(DatasetFileCorruptError):
            read_all(connector, "b")


@pytest.mark.parametrize("packer", ["deflated", "bz2", "lzma"])
def test_bombs_in_a_zip(packer):
    archive = packed(packer, {"a": bytes(40 * MIB)})[1]
    with pytest.raises(DatasetFileCorruptError, match=r"would become 41,943,040; max_ratio="):
        open_bytes(archive).get_resource("a")
    connector = open_bytes(archive, max_ratio=1_000_000)
    assert connector.get_ranges("a", [(0, 40 * MIB)]) == [bytes(40 * MIB)]


@pytest.mark.parametrize("compression", ["gz", "bz2", "xz"])
def test_bombs_that_are_a_tar(compression):
    store = Recording(tarred({"a": bytes(40 * MIB)}, compression), "a.tar")
    with pytest.raises(DatasetFileCorruptError, match="times as many"):
        list(ArchiveStorageConnector(store, "a.tar").list_resources())
    connector = ArchiveStorageConnector(store, "a.tar", max_ratio=1_000_000)
    assert connector.get_ranges("a", [(30 * MIB, 30 * MIB + 3)]) == [b"\0\0\0"]


def test_a_bomb_is_stopped_early():
    taken = []

    def pieces():
        packer = bz2.BZ2Compressor()
        for _ in range(10_000):
            piece = packer.compress(bytes(MIB))
            taken.append(len(piece))
            if piece:
                yield piece

    stream = ForwardStream(pieces(), bz2.BZ2Decompressor)
    with pytest.raises(ValueError, match="times as many"):
        stream.read(1 << 40)
    assert len(taken) < 100


def test_a_dictionary_of_gigabytes():
    content = compressible(100_000)
    archive = zipped({"a": content}, zipfile.ZIP_LZMA)
    properties = archive.index(b"\x05\x00\x5d", 30) + 2
    with pytest.raises(DatasetFileCorruptError, match="LZMA dictionary has 4,294,967,295 bytes"):
        read_all(open_bytes(patched(archive, properties + 1, "<I", 0xFFFFFFFF)), "a")
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 30}]
    assert lzma.decompress(header := lzma.compress(b"1", filters=[{"id": lzma.FILTER_LZMA2, "preset": 0}])) == b"1"
    assert len(header) < 100
    with pytest.raises(DatasetFileCorruptError):
        read_all(open_bytes(lzma.compress(tarred({"a": b"1"}), filters=filters), "a.tar.xz"), "a")


@pytest.mark.parametrize("packer", ["stored", "tar", "tar.gz"])
def test_too_many_members(packer, monkeypatch):
    name, archive = packed(packer, {f"m{number}": b"" for number in range(11)})
    monkeypatch.setattr(indexing, "MOST_MEMBERS", 10)
    with pytest.raises(DatasetFileCorruptError, match="more than 10 members"):
        list(open_bytes(archive, name).list_resources())


# Damage.


def test_a_flipped_bit_is_noticed():
    content = noise(100_000) + compressible(100_000)
    for packer in METHODS:
        archive = bytearray(packed(packer, {"a": content})[1])
        archive[5000] ^= 4
        connector = open_bytes(bytes(archive))
        with pytest.raises(DatasetFileCorruptError, match="can't read a in zip::memory"):
            connector.get_ranges("a", [(0, len(content))])
        if packer != "stored":
            with pytest.raises(DatasetFileCorruptError), connector.get_resource("a") as resource:
                list(resource.chunks(1000))


@pytest.mark.parametrize("at", [0, 100, 5000, -5, -400])
@pytest.mark.parametrize("compression", ["gz", "xz"])
def test_a_flipped_bit_in_a_compressed_tar_is_noticed(compression, at):
    archive = bytearray(tarred({"a": noise(10_000), "b": b"1"}, compression))
    archive[at] ^= 16
    with pytest.raises(DatasetFileCorruptError):
        list(open_bytes(bytes(archive), f"a.tar.{compression}").list_resources())


def test_a_tar_that_is_cut_off_hides_no_members():
    archive = tarred({"a": noise(1000), "b": noise(1000), "c": noise(1000)})
    ends = archive.index(b"c\0") + 512 + 1024
    for size in (0, 1, 511, 512, 513, 1536, 1537, 2048, 3072, ends - 1, ends):
        with pytest.raises(DatasetFileCorruptError, match=r"can't read tar::memory://.*/a\.tar"):
            list(open_bytes(archive[:size], "a.tar").list_resources())
    assert list(open_bytes(archive[: ends + 512], "a.tar").list_resources()) == ["a", "b", "c"]


def test_a_broken_tar_header_hides_no_members():
    archive = tarred({"a": noise(1000), "b": noise(1000), "c": noise(1000)})
    for at, block in ((archive.index(b"b\0"), b"x"), (archive.index(b"b\0") + 124, b"\xff" * 12)):
        broken = archive[:at] + block + archive[at + len(block) :]
        with pytest.raises(DatasetFileCorruptError):
            list(open_bytes(broken, "a.tar").list_resources())


@pytest.mark.parametrize("size", [-1024, -512, -1])
def test_a_tar_header_of_negative_size(size):
    """CVE-2025-8194: Python's tarfile read such an archive for ever."""
    member = tarfile.TarInfo("a")
    header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    header[124:136] = size.to_bytes(12, "big", signed=True)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    archive = tarred({"z": b"1" * 600})[:1536] + bytes(header) + bytes(1024)
    with pytest.raises(DatasetFileCorruptError):
        list(open_bytes(archive, "a.tar").list_resources())


FUZZED = {"a.txt": compressible(5000), "b/c.bin": noise(3000), "empty": b"", "d.npy": noise(40_000, 2)}


@pytest.mark.parametrize("packer", PACKERS)
@given(data=st.data())
@settings(max_examples=_DAMAGES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_damaged_archives_give_right_bytes_or_our_errors(packer, data):
    name, archive = packed(packer, FUZZED)
    damaged = bytearray(archive)
    flips = data.draw(st.lists(st.tuples(st.integers(0, len(archive) - 1), st.integers(1, 255)), max_size=3))
    for at, bits in flips:
        damaged[at] ^= bits
    damaged = bytes(damaged[: data.draw(st.integers(0, len(archive)) | st.just(len(archive)))])
    connector = open_bytes(damaged, name, kind="zip" if name == "a.zip" else "tar")
    try:
        names = list(connector.list_resources())
    except DatastackError:
        return
    for found in names:
        try:
            content = connector.get_ranges(found, [(0, connector.get_info(found).size)])[0]
            assert read_all(connector, found) == content
        except DatastackError:
            continue
        # A zip has checksums of contents, and not of names; a tar that is not compressed has none of contents.
        assert content in FUZZED.values() or packer == "tar"


@pytest.mark.parametrize(
    ("packer", "answered"),
    [("stored", 0), ("stored", 1), *((packer, answered) for packer in ("tar", "tar.gz") for answered in range(3))],
)
def test_an_archive_that_can_not_be_reached_is_not_damaged(web_server, packer, answered):
    name, archive = packed(packer, {"a": noise(300_000), "b": noise(300_000)})
    web_server.put(name, archive)
    connector = ArchiveStorageConnector(HTTPStorageConnector(web_server.url, deadline=0.2), name)
    web_server.behave(name, statuses=[*[200] * answered, *[503] * 1000])
    with pytest.raises(StorageUnavailableError):
        connector.has_resource("b")
    web_server.behave(name)
    assert connector.has_resource("b")


def test_an_archive_that_is_not_there():
    store = MemoryStorageConnector("archive-own-none")
    connector = ArchiveStorageConnector(store, "a.zip")
    for call in (lambda: connector.get_resource("m"), lambda: list(connector.list_resources())):
        with pytest.raises(ResourceNotFoundError, match=r"a\.zip is not in memory://archive-own-none"):
            call()


# One version.


@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("kind", ["file", "memory"])
def test_a_replaced_archive_never_mixes(packer, kind, tmp_path):
    name, archive = packed(packer, {"a": stamped(0, 400_000)})
    store = (
        FileStorageConnector(tmp_path) if kind == "file" else MemoryStorageConnector(f"archive-own-{next(_numbers)}")
    )
    store.set_resource(name, archive)
    connector = ArchiveStorageConnector(store, name)
    clock = random.Random(packer)
    for version in range(1, 101):
        with connector.get_resource("a") as resource:
            pieces = [resource.read(clock.randrange(1, 50_000) * 8)]
            store.set_resource(name, packed(packer, {"new": b"1", "a": stamped(version, 400_000)})[1])
            if version % 2:
                assert versions_in(read_all(connector, "a")) == {version}
            try:
                pieces.append(resource.read())
            except ResourceChangedError:
                pass
            else:
                assert sum(map(len, pieces)) == 400_000
            assert set().union(*map(versions_in, pieces)) == {version - 1}
            with pytest.raises(ResourceChangedError):
                resource.reopen().read()
        assert list(connector.list_resources()) == ["a", "new"]
    store.delete_resource(name)
    with pytest.raises(ResourceChangedError):
        pickle.loads(pickle.dumps(connector)).get_resource("a", info=resource.info)


def test_the_directory_is_read_once_for_a_version():
    store = Recording(zipped({"a": noise(1000), "b": b"2"}))
    connector = ArchiveStorageConnector(store, "a.zip")
    read_all(connector, "a")
    read_all(connector, "b")
    store.calls.clear()
    connector.get_info("a")
    list(connector.list_resources())
    assert store.calls == []


@pytest.mark.parametrize("packer", PACKERS)
def test_a_pickle_holds_the_directory_if_it_is_to(packer):
    contents = {f"m{number}": compressible(3000, number) for number in range(30)}
    name, archive = packed(packer, contents)
    connector = open_bytes(archive, name, keep_directory=True)
    infos = [info for _, info in connector.scan_resources()]
    copy = pickle.loads(pickle.dumps(connector))
    copy._connector.calls.clear()
    assert copy.read_resources(infos) == [contents[info.identifier] for info in infos]
    if name.count(".") == 1:
        assert len(copy._connector.calls) == 1
    assert list(copy.scan_resources()) == list(connector.scan_resources())
    connector._connector.set_resource(name, packed(packer, {"m1": b"other"})[1])
    assert pickle.loads(pickle.dumps(copy)).read_resources(["m1"]) == [b"other"]


def test_a_pickle_holds_no_directory():
    store = MemoryStorageConnector(f"archive-own-{next(_numbers)}")
    store.set_resource("a.zip", zipped({f"m{number}": b"" for number in range(2000)}))
    connector = ArchiveStorageConnector(store, "a.zip")
    before = len(pickle.dumps(connector))
    assert len(list(connector.list_resources())) == 2000
    assert len(pickle.dumps(connector)) == before
    assert pickle.loads(pickle.dumps(connector)).has_resource("m7")


# URLs.


@pytest.fixture
def lab():
    store = MemoryStorageConnector("archive-own-lab")
    store.set_resource("birds.zip", zipped({"a/b.txt": b"hoo", "in.tar.gz": tarred({"x/y": b"inner"}, "gz")}))
    store.set_resource("deep/birds.tgz", tarred({"a": b"1"}, "gz"))
    return store


@pytest.mark.parametrize(
    ("url", "store", "identifier"),
    [
        ("zip://a/b.txt::memory://x/birds.zip", "zip::memory://x/birds.zip", "a/b.txt"),
        ("tar://a::file:///x.tar.gz", "tar::file:///x.tar.gz", "a"),
        ("tar://y::zip://in.tar::s3://lab/a.zip", "tar::zip://in.tar::s3://lab/a.zip", "y"),
        ("zip::memory://x/birds.zip", "zip::memory://x/birds.zip", ""),
    ],
)
def test_splits_urls(url, store, identifier):
    assert ArchiveStorageConnector.split_url(url) == (store, identifier)


@pytest.mark.parametrize("url", ["zip://a/b.txt", "rar::memory://x/a.rar", "memory://x/a.zip"])
def test_refuses_other_urls(url):
    for method in (ArchiveStorageConnector.split_url, ArchiveStorageConnector.from_url):
        with pytest.raises(ConfigError, match="zip::<its own URL>"):
            method(url)


@pytest.mark.parametrize(
    ("url", "content"),
    [
        ("zip://a/b.txt::memory://archive-own-lab/birds.zip", b"hoo"),
        ("tar://a::memory://archive-own-lab/deep/birds.tgz", b"1"),
        ("tar://x/y::zip://in.tar.gz::memory://archive-own-lab/birds.zip", b"inner"),
    ],
)
def test_opens_urls(lab, url, content):
    store_url, identifier = registry.split_resource_url(url)
    connector = registry.connector_for(store_url, read_only=True)
    assert read_all(connector, identifier) == content
    assert connector.url == store_url
    assert read_all(registry.connector_for(connector.url), identifier) == content


def test_a_url_can_start_from_a_folder(lab, tmp_path):
    connector = registry.connector_for("zip://a::memory://archive-own-lab/birds.zip")
    assert list(connector.list_resources()) == ["b.txt"]
    assert connector.url == "zip://a::memory://archive-own-lab/birds.zip"
    (tmp_path / "x.tar").write_bytes(tarred({"a": b"1"}))
    assert read_all(registry.connector_for(f"tar::{(tmp_path / 'x.tar').as_uri()}", fsync=False), "a") == b"1"


def test_options_are_those_of_the_store_within(lab):
    with pytest.raises(ConfigError, match=r"unknown option 'colour'.*max_ratio, read_only"):
        registry.connector_for("zip::memory://archive-own-lab/birds.zip", colour=1)


def test_refuses_writes():
    connector = open_bytes(zipped({"a": b"1"}))
    assert connector.read_only
    for write in (
        lambda: connector.set_resource("a", iter(lambda: pytest.fail("the source was read"), None)),
        lambda: connector.delete_resource("a"),
        lambda: connector.sweep(),
    ):
        with pytest.raises(ReadOnlyStorageError):
            write()


# Streams.


@given(
    content=st.binary(max_size=3000),
    piece=st.integers(1, 100),
    reads=st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)), max_size=10),
)
@settings(max_examples=200, deadline=None)
def test_streams_read_forward(content, piece, reads):
    packed = gzip.compress(content)
    pieces = (packed[at : at + piece] for at in range(0, len(packed), piece))
    stream, model = ForwardStream(pieces, lambda: Inflater(31)), io.BytesIO(content)
    for skip, size in reads:
        stream.seek(stream.tell() + skip)
        model.seek(min(model.tell() + skip, len(content)))
        assert stream.read(size) == model.read(size)
        assert stream.tell() == model.tell()
