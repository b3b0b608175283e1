"""Folders and archives of files: which count, their labels, what becomes of them, and what they cost."""

import io
import json
import pickle
import sys
import tarfile
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from datastack_fs import load_split, open_dataset, random_split, save_split
from datastack_fs.connectors import ArchiveStorageConnector, FileStorageConnector, MemoryStorageConnector
from datastack_fs.errors import (
    ConfigError,
    DatasetFileCorruptError,
    DatasetNotFoundError,
    MissingDependencyError,
    ResourceChangedError,
    ResourceNotFoundError,
    UnknownPluginError,
)
from datastack_fs.formats.files import FilesDatasetIterator
from datastack_fs.identifiers import is_identifier
from datastack_fs.testing import DatasetIteratorTests
from datastack_fs.testing.iterators import assert_same
from harness.cases import files as cases
from harness.counting import CountingStore
from harness.stores import tarred, unique, zipped

BIRDS = {"owl/1.txt": b"hoo", "owl/2.txt": b"hoo hoo", "wren/1.txt": b"tsk"}


def stored(contents, connector=None):
    connector = connector or MemoryStorageConnector(unique("files-own"))
    for name, content in contents.items():
        connector.set_resource(name, content)
    return connector


def samples(contents, prefix="", **options):
    return [sample for sample, _, _ in FilesDatasetIterator(stored(contents), prefix, **options)]


class TestFolder(DatasetIteratorTests):
    @pytest.fixture
    def iterator(self, store):
        return open_dataset("birds", storage=stored({f"birds/{name}": each for name, each in BIRDS.items()}, store))

    @pytest.fixture
    def expected(self):
        return [(each.decode(), name.startswith("wren"), f"birds/{name}") for name, each in BIRDS.items()]


class TestImagesInACompressedTar(DatasetIteratorTests):
    @pytest.fixture
    def iterator(self, tmp_path):
        contents = {f"{number}.png": cases.image(number) for number in range(6)}
        with tarfile.open(tmp_path / "birds.tar.gz", "w:gz") as archive:
            for name, content in contents.items():
                (tmp_path / name).write_bytes(content)
                archive.add(tmp_path / name, name)
        labels = {name: number % 3 for number, name in enumerate(contents)}
        return open_dataset(tmp_path / "birds.tar.gz", labels=labels, mode="L")

    @pytest.fixture
    def expected(self):
        images = [Image.open(io.BytesIO(cases.image(number))).convert("L") for number in range(6)]
        return [(np.array(image), number % 3, f"{number}.png") for number, image in enumerate(images)]


class TestGroups(DatasetIteratorTests):
    @pytest.fixture
    def iterator(self):
        contents = {}
        for number in range(5):
            contents |= {f"{number}.txt": b"owl %d" % number, f"{number}.cls": b"%d\n" % (number % 2)}
            contents |= {f"{number}.seg.JSON": json.dumps({"number": number}).encode()}
        connector = stored({"shard.tar": tarred(contents)})
        return open_dataset("shard.tar", storage=connector, group=True, labels=".cls")

    @pytest.fixture
    def expected(self):
        return [
            ({".txt": f"owl {number}", ".seg.json": {"number": number}}, number % 2, str(number)) for number in range(5)
        ]


# Opening.


def test_a_folder_opens_by_every_address(tmp_path, monkeypatch):
    stored({f"birds/{name}": content for name, content in BIRDS.items()}, FileStorageConnector(tmp_path / "lab"))
    (tmp_path / "lab" / "birds.zip").write_bytes(zipped(BIRDS))
    (tmp_path / "link").symlink_to(tmp_path / "lab" / "birds")
    monkeypatch.chdir(tmp_path / "lab")
    addresses = ["./birds", "birds", "birds/", tmp_path / "link", f"file://{tmp_path}/lab/birds", "birds.zip"]
    addresses += ["zip::./birds.zip"]
    for address in addresses:
        iterator = open_dataset(address, labels="folder")
        assert iterator.targets().tolist() == [0, 0, 1], address
        assert [sample for sample, _, _ in iterator] == ["hoo", "hoo hoo", "tsk"]
    for address in ("zip://owl::./birds.zip", "zip://owl/::./birds.zip"):
        assert len(open_dataset(address, labels=None)) == 2
    assert len(open_dataset("birds", storage=f"local://{tmp_path}/lab", labels=None, auto_mkdir=False)) == 3
    for name in ("birds", "birds/", "birds.zip"):
        assert len(open_dataset(name, storage=tmp_path / "lab")) == 3
        assert len(open_dataset(name, storage=tmp_path / "lab", format="files")) == 3
    assert open_dataset(tmp_path / "lab" / "birds").meta.name == "birds"
    assert open_dataset("birds.zip", prefix="owl/").targets().tolist() == [None, None]


def test_a_whole_store_is_a_folder():
    connector = stored(BIRDS)
    for iterator in (
        open_dataset(connector.url),
        open_dataset(f"{connector.url}/"),
        open_dataset("", storage=connector),
    ):
        assert iterator.tags().tolist() == list(BIRDS)
        assert iterator.meta.class_names == ("owl", "wren")


@pytest.mark.parametrize("ending", [".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip", ".TAR.GZ"])
def test_an_archive_is_told_by_its_ending(ending):
    stream = io.BytesIO()
    if "t" in ending.lower():
        kind = ending.lower().replace("tgz", "gz").rpartition(".")[2].replace("tar", "")
        with tarfile.open(fileobj=stream, mode=f"w:{kind}") as archive:
            for name, content in BIRDS.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    content = stream.getvalue() or zipped(BIRDS)
    connector = stored({f"a/birds{ending}": content, "birds": content})
    assert len(open_dataset(f"a/birds{ending}", storage=connector)) == 3
    assert len(open_dataset("birds", storage=connector, format="files")) == 3
    with pytest.raises(UnknownPluginError, match=r"files \(\.zip \.tar"):
        open_dataset("birds", storage=connector)


def test_an_npz_is_no_archive_of_files():
    stream = io.BytesIO()
    np.savez(stream, x=np.arange(4))
    assert len(open_dataset("a.npz", storage=stored({"a.npz": stream.getvalue()}))) == 4


def test_what_is_neither_a_file_nor_a_folder_is_not_found(tmp_path):
    connector = stored({"birds/owl.txt": b"hoo"})
    with pytest.raises(ResourceNotFoundError, match="bird is not in memory://"):
        open_dataset("bird", storage=connector)
    with pytest.raises(ResourceNotFoundError, match="no file in bird/ in memory://"):
        open_dataset("bird/", storage=connector)
    with pytest.raises(ResourceNotFoundError, match="no file in file:///"):
        open_dataset(tmp_path)
    with pytest.raises(ConfigError, match="birds/ is a folder, and format='npy' reads one file"):
        open_dataset("birds/", storage=connector, format="npy")
    with pytest.raises(ResourceNotFoundError):
        open_dataset("birds", storage=connector, format="npy")


def test_unknown_options_are_refused_with_the_known_ones(tmp_path):
    stored(BIRDS, FileStorageConnector(tmp_path))
    with pytest.raises(ConfigError, match=r"'colour' .*; file:// takes fsync, read_only; files takes classes, c"):
        open_dataset(tmp_path, colour="red")
    (tmp_path / "a.zip").write_bytes(zipped(BIRDS))
    with pytest.raises(ConfigError, match=r"'colour' .*; files takes classes, c"):
        open_dataset(tmp_path / "a.zip", colour="red")


# Which files, and their labels.


def test_what_systems_leave_behind_is_passed_over():
    junk = [".DS_Store", "owl/.DS_Store", "owl/Thumbs.db", "__MACOSX/owl/._1.txt", ".git/config", "owl/desktop.ini"]
    assert samples({**BIRDS, **dict.fromkeys(junk, b"junk")}) == ["hoo", "hoo hoo", "tsk"]
    with pytest.raises(ResourceNotFoundError):
        samples(dict.fromkeys(junk, b"junk"))


def test_endings_choose():
    contents = {"a.TXT": b"1", "b.md": b"2", "c.txt": b"3", "d": b"4"}
    assert samples(contents, endings=".txt") == samples(contents, endings=["txt"]) == ["1", "3"]
    assert samples(contents, endings=(".md", ".txt")) == ["1", b"2", "3"]
    with pytest.raises(
        DatasetNotFoundError, match=r"none of the 4 files in .* \.png; there are 2 \.txt, 1 \.md, 1 with"
    ):
        samples(contents, endings=".png")


def test_folders_are_classes_if_all_files_lie_in_some():
    iterator = FilesDatasetIterator(stored({"b/x/1": b"", "b/y/2": b"", "a/1": b""}))
    assert iterator.targets().tolist() == [0, 1, 1]
    assert iterator.meta.class_names == ("a", "b")
    mixed = stored({"a/1": b"", "2": b""})
    assert FilesDatasetIterator(mixed).targets().tolist() == [None, None]
    assert FilesDatasetIterator(mixed).meta.class_names is None
    with pytest.raises(DatasetNotFoundError, match=r"1 of 2 files lie in no folder .* 2 among them; labels=None"):
        FilesDatasetIterator(mixed, labels="folder")


def test_classes_have_the_order_that_is_asked_for():
    iterator = FilesDatasetIterator(stored(BIRDS), classes=["wren", "finch", "owl"])
    assert iterator.targets().tolist() == [2, 2, 0]
    assert iterator.meta.class_names == ("wren", "finch", "owl")
    numbered = FilesDatasetIterator(stored(BIRDS), labels=dict(zip(BIRDS, [1, 0, 1], strict=True)), classes=["a", "b"])
    assert (numbered.targets().tolist(), numbered.meta.class_names) == ([1, 0, 1], ("a", "b"))
    with pytest.raises(DatasetNotFoundError, match=r"has 1, 2, not among classes=\['a', 'b'\]"):
        FilesDatasetIterator(stored(BIRDS), labels=dict(zip(BIRDS, [1, 1, 2], strict=True)), classes=["a", "b"])
    with pytest.raises(DatasetNotFoundError, match=r"has wren, not among classes=\['owl'\]"):
        FilesDatasetIterator(stored(BIRDS), classes=["owl"])
    with pytest.raises(ValueError, match="twice"):
        FilesDatasetIterator(stored(BIRDS), classes=["owl", "owl", "wren"])


@pytest.mark.parametrize(
    ("name", "table", "targets", "class_names"),
    [
        ("t.csv", "file,label\nwren/1.txt,w\nowl/1.txt,o\n", [1, 0], ("o", "w")),
        ("t.csv", "\ufefflabel,filename\r\n7,./wren/1.txt\r\n-3,owl/1.txt\r\n\r\n", [7, -3], None),
        ("t.csv", 'file_name,target\n"wren/1.txt",0.5\nowl/1.txt,2\n', [0.5, 2.0], None),
        ("t.csv", "path,class\nwren/1.txt,007\nowl/1.txt,7\n", [0, 1], ("007", "7")),
        ("t.tsv", "image\ty\nwren/1.txt\ta b\nowl/1.txt\ta,b\n", [0, 1], ("a b", "a,b")),
        ("t.jsonl", '{"file": "wren/1.txt", "label": 2}\n\n{"file": "owl/1.txt", "label": 1}', [2, 1], None),
        ("sub/t.ndjson", '{"id": "wren/1.txt", "y": "b"}\n{"id": "owl/1.txt", "y": "a"}\n', [1, 0], ("a", "b")),
    ],
)
def test_a_table_has_the_labels(name, table, targets, class_names):
    connector = stored({**BIRDS, name: table.encode()})
    iterator = FilesDatasetIterator(connector, labels=name)
    assert iterator.targets().tolist() == targets
    assert iterator.meta.class_names == class_names
    assert iterator.tags().tolist() == ["wren/1.txt", "owl/1.txt"]
    assert iterator[0][0] == "tsk"


@pytest.mark.parametrize(
    ("name", "table", "error", "message"),
    [
        ("t.csv", "file,label\nowl/1.txt\n", DatasetFileCorruptError, "t.csv in memory://.*, line 2: 1 values"),
        ("t.csv", 'file,label\n"owl/1.txt,1\n', DatasetFileCorruptError, "line 2: unexpected end of data"),
        ("t.csv", "file,label\na,1\na,2\n", DatasetFileCorruptError, "line 3: a is there already"),
        ("t.csv", "file,label\n", DatasetFileCorruptError, "no rows"),
        ("t.csv", "", DatasetFileCorruptError, "no rows"),
        ("t.csv", "bird,label\na,1\n", DatasetNotFoundError, r"has the columns bird, label: say columns=\("),
        ("t.csv", "file,label\n\udcff,1\n", DatasetFileCorruptError, "no UTF-8 at byte 11"),
        (
            "t.csv",
            "file,label\nfinch.txt,1\n",
            DatasetNotFoundError,
            "1 of 1 files that have a label are not.*finch",
        ),
        ("t.jsonl", '{"file": "a", "label": 1}\n{"file', DatasetFileCorruptError, "line 2: no JSON"),
        ("t.jsonl", "[1]", DatasetFileCorruptError, r"line 1: \[1\] is no object"),
        ("t.jsonl", '{"file": "a", "label": [1]}', DatasetFileCorruptError, r"line 1: 'a' with \[1\] is no"),
        ("t.jsonl", '{"file": "a", "label": 1}\n{"file": "b"}', DatasetNotFoundError, "line 2: no column 'label'"),
    ],
)
def test_a_broken_table_names_its_line(name, table, error, message):
    connector = stored({**BIRDS, name: table.encode(errors="surrogateescape")})
    with pytest.raises(error, match=message):
        FilesDatasetIterator(connector, labels=name)


def test_a_mapping_has_the_labels():
    iterator = FilesDatasetIterator(stored(BIRDS), labels={"wren/1.txt": "b", "owl/1.txt": "a"}, classes=["b", "a"])
    assert iterator.targets().tolist() == [0, 1]
    assert [tag for _, _, tag in iterator] == ["wren/1.txt", "owl/1.txt"]
    with pytest.raises(DatasetNotFoundError, match="names no file"):
        FilesDatasetIterator(stored(BIRDS), labels={})
    with pytest.raises(ValueError, match=r"labels='species': it is 'auto', 'folder', None, a mapping, or the"):
        FilesDatasetIterator(stored(BIRDS), labels="species")


segments = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=8)
names = st.lists(segments, min_size=1, max_size=3).map("/".join).filter(is_identifier)


@given(names=st.lists(names, min_size=1, max_size=8, unique=True), prefix=st.sampled_from(["", "data", "data/x/"]))
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
def test_every_name_gives_its_own_bytes(names, prefix):
    folder = f"{prefix.rstrip('/')}/" if prefix else ""
    contents = {f"{folder}{name}": name.encode() for name in names}
    connector = stored({**contents, "datum": b"no part of a folder"})
    shown = [name for name in sorted(names) if not any(part.startswith(".") for part in name.split("/"))]
    if folder == "":
        shown = sorted({*shown, "datum"})
        contents["datum"] = b"no part of a folder"
    if not shown:
        return
    iterator = FilesDatasetIterator(connector, prefix, decode="bytes", labels=None)
    copy = pickle.loads(pickle.dumps(iterator))
    for each in (iterator, copy):
        assert each.tags().tolist() == [f"{folder}{name}" for name in shown]
        assert [sample for sample, _, _ in each] == [contents[f"{folder}{name}"] for name in shown]
    if all("/" in name for name in shown):
        by_folder = FilesDatasetIterator(connector, prefix, decode="bytes")
        found = [by_folder.meta.class_names[target] for target in by_folder.targets()]
        assert found == [name.partition("/")[0] for name in shown]


def test_a_saved_split_is_bound_to_the_names_of_the_files(tmp_path):
    contents = {f"{kind}/{number}.txt": b"" for kind in "ab" for number in range(10)}
    train, test = random_split(FilesDatasetIterator(stored(contents)), [0.5, 0.5], seed=1)
    save_split([train, test], tmp_path / "split.json")
    moved = open_dataset("x/birds.zip", storage=stored({"x/birds.zip": zipped(contents)}))
    assert load_split(moved, tmp_path / "split.json")[0].tags().tolist() == train.tags().tolist()
    renamed = {name.replace("a/0", "a/99"): content for name, content in contents.items()}
    with pytest.raises(ValueError, match=r"of other data: .*/ \(names:"):
        load_split(FilesDatasetIterator(stored(renamed)), tmp_path / "split.json")


# What becomes of them.


def saved(array):
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def test_files_are_decoded_by_their_ending():
    image = cases.image(1)
    contents = {"a.TXT": "ü".encode(), "b.json": b'{"a": [1]}', "c.npy": saved(np.arange(3)), "d.PNG": image, "e": b"x"}
    expected = ["ü", {"a": [1]}, np.arange(3), cases.pixels_of(image), b"x"]
    assert_same(samples(contents), expected)
    assert samples(contents, decode="bytes") == list(contents.values())
    assert samples({"a.bin": "ü".encode()}, decode="text") == ["ü"]
    assert_same(samples({"a.bin": image}, decode="image"), [cases.pixels_of(image)])
    assert samples(contents, decode=len) == [len(content) for content in contents.values()]
    with pytest.raises(ValueError, match="decode='picture': it is one of auto, image, text, bytes, or a function"):
        samples(contents, decode="picture")


def test_no_object_is_unpickled():
    with pytest.raises(DatasetFileCorruptError, match=r"a\.npy in memory://.* can't be decoded: ValueError: .*pickle"):
        samples({"a.npy": saved(np.array([{}], dtype=object))})


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("owl.txt", b"ab\xff", "position 2"),
        ("owl.json", b"{", "JSONDecodeError"),
        ("owl.npy", b"\x93NUMPY", "EOF"),
        ("owl.npy", saved(np.arange(3)) + b"x", "goes on after the end"),
        ("owl.png", b"", "no image of a known kind .* begins with nothing"),
        ("owl.png", b"<html></html>", "no image of a known kind .* begins with 3c 68 74 6d 6c"),
        ("owl.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no image of a known kind"),
        ("owl.png", cases.image(1)[:-30], "damaged image"),
        ("owl.jpg", cases.image(1, "JPEG", size=(64, 64))[:-500], "damaged image: OSError: .*truncated"),
    ],
)
def test_a_file_that_cannot_be_decoded_names_itself(name, content, message):
    iterator = FilesDatasetIterator(stored({"birds/wren.bin": b"", f"birds/{name}": content}), "birds/")
    with pytest.raises(DatasetFileCorruptError, match=rf"birds/{name} in memory://\S* .*{message}"):
        iterator[0 if name < "wren" else 1]
    assert iterator.view([1])[0][0] == b""


def test_an_error_of_the_own_function_names_the_file():
    with pytest.raises(DatasetFileCorruptError, match=r"b in memory:.* can't be decoded: ValueError: .*'x'") as caught:
        samples({"a": b"1", "b": b"x"}, decode=int)
    assert isinstance(caught.value.__cause__, ValueError)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_images_of_every_kind(kind):
    content = cases.image(3, kind, size=(33, 17))
    (sample,) = samples({f"a.{kind.lower()}": content}, mode="RGB")
    assert_same(sample, np.array(Image.open(io.BytesIO(content)).convert("RGB")))
    assert sample.shape == (17, 33, 3)
    assert sample.flags.writeable


def test_modes():
    grey, palette = cases.image(1, mode="L"), cases.image(1, mode="P")
    deep = io.BytesIO()
    Image.fromarray(np.array([[0, 40_000]], dtype=np.uint16)).save(deep, "PNG")
    contents = {"a.png": grey, "b.png": palette, "c.png": deep.getvalue()}
    found = samples(contents)
    assert [each.shape for each in found] == [(4, 5), (4, 5), (1, 2)]
    assert found[2].max() == 40_000
    del contents["c.png"]
    assert [each.shape for each in samples(contents, mode="RGB")] == [(4, 5, 3)] * 2
    with pytest.raises(DatasetFileCorruptError, match=r"c\.png .* more than 8 bits .* would cut off: mode=None"):
        samples({"c.png": deep.getvalue()}, mode="L")
    with pytest.raises(ValueError, match="mode='rgb': Pillow knows 1, CMYK"):
        samples(contents, mode="rgb")


def test_images_stand_upright():
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    content = cases.image(1, "PNG", size=(5, 4), exif=exif)
    (sample,) = samples({"a.png": content})
    assert_same(sample, np.rot90(cases.pixels_of(content), -1))
    assert sample.shape == (5, 4, 3)


def test_an_image_of_too_many_pixels_is_not_decoded():
    bomb = b"P5 60000 60000 255 " + b"x" * 100
    for content, options in ((bomb, {}), (cases.image(1, size=(20, 20)), {"max_pixels": 399})):
        with pytest.raises(DatasetFileCorruptError, match=r"owl\.png in memory://.*(max_pixels|exceeds limit)"):
            samples({"owl.png": content}, **options)
    assert len(samples({"owl.png": cases.image(1, size=(20, 20))}, max_pixels=400)) == 1


@given(data=st.data())
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
def test_a_damaged_image_is_an_error_or_an_image(data):
    kind = data.draw(st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"]))
    content = bytearray(cases.image(2, kind, size=(9, 9)))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    del content[data.draw(st.integers(1, len(content))) :]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of what it can go on without
        try:
            (sample,) = samples({"owl.png": bytes(content)}, max_pixels=10_000)
        except DatasetFileCorruptError:
            return
    assert isinstance(sample, np.ndarray)


def test_without_pillow_images_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.setattr("datastack_fs.plugins.is_installed", lambda package: package != "PIL")
    with pytest.raises(MissingDependencyError, match=r"reading images needs PIL: pip install 'datastack-fs\[images\]'"):
        FilesDatasetIterator(stored({"a.png": b""}))
    assert samples({"a.txt": b"hoo"}) == ["hoo"]
    assert samples({"a.png": b"hoo"}, decode="bytes") == [b"hoo"]


# Groups.


def test_groups_are_by_the_first_dot_of_the_last_segment():
    contents = {"v1.0/a.x.txt": b"1", "v1.0/a.y.txt": b"2", "v1.0/a-b.txt": b"3", "v1.0/a": b"4", "a.d/a.txt": b"5"}
    iterator = FilesDatasetIterator(stored(contents), group=True)
    assert [(sample, tag) for sample, _, tag in iterator] == [
        ({".txt": "5"}, "a.d/a"),
        ({"": b"4", ".x.txt": "1", ".y.txt": "2"}, "v1.0/a"),
        ({".txt": "3"}, "v1.0/a-b"),
    ]
    by_folder = FilesDatasetIterator(stored(contents), group=True, labels="folder")
    assert by_folder.targets().tolist() == [0, 1, 1]


def test_targets_of_groups_read_their_own_files_alone():
    store = CountingStore(unique("groups"))
    contents = {f"{number}.{ending}": b"3" for number in range(4) for ending in ("txt", "cls")}
    iterator = FilesDatasetIterator(stored(contents, store), group=True, labels=".cls")
    assert iterator.targets().tolist() == [3, 3, 3, 3]
    assert len(store.requests) == 4


def test_groups_that_cannot_be_read_say_why():
    contents = {"a.txt": b"", "a.cls": b"", "b.txt": b""}
    with pytest.raises(DatasetNotFoundError, match=r"has no \.cls for b, only \.txt"):
        FilesDatasetIterator(stored(contents), group=True, labels=".cls")
    with pytest.raises(DatasetFileCorruptError, match="two files of one ending for a"):
        FilesDatasetIterator(stored({"a.txt": b"", "a.TXT": b""}), group=True)
    with pytest.raises(ValueError, match="with group=True"):
        FilesDatasetIterator(stored(contents), group=True, labels={"a.txt": 1})


# What it costs, and other versions.


class ListingOnce(CountingStore):
    """Counts listings and look-ups, too."""

    def __init__(self, name):
        super().__init__(name)
        self.listed, self.looked_up = 0, 0

    def _scan(self, prefix):
        self.listed += 1
        return super()._scan(prefix)

    def _stat(self, identifier):
        self.looked_up += 1
        return super()._stat(identifier)


def test_one_listing_and_one_request_for_each_file():
    store = stored({f"owl/{number}.txt": b"hoo" for number in range(20)}, ListingOnce(unique("costs")))
    iterator = FilesDatasetIterator(store)
    assert (store.listed, store.looked_up, len(store.requests)) == (1, 0, 0)
    iterator.targets()
    iterator.tags()
    iterator.shuffle(seed=1)[3:].targets()
    assert (store.listed, store.looked_up, len(store.requests)) == (1, 0, 0)
    copy = pickle.loads(pickle.dumps(iterator))
    copy.take([3, 1, 3, 2])
    seen = copy._connector
    assert (seen.listed, seen.looked_up, len(seen.requests)) == (1, 0, 3)


def test_a_batch_of_an_archive_is_one_request():
    store = stored({"a.zip": zipped(BIRDS)}, CountingStore(unique("costs")))
    iterator = open_dataset("a.zip", storage=store)
    store.requests.clear()
    iterator.take([2, 0, 1])
    assert len(store.requests) == 1


@pytest.mark.parametrize("name", ["a.zip", "a.tar"])
def test_workers_do_not_read_the_directory_of_an_archive_again(name):
    contents = {name: zipped(BIRDS) if name == "a.zip" else tarred(BIRDS)}
    iterator = open_dataset(name, storage=stored(contents, CountingStore(unique("costs"))))
    copy = pickle.loads(pickle.dumps(iterator))
    store = copy._connector._connector
    store.requests.clear()
    assert [sample for sample, _, _ in copy.__getitems__([2, 0])] == ["tsk", "hoo"]
    assert len(store.requests) == 1


def test_a_hundred_thousand_files_pickle_small():
    iterator = FilesDatasetIterator(ManyNames(100_000))
    assert iterator[99_999][1:] == (9, "9/099999.txt")
    assert len(pickle.dumps(iterator)) < 50 * 100_000


class ManyNames(MemoryStorageConnector):
    """A store of many empty files."""

    def __init__(self, count):
        super().__init__(unique("many"))
        self._count = count

    def _scan(self, prefix):
        return ((name, None) for name in sorted(f"{number % 10}/{number:06}.txt" for number in range(self._count)))

    def _read_whole(self, wanted):
        return [b"" for _ in wanted]


@pytest.mark.parametrize("archived", [False, True])
def test_a_replaced_file_is_refused(archived):
    connector = stored({"a.zip": zipped(BIRDS)} if archived else BIRDS)
    iterator = FilesDatasetIterator(ArchiveStorageConnector(connector, "a.zip") if archived else connector)
    iterator[0]
    stored({"a.zip": zipped({**BIRDS, "owl/2.txt": b"wee"})} if archived else {"owl/2.txt": b"wee"}, connector)
    with pytest.raises(ResourceChangedError, match=r"owl/2\.txt"):
        iterator[1]
    connector.delete_resource("a.zip" if archived else "owl/2.txt")
    with pytest.raises(ResourceChangedError, match=r"owl/2\.txt"):
        iterator[1]
