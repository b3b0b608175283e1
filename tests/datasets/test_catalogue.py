"""The catalogue file: datasets by name without code, opened where they are or copied."""

import hashlib
import io
import json
import os
import pickle
import re

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datastack_fs import connect, load_dataset
from datastack_fs.catalogue_file import load_catalogue
from datastack_fs.catalogue_schema import DatasetSchema
from datastack_fs.connectors import MemoryStorageConnector
from datastack_fs.errors import (
    ConfigError,
    DatasetFileCorruptError,
    DatasetNotFoundError,
    DatastackError,
    MissingDependencyError,
    ResourceNotFoundError,
)
from datastack_fs.known_datasets import dataset_factory, dataset_names
from harness.stores import filled_store

TARGETS = np.arange(6) % 2


def npz():
    file = io.BytesIO()
    np.savez(file, images=np.arange(24.0).reshape(6, 4), labels=TARGETS)
    return file.getvalue()


def hdf5():
    file = io.BytesIO()
    with h5py.File(file, "w") as birds:
        birds["images"] = np.arange(24.0).reshape(6, 4)
        birds["labels"] = TARGETS
        birds["labels"].attrs["class_names"] = ["owl", "wren"]
    return file.getvalue()


@pytest.fixture
def write(here):
    """Writes the catalogue, and files beside it."""

    def write(text, **files):
        for name, content in files.items():
            path = here / name.replace("__", "/").replace("_dot_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        file = here / "datastack-datasets.yaml"
        file.write_text(text)
        return file

    return write


def check(iterator, tag):
    assert len(iterator) == 6
    sample, target, sample_tag = iterator[3]
    assert (sample.tolist(), target, sample_tag) == ([12, 13, 14, 15], 1, tag)
    assert iterator.targets().tolist() == TARGETS.tolist()
    assert iterator.meta.tag == tag


SPLITS = """
datasets:
  birds:
    description: Birds of the garden
    licence: CC BY 4.0
    splits:
      train: data/train.h5
      test: {url: test.npz, checksum: "sha256:CHECKSUM"}
    options: {sample: images, target: labels}
""".replace("CHECKSUM", hashlib.sha256(npz()).hexdigest())


def test_it_is_opened_where_it_is(write, here, monkeypatch):
    write(SPLITS, data__train_dot_h5=hdf5(), test_dot_npz=npz())
    (here / "scripts").mkdir()
    monkeypatch.chdir(here / "scripts")
    assert dataset_names()[-1] == "birds"
    check(load_dataset("birds"), "train")
    check(load_dataset("birds", split="test"), "test")
    assert load_dataset("birds").meta.name == "birds"
    assert load_dataset("birds").meta.class_names == ("owl", "wren"), "as the file says"
    assert sorted(path.name for path in here.rglob("*")) == sorted(
        ["scripts", "data", "train.h5", "test.npz", "datastack-datasets.yaml"]
    )
    factory = dataset_factory("birds")
    assert (factory.description, factory.licence, factory.splits) == (
        "Birds of the garden",
        "CC BY 4.0",
        ("train", "test"),
    )
    with pytest.raises(DatasetNotFoundError, match="birds has no split 'dev'; it has train, test"):
        load_dataset("birds", split="dev")
    with pytest.raises(ConfigError, match="birds: unknown key fold"):
        load_dataset("birds", fold=1)


def test_with_a_store_it_is_copied_there_first(write, here, store):
    write(SPLITS, data__train_dot_h5=hdf5(), test_dot_npz=npz())
    check(load_dataset("birds", storage=store), "train")
    copies = ["birds/manifest.json", "birds/raw/test/test.npz", "birds/raw/train/train.h5"]
    assert list(store.list_resources()) == copies
    (here / "data" / "train.h5").unlink()
    check(load_dataset("birds", storage=store), "train")
    check(load_dataset("birds", "test", store), "test")
    with pytest.raises(ResourceNotFoundError):
        load_dataset("birds")


def test_a_copy_follows_the_catalogue(write, here):
    memory = MemoryStorageConnector("catalogue-follows")
    only = "datasets: {birds: {splits: {train: a.npz}, options: {sample: images, target: labels}}}"
    write(only, a_dot_npz=npz())
    check(load_dataset("birds", storage=memory), "train")
    (here / "a.npz").unlink()
    check(load_dataset("birds", storage=memory), "train")
    write(only.replace("a.npz", "a.npz, test: b.npz"), b_dot_npz=npz())
    check(load_dataset("birds", "test", memory), "test")
    checksum = hashlib.sha256(npz() + b"more").hexdigest()
    write(only.replace("a.npz", f"{{url: a.npz, checksum: 'sha256:{checksum}'}}"), a_dot_npz=npz() + b"more")
    assert not dataset_factory("birds")(memory).is_prepared()
    load_dataset("birds", storage=memory)
    assert memory.get_info("birds/raw/train/a.npz").checksum == f"sha256:{checksum}"


def test_its_factory_and_iterators_pickle(write):
    write(SPLITS, data__train_dot_h5=hdf5(), test_dot_npz=npz())
    memory = MemoryStorageConnector("catalogue-pickles")
    factory = pickle.loads(pickle.dumps(dataset_factory("birds")(memory)))
    check(pickle.loads(pickle.dumps(factory.get_dataset_iterator()[0])), "train")
    check(pickle.loads(pickle.dumps(load_dataset("birds", "test"))), "test")


def test_copy_true_copies_into_the_default_store(write, here):
    write(SPLITS + "    copy: true\n", data__train_dot_h5=hdf5(), test_dot_npz=npz())
    check(load_dataset("birds"), "train")
    assert (here / "datasets/birds/raw/train/train.h5").exists()


def test_a_url_alone_is_one_split(write):
    write(
        "datasets: {birds: {url: ./birds.npy, options: {targets: labels.npy}}}", birds_dot_npy=b"", labels_dot_npy=b""
    )
    for name, array in (("birds", np.arange(24.0).reshape(6, 4)), ("labels", TARGETS)):
        np.save(f"{name}.npy", array)
    check(load_dataset("birds"), "all")
    with pytest.raises(DatasetNotFoundError, match="it has all"):
        load_dataset("birds", split="train")


@pytest.mark.parametrize("kind", ["http", "zip", "gridfs", "s3"])
def test_it_may_be_in_any_store(write, here, request, kind, monkeypatch):
    connector = filled_store(kind, {"birds/train.h5": hdf5()}, request)
    options = {"s3": request.getfixturevalue("seaweed").options() if kind == "s3" else {}}.get(kind, {})
    monkeypatch.setenv("BIRDS_STORE", connector.url)
    for name, value in options.items():
        monkeypatch.setenv(f"BIRDS_{name.upper()}", str(value))
    references = "".join(f"      {name}: ${{BIRDS_{name.upper()}}}\n" for name in options if name != "client_kwargs")
    (here / "datastack.yaml").write_text(
        "storages:\n  birds:\n    url: ${BIRDS_STORE}\n" + (f"    options:\n{references}" if references else "")
    )
    write("datasets: {birds: {url: birds/train.h5, storage: birds, options: {sample: images, target: labels}}}")
    check(load_dataset("birds"), "all")
    check(load_dataset("birds", storage="memory://copy-of-" + kind), "all")


def test_a_web_address_is_copied_even_from_a_server_without_ranges(write, web_server):
    web_server["data/birds.npz"] = npz()
    web_server.behave("data/birds.npz", ranges=False)
    write(
        f"datasets: {{birds: {{url: '{web_server.url}/data/birds.npz', options: {{sample: images, target: labels}}}}}}"
    )
    check(load_dataset("birds", storage="memory://web-copy"), "all")


def test_the_environment_names_urls_and_options(write, here, monkeypatch):
    write(
        "datasets:\n  birds:\n    url: ${BIRDS_FOLDER:-data}/train.npz\n    options:\n      sample: ${COLUMN}\n"
        "      target: labels\n",
        data__train_dot_npz=npz(),
    )
    with pytest.raises(
        ConfigError, match=r"datasets\.yaml:5: datasets\.birds\.options\.sample: the environment variable COLUMN is not"
    ):
        load_dataset("birds")
    monkeypatch.setenv("COLUMN", "images")
    check(load_dataset("birds"), "all")
    monkeypatch.setenv("BIRDS_FOLDER", str(here / "elsewhere"))
    with pytest.raises(ResourceNotFoundError, match="elsewhere"):
        load_dataset("birds")


def test_another_checksum_is_noticed(write, here):
    wrong = SPLITS.replace(hashlib.sha256(npz()).hexdigest(), "0" * 64)
    write(wrong, data__train_dot_h5=hdf5(), test_dot_npz=npz())
    with pytest.raises(DatasetFileCorruptError, match=r"test\.npz"):
        load_dataset("birds", storage="memory://catalogue-corrupt")
    assert not connect("memory://catalogue-corrupt").has_resource("birds/raw/test/test.npz")
    check(load_dataset("birds", "test"), "test")  # a file that keeps no checksum is not read to the end to open it
    connect("memory://catalogue-stored").set_resource("test.npz", npz())
    write(wrong.replace("url: test.npz", "url: 'memory://catalogue-stored/test.npz'"))
    with pytest.raises(DatasetFileCorruptError, match=r"was stored with sha256:.* promises sha256:0000"):
        load_dataset("birds", "test")


def test_versions_stand_side_by_side(write):
    write(
        "datasets:\n"
        "  birds: {url: one.npz, options: &names {sample: images, target: labels}}\n"
        "  birds@2: {url: two.npz, options: *names}\n",
        one_dot_npz=npz(),
        two_dot_npz=npz(),
    )
    assert dataset_names()[-2:] == ["birds", "birds@2"]
    memory = MemoryStorageConnector("catalogue-versions")
    for name in ("birds", "birds@1", "birds@2"):
        check(load_dataset(name), "all")
        check(load_dataset(name, storage=memory), "all")
    assert [name for name in memory.list_resources() if name.endswith("npz")] == [
        "birds/raw/all/one.npz",
        "birds@2/raw/all/two.npz",
    ]


def test_which_file_counts(write, here, monkeypatch, tmp_path):
    assert load_catalogue().file is None
    (tmp_path / "home" / "datastack-fs").mkdir(parents=True)
    home = tmp_path / "home" / "datastack-fs" / "datastack-datasets.toml"
    home.write_text("[datasets.birds]\nurl = './birds.npz'\n")
    assert load_catalogue().file == home
    assert os.path.samefile(os.path.dirname(load_catalogue().entries["birds"].source("all")), home.parent)
    file = write("datasets: {birds: {url: birds.npz}}")
    assert load_catalogue().file == file
    named = here / "lab.yaml"
    named.write_text("datasets: {owls: {url: owls.npz}}")
    monkeypatch.setenv("DATASTACK_CATALOGUE", str(named))
    assert list(load_catalogue().entries) == ["owls"]
    monkeypatch.setenv("DATASTACK_CATALOGUE", "nowhere.yaml")
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: no such file; \$DATASTACK_CATALOGUE names it"):
        load_catalogue()


WRONG = {
    # name: (text, line, key, parts of the message)
    "unknown key": ("dataset: {}\n", 1, "dataset", ["did you mean 'datasets'?"]),
    "unknown key of a dataset": (
        "datasets:\n  birds:\n    url: a.npz\n    license: MIT\n",
        4,
        "datasets.birds.license",
        ["did you mean 'licence'?", "known keys: url, checksum, splits, format, options, storage, copy"],
    ),
    "unknown key of a split": (
        "datasets:\n  birds:\n    splits:\n      train:\n        url: a\n        sha256: b\n",
        6,
        "datasets.birds.splits.train.sha256",
        ["known keys: url, checksum"],
    ),
    "neither url nor splits": (
        "datasets:\n  birds:\n    format: npz\n",
        2,
        "datasets.birds",
        ["either a url, or splits"],
    ),
    "both": ("datasets:\n  birds:\n    url: a\n    splits: {train: b}\n", 2, "datasets.birds", ["either a url, or"]),
    "no split": ("datasets:\n  birds:\n    splits: {}\n", 3, "datasets.birds.splits", ["there is none"]),
    "a split without url": (
        "datasets:\n  birds:\n    splits:\n      train: {checksum: a}\n",
        4,
        "datasets.birds.splits.train.url",
        ["is missing"],
    ),
    "a number": ("datasets:\n  birds:\n    url: 3\n", 3, "datasets.birds.url", ["must be text"]),
    "checksum": ("datasets:\n  birds:\n    url: a\n    checksum: abc\n", 4, "datasets.birds.checksum", ["sha256:<64"]),
    "checksum of a split": (
        "datasets:\n  birds:\n    splits:\n      train: {url: a, checksum: 'md5:0'}\n",
        4,
        "datasets.birds.splits.train.checksum",
        ["md5:<32"],
    ),
    "checksum of all": (
        f"datasets:\n  birds:\n    splits: {{train: a}}\n    checksum: md5:{'0' * 32}\n",
        4,
        "datasets.birds.checksum",
        ["each split has its own"],
    ),
    "class names": ("datasets:\n  birds:\n    url: a\n    class_names: owl\n", 4, "class_names", ["must be a list"]),
    "name": ("datasets:\n  a/b: {url: a}\n", 2, "datasets.a/b", ["a name has letters"]),
    "built in": ("datasets:\n\n  digits: {url: a}\n", 3, "datasets.digits", ["is built in", "digits@lab"]),
    "built in version": ("datasets:\n  digits@1: {url: a}\n", 2, "datasets.digits@1", ["is built in"]),
    "twice": ("datasets:\n  a: {url: a}\n  a@1: {url: a}\n", 3, "datasets.a@1", ["a is there already"]),
    "reference": ("datasets:\n  birds:\n    url: ${A-B}\n", 3, "datasets.birds.url", ["names no variable"]),
    "syntax": ("datasets: [\n", 2, "", ["expected"]),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_broken_catalogue_names_file_line_and_key(write, name):
    text, line, key, parts = WRONG[name]
    file = write(text)
    with pytest.raises(ConfigError) as caught:
        load_dataset("birds")
    message = str(caught.value)
    assert message.startswith(f"{file}:{line}: "), message
    assert key in message
    for part in parts:
        assert part in message
    assert len(load_dataset("iris", storage="memory://broken-catalogue")) == 120, "a built-in one needs no catalogue"


KEYS = st.sampled_from([*DatasetSchema.model_fields, "copy", "version", "train"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["a.npz", "${A}", "md5:0"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=4), inner, max_size=4),
    max_leaves=8,
)
ENTRY = st.dictionaries(KEYS, VALUES, max_size=5)


@given(st.dictionaries(st.sampled_from(["birds", "birds@2", "iris", "a/b", "1"]), ENTRY | VALUES, max_size=3))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100, deadline=None)
def test_whatever_stands_in_it_is_a_catalogue_or_a_config_error(write, datasets):
    file = write(json.dumps({"datasets": datasets}, indent=1))
    try:
        entries = load_catalogue().entries
    except ConfigError as error:
        assert re.match(rf"{re.escape(str(file))}:\d+: ", str(error))  # noqa: PT017
    else:
        assert set(entries) == set(datasets)
        assert all(entry.splits for entry in entries.values())


def test_an_option_that_nobody_knows_names_file_and_line(write):
    file = write("datasets:\n  birds:\n    url: birds.npz\n    options: {samples: images}\n", birds_dot_npz=npz())
    with pytest.raises(
        ConfigError, match=rf"{file}:4: datasets\.birds: unknown option 'samples' \(did you mean 'sample'\?\)"
    ):
        load_dataset("birds")


def test_a_catalogue_shows_no_secret(write, web_server):
    web_server["data/birds.npz"] = b""
    web_server.behave("data/birds.npz", statuses=[403])
    url = f"{web_server.url}/data/birds.npz?token=hunter2".replace("://", "://ann:hunter2@")
    write(f"datasets: {{birds: {{url: '{url}', options: {{password: hunter2}}}}}}")
    assert "hunter2" not in repr(load_catalogue())
    for storage in (None, "memory://catalogue-secrets"):
        with pytest.raises(DatastackError) as caught:
            load_dataset("birds", storage=storage)
        assert "hunter2" not in str(caught.value)


def test_a_format_that_is_named(write):
    write(
        "datasets: {birds: {url: birds.bin, format: npz, options: {sample: images, target: labels}}}",
        birds_dot_bin=npz(),
    )
    check(load_dataset("birds"), "all")


def test_classes_that_the_file_does_not_name(write):
    write(
        "datasets: {birds: {url: a.npz, class_names: [owl, wren], options: {sample: images, target: labels}}}",
        a_dot_npz=npz(),
    )
    assert load_dataset("birds").meta.class_names == ("owl", "wren")


def test_a_store_that_needs_a_package(write, monkeypatch):
    write("datasets: {birds: {url: 's3://lab/birds.npz'}}")
    monkeypatch.setitem(__import__("sys").modules, "s3fs", None)
    with pytest.raises(MissingDependencyError, match=r"datastack-fs\[s3\]"):
        load_dataset("birds")
