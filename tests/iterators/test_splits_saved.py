"""Saved splits: small, found again on the same data wherever it lies, refused on other data, and never half read."""

import io
import json
import os
import pathlib
import stat

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datastack_fs.connectors import MemoryStorageConnector
from datastack_fs.errors import DatasetFileCorruptError
from datastack_fs.formats.hdf5 import HDF5DatasetIterator
from datastack_fs.formats.npy import NpyDatasetIterator
from datastack_fs.iterators import DatasetMeta, SequenceDatasetIterator
from datastack_fs.iterators.splits import (
    k_fold,
    load_split,
    nested_k_fold,
    random_split,
    save_split,
    stratified_split,
)
from datastack_fs.iterators.splits_fingerprint import digest

TARGETS = np.random.default_rng(1).integers(0, 5, 500)


def dataset(targets=TARGETS):
    return SequenceDatasetIterator(range(len(targets)), targets, meta=DatasetMeta("birds", "birds", tag="all"))


def numbers(view):
    return [sample for sample, _, _ in view]


def saved(views):
    stream = io.StringIO()
    save_split(views, stream)
    return stream.getvalue()


def assert_same_views(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        if isinstance(other, (list, tuple)):
            assert_same_views(one, other)
        else:
            assert numbers(one) == numbers(other)
            assert one.view_tags == other.view_tags
            assert one.meta == other.meta


@pytest.mark.parametrize(
    "views",
    [
        lambda data: random_split(data, [0.7, 0.2, 0.1], seed=1),
        lambda data: stratified_split(data, [0.7, 0.2, 0.1], seed=1, tags=["ä", "b\n", '"']),
        lambda data: k_fold(data, 4, seed=1),
        lambda data: nested_k_fold(data, 3, 2, seed=1),
        lambda data: random_split(data.view(range(50, 0, -1), "few"), [30, 20], seed=1),
        lambda data: random_split(data.shuffle(seed=3), [0.5, 0.5], seed=1),
        lambda data: [data.view([3, 3, 499, 0, 0]), data.view([])],
    ],
)
def test_a_split_is_found_again(views, tmp_path):
    data = dataset()
    made = views(data)
    path = tmp_path / "split.json"
    save_split(made, path)
    assert_same_views(load_split(data, path), made)
    assert_same_views(load_split(data.shuffle(seed=9), str(path)), made)
    with open(path) as text, open(path, "rb") as binary:
        assert_same_views(load_split(data, text), made)
        assert_same_views(load_split(data, binary), made)


def test_it_goes_to_a_store_and_back():
    made = random_split(dataset(), [0.8, 0.2], seed=1)
    connector = MemoryStorageConnector("saved-splits")
    connector.set_resource("split.json", saved(made).encode())
    with connector.get_resource("split.json") as resource:
        assert_same_views(load_split(dataset(), resource), made)


def test_it_is_small():
    data = dataset(np.zeros(100_000, dtype=np.uint8))
    assert len(saved(random_split(data, [0.9, 0.1], seed=1))) < 40_000
    assert len(saved([data[:50_000], data[50_000:]])) < 2_000


def test_a_write_is_all_or_nothing(tmp_path, monkeypatch):
    path = tmp_path / "split.json"
    path.write_text("old")
    os.umask(old := os.umask(0o077))
    save_split(random_split(dataset(), [0.8, 0.2], seed=1), path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~old
    before = path.read_text()
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("no room")))
    with pytest.raises(OSError, match="no room"):
        save_split(k_fold(dataset(), 3, seed=1), path)
    assert path.read_text() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("views", [[], [SequenceDatasetIterator(range(3))], ["train"]])
def test_what_is_no_split_is_not_saved(views):
    with pytest.raises((TypeError, ValueError)):
        saved(views)
    with pytest.raises(ValueError, match="these are of 2"):
        saved([dataset()[:3], dataset()[3:]])


# Bound to the data


def stored(file_name, images, targets, connector):
    stream = io.BytesIO()
    if file_name.endswith(".h5"):
        with h5py.File(stream, "w") as file:
            file["images"], file["labels"] = images, targets
        connector.set_resource(file_name, stream.getvalue())
        return HDF5DatasetIterator(connector.get_resource(file_name), sample="images", target="labels")
    np.save(stream, images)
    connector.set_resource(file_name, stream.getvalue())
    return NpyDatasetIterator(connector.get_resource(file_name), targets=targets)


IMAGES = np.random.default_rng(2).integers(0, 255, (500, 4, 4), dtype=np.uint8)


def test_the_same_data_in_another_place(store):
    memory = MemoryStorageConnector("saved-splits-here")
    here = stored("birds.npy", IMAGES, TARGETS, memory)
    text = saved(random_split(here, [0.8, 0.2], seed=1))
    there = stored("copies/renamed.npy", IMAGES, TARGETS, store)
    train, _ = load_split(there, io.StringIO(text))
    assert len(train) == 400
    in_memory = SequenceDatasetIterator(IMAGES, TARGETS.astype(np.uint8))
    assert len(load_split(in_memory, io.StringIO(text))[1]) == 100


@pytest.mark.parametrize(
    "other",
    [
        lambda connector: dataset(TARGETS[:-1]),
        lambda connector: dataset(np.roll(TARGETS, 1)),
        lambda connector: dataset([str(target) for target in TARGETS]),
        lambda connector: stored("birds.npy", IMAGES + 1, TARGETS, connector),
        lambda connector: stored("birds.npy", IMAGES.astype(np.int32), TARGETS, connector),
    ],
    ids=["shorter", "other order", "text", "other images", "other width"],
)
def test_other_data_is_refused_with_both_fingerprints(other):
    text = saved(
        random_split(stored("birds.npy", IMAGES, TARGETS, MemoryStorageConnector("saved-a")), [0.8, 0.2], seed=1)
    )
    with pytest.raises(
        ValueError, match=r"split of other data: of \[500 samples, targets blake2b:.*, birds.npy \(sha256:"
    ) as caught:
        load_split(other(MemoryStorageConnector("saved-b")), io.StringIO(text))
    assert not isinstance(caught.value, DatasetFileCorruptError)
    found = str(caught.value).partition("this is [")[2]
    assert "samples, targets blake2b:" in found
    assert found not in str(caught.value).partition("this is [")[0]


def test_digests_of_different_labels_differ():
    different = [
        [], [0], [0, 1], [1, 0], ["a", "b"], ["ab", ""], [b"a", b"b"], [None, None], [0.5, 1.5], [float("nan"), 0.0],
        [1, "1"], [(1, 2), (3,)], [(1,), (2, 3)], [{"a": 1}, {"b": 1}], [2**70, 0], [1, 2.0], [1 + 2j, 0],
        np.array([[0, 1], [1, 0]]), np.array([[0, 1, 1, 0]]), np.array([0.1, 0.2], dtype=np.float32),
        np.array([2**64 - 1, 0], dtype=np.uint64), np.array(["2024-01-01", "NaT"], dtype="M8[D]"),
    ]  # fmt: skip
    digests = [digest(SequenceDatasetIterator(range(len(labels)), labels).targets()) for labels in different]
    assert len(set(digests)) == len(different)


def test_a_digest_does_not_depend_on_the_array():
    for dtype in (np.uint8, np.int16, ">i8", np.uint64, object, bool):
        assert digest(np.array([1, 0, 1]).astype(dtype)) == digest(np.array([1, 0, 1]))
    words = np.array(["owl", "wren"])
    assert digest(words) == digest(words.astype(object))
    assert digest(np.array([0.5, 1.5])) == digest(np.array([0.5, 1.5], dtype=object))
    assert digest(np.array([1, 2, 2**70], dtype=object)) != digest(np.array([1, 2, 3]))


# Broken files

SPLIT = saved(random_split(dataset(TARGETS[:60]), [0.8, 0.2], seed=1))


def loads_or_says_so(text):
    try:
        views = load_split(dataset(TARGETS[:60]), io.BytesIO(text) if isinstance(text, bytes) else io.StringIO(text))
    except (DatasetFileCorruptError, ValueError):
        return
    while views:
        view = views.pop()
        if isinstance(view, list):
            views += view
        else:
            assert all(0 <= number < 60 for number in numbers(view))


@settings(max_examples=200)
@given(st.integers(0, len(SPLIT)))
def test_a_truncated_file_is_an_error(length):
    if length < len(SPLIT.rstrip()):
        with pytest.raises(DatasetFileCorruptError, match="no split file"):
            load_split(dataset(TARGETS[:60]), io.StringIO(SPLIT[:length]))


@settings(max_examples=200)
@given(st.integers(0, len(SPLIT) - 1), st.integers(0, 255))
def test_a_changed_byte_is_an_error_or_a_split(place, byte):
    content = bytearray(SPLIT.encode())
    content[place] = byte
    loads_or_says_so(bytes(content))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=9,
)


@settings(max_examples=300)
@given(st.sampled_from(["fingerprint", "views", "version", "length", "steps", "indices", "tags", "view"]), JSON)
def test_any_other_json_is_an_error_or_a_split(field, value):
    document = json.loads(SPLIT)
    if field in document:
        document[field] = value
    elif field == "view":
        document["views"][0] = value
    else:
        document["views"][0][field] = value
    loads_or_says_so(json.dumps(document))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no split file"),
        ("[" * 100_000, "no split file"),
        ("[]", "save_split writes them"),
        ("{}", "save_split writes them"),
        (SPLIT.replace('"version": 1', '"version": 2'), "version 2; this release reads 1"),
        (b"\xff\xfe\x00", "no split file"),
    ],
    ids=["empty", "deep", "list", "object", "later version", "no text"],
)
def test_what_is_no_split_file(text, message):
    with pytest.raises(DatasetFileCorruptError, match=message):
        load_split(dataset(), io.BytesIO(text) if isinstance(text, bytes) else io.StringIO(text))


def test_indices_that_unpack_to_too_much_are_refused():
    import base64
    import zlib

    document = json.loads(SPLIT)
    document["views"][0]["indices"] = base64.b64encode(zlib.compress(bytes(50_000_000))).decode()
    with pytest.raises(DatasetFileCorruptError, match="48 indices are promised"):
        load_split(dataset(TARGETS[:60]), io.StringIO(json.dumps(document)))


def test_a_file_that_is_not_there():
    with pytest.raises(FileNotFoundError):
        load_split(dataset(), pathlib.Path("nowhere.json"))
