"""Archives unpacked into a store: every member whole or not at all, and nothing that a hostile one wants."""

import gzip
import io
import random
import struct
import tarfile
import tracemalloc
import warnings
import zipfile

import pytest

from datastack_fs.connectors import MemoryStorageConnector
from datastack_fs.errors import (
    DatasetFileCorruptError,
    DatastackError,
    MalformedIdentifierError,
    MaliciousFilePathError,
    UnsupportedStorageError,
)
from datastack_fs.preprocessing import gunzip
from datastack_fs.unpacking import untar, unzip

noise = random.Random(1).randbytes
CONTENTS = {"owls/tawny.bin": noise(300_000), "owls/barn.txt": b"hoo" * 100_000, "empty": b"", "a b/ü.txt": b"x"}
ZIPS = {name: getattr(zipfile, f"ZIP_{name.upper()}") for name in ("stored", "deflated", "bzip2", "lzma")}
TARS = ["", "gz", "bz2", "xz"]
PACKERS = [*ZIPS, *(f"tar.{name}".rstrip(".") for name in TARS)]


@pytest.fixture
def memory(request):
    return MemoryStorageConnector(request.node.nodeid)


def zipped(contents, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(stream := io.BytesIO(), "w", method) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a name that is there twice
        for name, content in contents:
            file.writestr(name, content)
    return stream.getvalue()


def tarred(contents, compression="", **options):
    with tarfile.open(fileobj=(stream := io.BytesIO()), mode=f"w:{compression}", **options) as file:
        for name, content in contents:
            member = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def packed(packer, contents):
    if packer in ZIPS:
        return zipped(contents, ZIPS[packer])
    return tarred(contents, packer.partition(".")[2])


def unpack(connector, data, prefix="birds", **options):
    """Unpacks an archive that is a resource itself, under a name that leaves the kind open."""
    connector.set_resource("raw/archive", data)
    step = unzip if data[:2] == b"PK" else untar
    with connector.get_resource("raw/archive") as resource:
        return step(resource, connector, prefix, **options)


def stored(connector, prefix="birds/"):
    return {name[len(prefix) :]: connector.get_resource(name).read() for name in connector.list_resources(prefix)}


# What goes well.


@pytest.mark.parametrize("packer", PACKERS)
def test_every_member_becomes_a_resource(memory, packer):
    infos = unpack(memory, packed(packer, CONTENTS.items()))
    assert stored(memory) == CONTENTS
    assert [info.identifier for info in infos] == [f"birds/{name}" for name in CONTENTS]
    assert all(info.checksum.startswith("sha256:") for info in infos)


@pytest.mark.parametrize("packer", ["deflated", "tar.gz"])
def test_on_every_store(store, packer):
    unpack(store, packed(packer, CONTENTS.items()))
    assert stored(store) == CONTENTS
    unpack(store, packed(packer, CONTENTS.items()))
    assert stored(store) == CONTENTS, "again, the same"


@pytest.mark.parametrize("prefix", ["", "a", "a/b/"])
@pytest.mark.parametrize("packer", ["deflated", "tar"])
def test_names_begin_from_a_folder(memory, packer, prefix):
    unpack(memory, packed(packer, [("x.txt", b"1")]), prefix)
    assert memory.has_resource(f"{prefix.rstrip('/')}/x.txt".lstrip("/"))


def test_folders_are_left_out_and_leading_dots(memory, tmp_path):
    (tmp_path / "owls").mkdir()
    (tmp_path / "owls" / "barn.txt").write_bytes(b"hoo")
    with tarfile.open(fileobj=(stream := io.BytesIO()), mode="w") as file:
        file.add(tmp_path, arcname=".")
    unpack(memory, stream.getvalue())
    with zipfile.ZipFile(stream := io.BytesIO(), "w") as file:
        file.mkdir("mews") if hasattr(file, "mkdir") else file.writestr("mews/", b"")
        file.write(tmp_path / "owls", "owls")
        file.writestr("./owls/tawny.txt", b"hoot")
    unpack(memory, stream.getvalue())
    assert stored(memory) == {"owls/barn.txt": b"hoo", "owls/tawny.txt": b"hoot"}


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names(memory, format):  # noqa: A002
    name = "/".join(["x" * 190] * 4)
    unpack(memory, tarred([(name, b"1"), (name + "ü", b"2")], format=format))
    assert stored(memory) == {name: b"1", name + "ü": b"2"}


def test_a_tar_is_read_once_from_a_stream_that_cannot_seek(memory):
    class Pipe(io.RawIOBase):
        def __init__(self, data):
            self._inner = io.BytesIO(data)

        def readable(self):
            return True

        def readinto(self, buffer):
            return self._inner.readinto(memoryview(buffer)[:777])

    untar(io.BufferedReader(Pipe(tarred(CONTENTS.items(), "gz"))), memory, "birds")
    assert stored(memory) == CONTENTS


def test_memory_is_bounded(tmp_path):
    from datastack_fs.connectors import FileStorageConnector

    big = bytes(60 << 20)
    connector = FileStorageConnector(tmp_path)
    for data in (zipped([("a", big)]), tarred([("a", big)], "bz2")):
        tracemalloc.start()
        try:
            unpack(connector, data, max_ratio=1e9)
            assert tracemalloc.get_traced_memory()[1] < 16 << 20
        finally:
            tracemalloc.stop()


# Names, links, devices.

ESCAPES = ["../x", "/x", "a/../../x", "..", "a\\..\\x", "C:/x", "C:x", "./../x"]
MALFORMED = ["a//b", "x/./y", "a:b", "\x01", "x" * 201, ".datastack-x"]


@pytest.mark.parametrize("packer", ["deflated", "tar", "tar.xz"])
@pytest.mark.parametrize("name", [*ESCAPES, *MALFORMED])
def test_names_outside_the_grammar_are_refused(memory, packer, name):
    data = packed(packer, [(name, b"1")])
    with pytest.raises((MaliciousFilePathError, MalformedIdentifierError), match="raw/archive: a member's identifier"):
        unpack(memory, data)
    assert stored(memory) == {}
    assert list(memory.list_resources()) == ["raw/archive"]


def test_a_name_with_nul_in_it_is_refused(memory):
    """zipfile would cut it off there, and writes none; the headers of a tar can't hold one."""
    with pytest.raises(MaliciousFilePathError, match="NUL"):
        unpack(memory, zipped([("x@.txt", b"1")]).replace(b"x@.txt", b"x\0.txt"))


@pytest.mark.parametrize("name", ESCAPES[:4])
def test_escapes_are_called_so(memory, name):
    for data in (zipped([("good", b"1"), (name, b"1")]), tarred([(name, b"1")])):
        with pytest.raises(MaliciousFilePathError):
            unpack(memory, data)
    assert stored(memory) == {}, "the directory of a zip is checked before anything is stored"


@pytest.mark.parametrize("name", ["../x/", "/x/", "a/../../x/"])
def test_names_of_folders_too(memory, name):
    member = tarfile.TarInfo(name)
    member.type = tarfile.DIRTYPE
    for data in (zipped([(name, b"")]), tarred([(member, b"")])):
        with pytest.raises(MaliciousFilePathError):
            unpack(memory, data)


@pytest.mark.parametrize("kind", ["SYMTYPE", "LNKTYPE", "CHRTYPE", "BLKTYPE", "FIFOTYPE"])
def test_links_and_devices_are_refused(memory, kind):
    member = tarfile.TarInfo("x")
    member.type = getattr(tarfile, kind)
    member.linkname = "../../etc/passwd"
    with pytest.raises(MaliciousFilePathError, match="'x' is a link, a device or a sparse file"):
        unpack(memory, tarred([(member, b"")]))
    entry = zipfile.ZipInfo("x")
    entry.create_system = 3
    entry.external_attr = {"SYMTYPE": 0o120777, "CHRTYPE": 0o020666}.get(kind, 0o010666) << 16
    with pytest.raises(MaliciousFilePathError, match="'x' is a link, a device"):
        unpack(memory, zipped([(entry, b"/etc/passwd")]))
    assert stored(memory) == {}


@pytest.mark.parametrize("packer", ["deflated", "tar"])
@pytest.mark.parametrize("names", [("a", "a"), ("a", "./a"), ("a", "a/b"), ("a/b", "a"), ("a/b/c", "a/b")], ids=str)
def test_a_name_is_there_once(memory, packer, names):
    with pytest.raises(DatasetFileCorruptError, match=r"more than once|a file and a folder"):
        unpack(memory, packed(packer, [(name, name.encode()) for name in names]))
    assert len(stored(memory)) == (0 if packer == "deflated" else 1)


# Limits.


@pytest.mark.parametrize("packer", ["deflated", "tar.gz"])
def test_limits(memory, packer):
    data = packed(packer, CONTENTS.items())
    size = sum(map(len, CONTENTS.values()))
    for limit, text in (({"max_members": 3}, "more than 3 members"), ({"max_size": size - 1}, "bytes; max_size=")):
        with pytest.raises(DatasetFileCorruptError, match=text):
            unpack(memory, data, **limit)
    unpack(memory, data, max_members=4, max_size=size)


@pytest.mark.parametrize("packer", ["deflated", "bzip2", "lzma", "tar.gz", "tar.bz2", "tar.xz"])
def test_bombs_are_refused_in_little_memory(memory, packer):
    data = packed(packer, [("a", bytes(100 << 20))])
    tracemalloc.start()
    try:
        with pytest.raises(DatasetFileCorruptError, match="max_ratio= allows more"):
            unpack(memory, data, max_ratio=100)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()
    assert stored(memory) == {}


def test_a_zip_that_lies_about_its_sizes_is_refused(memory):
    """It says that it is small, and would fill the disk."""
    data = bytearray(zipped([("a", bytes(50 << 20))], zipfile.ZIP_BZIP2))
    directory = data.rindex(b"PK\1\2")
    struct.pack_into("<I", data, directory + 24, 1000)
    with pytest.raises(DatasetFileCorruptError, match="more than the promised 1,000 bytes"):
        unpack(memory, bytes(data))
    assert stored(memory) == {}


def test_members_that_share_bytes_are_refused(memory):
    data = bytearray(zipped([("a", noise(1000)), ("b", noise(1000))], zipfile.ZIP_STORED))
    second = data.rindex(b"PK\1\2")
    struct.pack_into("<I", data, second + 42, 0)
    with pytest.raises(DatasetFileCorruptError, match="members overlap"):
        unpack(memory, bytes(data))
    data = bytearray(zipped([("a", noise(1000)), ("b", noise(1000))], zipfile.ZIP_STORED))
    first = data.index(b"PK\1\2")
    struct.pack_into("<II", data, first + 20, 1500, 1500)
    with pytest.raises(DatasetFileCorruptError, match="overlaps what begins at"):
        unpack(memory, bytes(data))


def test_a_header_of_any_size_is_not_taken(memory):
    head = tarfile.TarInfo("x")
    head.type = tarfile.XHDTYPE
    head.size = 8 << 30
    with pytest.raises(DatasetFileCorruptError, match="a header of 8,589,934,592 bytes"):
        unpack(memory, head.tobuf(format=tarfile.GNU_FORMAT) + bytes(10240))


def test_encrypted_and_unknown(memory):
    data = bytearray(zipped([("a", b"hoo")]))
    place = data.index(b"PK\1\2")
    for offset, value, text in ((8, 1, "'birds/a' is encrypted"), (10, 97, "'birds/a' is compressed by method 97")):
        changed = bytearray(data)
        struct.pack_into("<H", changed, place + offset, value)
        with pytest.raises(UnsupportedStorageError, match=f"raw/archive: {text}"):
            unpack(memory, bytes(changed))


def test_gunzip_has_a_limit():
    data = gzip.compress(bytes(3 << 20))
    assert sum(map(len, gunzip(io.BytesIO(data), max_size=3 << 20))) == 3 << 20
    with pytest.raises(DatasetFileCorruptError, match="more than 3,145,727 bytes come out"):
        list(gunzip(io.BytesIO(data), max_size=(3 << 20) - 1))


# Damage.


@pytest.mark.parametrize("packer", PACKERS)
def test_a_part_of_an_archive_is_refused_by_name(memory, packer):
    contents = {"a": noise(5000), "b": b"hoo" * 500, "c": b""}
    data = packed(packer, contents.items())
    for size in {*range(2, len(data) - 1, len(data) // 40 + 1), len(data) - 1}:
        if packer == "tar" and not data[size - 512 :].strip(b"\0"):
            continue  # its end mark is there
        for name in list(memory.list_resources()):
            memory.delete_resource(name)
        with pytest.raises(DatasetFileCorruptError, match="raw/archive"):
            unpack(memory, data[:size])
        assert stored(memory).items() <= contents.items()


@pytest.mark.parametrize("packer", PACKERS)
def test_damage_gives_an_error_or_the_right_bytes(memory, packer):
    contents = {"a": noise(3000), "b": b"hoo" * 500, "c": b"1"}
    data = packed(packer, contents.items())
    chance = random.Random(2)
    refused = 0
    for _ in range(150):
        damaged = bytearray(data)
        damaged[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        for name in list(memory.list_resources()):
            memory.delete_resource(name)
        try:
            unpack(memory, bytes(damaged))
        except DatastackError:
            refused += 1
        wrong = [name for name, content in stored(memory).items() if contents.get(name, content) != content]
        assert packer.startswith("tar") or not wrong, "a zip has a checksum for each member"
    assert refused > 15
