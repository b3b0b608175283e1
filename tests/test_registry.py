"""Connectors by scheme, formats by bytes and ending, datasets by name; third parties' by entry point."""

import sys

import pytest

from datastack_fs import open_dataset, recognition, registry
from datastack_fs.connectors import FileStorageConnector, MemoryStorageConnector
from datastack_fs.credentials import EnvironmentText
from datastack_fs.errors import (
    ConfigError,
    MissingDependencyError,
    UnknownPluginError,
)

HDF5 = b"\x89HDF\r\n\x1a\n"
NPY = b"\x93NUMPY\x01\x00"


@pytest.fixture
def store():
    connector = MemoryStorageConnector("registry-tests")
    yield connector
    for name in list(connector.list_resources()):
        connector.delete_resource(name)


BIRD_CONNECTOR = """
    from datastack_fs.connectors import MemoryStorageConnector

    class BirdConnector(MemoryStorageConnector):
        pass
"""


@pytest.mark.parametrize(
    ("url", "class_name"),
    [
        ("./birds", "FileStorageConnector"),
        ("/data/birds", "FileStorageConnector"),
        ("birds", "FileStorageConnector"),
        ("file:///data/birds", "FileStorageConnector"),
        ("file:/data/birds", "FileStorageConnector"),
        ("FILE:///data/birds", "FileStorageConnector"),
        ("memory://birds", "MemoryStorageConnector"),
        ("s3://lab/birds", "S3StorageConnector"),
        ("S3://lab/birds", "S3StorageConnector"),
        ("s3a://lab/birds", "S3StorageConnector"),
        ("gs://lab/birds", "GCSStorageConnector"),
        ("gcs://lab/birds", "GCSStorageConnector"),
        ("mongodb://host/lab?bucket=fs", "GridFSStorageConnector"),
        ("mongodb+srv://host/lab", "GridFSStorageConnector"),
        ("http://host/birds/", "HTTPStorageConnector"),
        ("https://host/birds/", "HTTPStorageConnector"),
        ("zip::s3://lab/birds.zip", "ArchiveStorageConnector"),
        ("zip::./birds.zip", "ArchiveStorageConnector"),
        ("tar::https://host/birds.tar", "ArchiveStorageConnector"),
        ("zip://a/b.h5::s3://lab/birds.zip", "ArchiveStorageConnector"),
        ("ftp://host/birds", "FsspecStorageConnector"),
        ("simplecache::s3://lab/birds", "FsspecStorageConnector"),
        (EnvironmentText("${BIRDS_URL}"), "GridFSStorageConnector"),
    ],
)
def test_the_scheme_decides_the_connector(url, class_name, monkeypatch):
    monkeypatch.setenv("BIRDS_URL", "mongodb://ann:pw@host/lab")
    assert registry.connector_class(url).__name__ == class_name


def test_a_connector_is_made_with_its_options(tmp_path):
    connector = registry.connector_for(str(tmp_path), read_only=True, fsync=False)
    assert isinstance(connector, FileStorageConnector)
    assert connector.read_only


def test_an_upper_case_scheme_is_the_same(tmp_path):
    assert registry.connector_for(f"FILE://{tmp_path}").url == tmp_path.as_uri()


def test_an_unknown_scheme_names_the_known_ones_and_what_to_install():
    with pytest.raises(UnknownPluginError) as caught:
        registry.connector_for("s3n://lab/birds")
    message = str(caught.value)
    assert message.startswith("no connector for s3n://")
    for part in ("did you mean 's3'?", "memory", "gs needs 'datastack-fs[gcs]'", "mongodb+srv", "fsspec"):
        assert part in message


def test_an_unknown_scheme_shows_no_password():
    with pytest.raises(UnknownPluginError) as caught:
        registry.connector_for("postgres://ann:hunter2@host/birds")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "package", "extra"),
    [
        ("s3://lab", "s3fs", "s3"),
        ("gs://lab", "gcsfs", "gcs"),
        ("mongodb://host/lab", "pymongo", "mongodb"),
    ],
)
def test_a_missing_package_says_what_to_install(url, package, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError) as caught:
        registry.connector_for(url)
    scheme = url.partition("://")[0]
    assert str(caught.value) == f"{scheme}:// needs {package}: pip install 'datastack-fs[{extra}]'"
    assert caught.value.name == package


def test_a_package_that_fsspec_misses_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingDependencyError, match=r"hf:// is read through fsspec, which says: .*huggingface_hub"):
        registry.connector_for("hf://datasets/birds")


def test_unknown_options_are_refused_with_the_known_ones(tmp_path):
    with pytest.raises(ConfigError) as caught:
        registry.connector_for(str(tmp_path), readonly=True, endpoint_url="http://x")
    message = str(caught.value)
    assert message == (
        "unknown options 'endpoint_url', 'readonly' (did you mean 'read_only'?); file:// takes fsync, read_only"
    )


@pytest.mark.parametrize(
    "url", ["s3://lab", "gs://lab", "mongodb://host/lab", "https://host/", "memory://x", "zip::./birds.zip"]
)
def test_every_connector_knows_its_options(url):
    with pytest.raises(ConfigError, match=r"unknown option 'colour'.* takes .*read_only"):
        registry.connector_for(url, colour="red")


@pytest.mark.parametrize(
    ("url", "store_url", "identifier"),
    [
        ("s3://lab/birds/train.h5", "s3://lab", "birds/train.h5"),
        ("gs://lab/birds/train.h5", "gs://lab", "birds/train.h5"),
        ("memory://lab/birds/train.h5", "memory://lab", "birds/train.h5"),
        ("/data/birds/train.h5", "/data/birds", "train.h5"),
        ("file:///data/birds/train.h5", "/data/birds", "train.h5"),
    ],
)
def test_a_resource_url_splits(url, store_url, identifier):
    assert registry.split_resource_url(url) == (store_url, identifier)


@pytest.mark.parametrize("url", ["s3://lab", "memory://lab", "s3://lab/"])
def test_a_store_url_is_no_resource_url(url):
    with pytest.raises(ConfigError, match="names a store, not a resource in it"):
        registry.split_resource_url(url)


# Formats.


@pytest.mark.parametrize(
    ("identifier", "content", "name"),
    [
        ("birds.bin", HDF5, "hdf5"),
        ("birds.npy", HDF5, "hdf5"),
        ("birds.bin", NPY, "npy"),
        ("birds.h5", b"", "hdf5"),
        ("birds.HDF5", b"user block", "hdf5"),
        ("birds.hdf", b"user block", "hdf5"),
        ("birds.npy", b"", "npy"),
    ],
)
def test_the_first_bytes_decide_the_format_then_the_ending(store, identifier, content, name):
    store.set_resource(identifier, content)
    with store.get_resource(identifier) as resource:
        found, iterator_class = recognition.format_for(resource)
        assert (found, resource.tell()) == (name, 0)
    assert iterator_class.__name__ == {"hdf5": "HDF5DatasetIterator", "npy": "NpyDatasetIterator"}[name]


def test_an_unknown_format_lists_the_known_ones(store):
    store.set_resource("birds.xyz", b"<html>")
    with (
        store.get_resource("birds.xyz") as resource,
        pytest.raises(UnknownPluginError, match=r"birds\.xyz: .*hdf5 \(\.h5 \.hdf5 \.hdf\), npy \(\.npy\)"),
    ):
        recognition.open_format(resource)


def test_a_format_that_is_asked_for_by_a_wrong_name(store):
    store.set_resource("birds.h5", HDF5)
    with (
        store.get_resource("birds.h5") as resource,
        pytest.raises(UnknownPluginError, match=r"no format 'hdf' \(did you mean 'hdf5'\?\)"),
    ):
        recognition.open_format(resource, "hdf")


# Third parties.


def test_a_third_party_adds_a_scheme(third_party):
    third_party("[datastack_fs.connectors]\nbird = birdstore:BirdConnector\n", BIRD_CONNECTOR)
    assert type(registry.connector_for("bird://nest", read_only=True)).__name__ == "BirdConnector"
    with pytest.raises(ConfigError, match="bird:// takes read_only"):
        registry.connector_for("bird://nest", colour="red")
    with pytest.raises(UnknownPluginError, match=r"known schemes: .*\bbird\b"):
        registry.connector_for("bird2://nest")


def test_a_third_party_cannot_take_a_built_in_name(third_party):
    third_party("[datastack_fs.connectors]\nmemory = birdstore:BirdConnector\n", BIRD_CONNECTOR)
    assert registry.connector_class("memory://nest") is MemoryStorageConnector
    with pytest.warns(UserWarning, match="birdstore offers birdstore:BirdConnector as 'memory'.*ignored"):
        names = registry.CONNECTORS.names()
    assert names.count("memory") == 1


def test_a_name_that_two_projects_claim_is_refused(third_party):
    third_party("[datastack_fs.connectors]\nbird = birdstore:BirdConnector\n", BIRD_CONNECTOR)
    third_party("[datastack_fs.connectors]\nbird = nest:Other\n", name="nest")
    with pytest.raises(ConfigError, match=r"'bird' is claimed by .*(nest|birdstore) .* and "):
        registry.connector_for("bird://nest")


@pytest.mark.parametrize("target", ["birdstore:NoSuchClass", "nowhere:BirdConnector"])
def test_a_broken_entry_point_names_its_project(third_party, target):
    third_party(f"[datastack_fs.connectors]\nbird = {target}\n", BIRD_CONNECTOR)
    with pytest.raises(UnknownPluginError, match=rf"bird:// is promised as {target} by the entry point of birdstore"):
        registry.connector_for("bird://nest")


def test_a_third_party_plugin_without_its_own_dependency(third_party):
    third_party("[datastack_fs.connectors]\nbird = birdstore:BirdConnector\n", "import no_such_bird_library")
    with pytest.raises(MissingDependencyError, match="bird:// needs no_such_bird_library: pip install birdstore"):
        registry.connector_for("bird://nest")


BIRD_FORMAT = """
    from datastack_fs.iterators import DatasetMeta, SequenceDatasetIterator

    class BirdIterator(SequenceDatasetIterator):
        endings = (".bird",)
        magic = (b"BIRD",)

        def __init__(self, resource, *, loud=False):
            super().__init__([resource.read()])
            self.loud = loud
"""


@pytest.mark.parametrize("identifier", ["a.bird", "a.bin"])
def test_a_third_party_adds_a_format(third_party, store, identifier):
    third_party("[datastack_fs.formats]\nbird = birdstore:BirdIterator\n", BIRD_FORMAT)
    store.set_resource(identifier, b"BIRD song")
    iterator = recognition.open_format(store.get_resource(identifier), loud=True)
    assert iterator.loud
    assert iterator[0][0] == b"BIRD song"
    with pytest.raises(ConfigError, match="unknown option 'quiet'; bird takes loud"):
        recognition.open_format(store.get_resource(identifier), quiet=True)


def test_a_broken_third_party_format_does_not_disturb_the_others(third_party, store):
    third_party("[datastack_fs.formats]\nbird = birdstore:NoSuchClass\n")
    store.set_resource("a.npy", NPY)
    with store.get_resource("a.npy") as resource, pytest.warns(UserWarning, match="the format is left out"):
        assert recognition.format_for(resource)[0] == "npy"


@pytest.mark.parametrize("code", ["class NoSuchClass", "raise RuntimeError('built for another numpy')", "1 / 0"])
def test_a_third_party_format_whose_module_fails_is_left_out(third_party, store, code):
    third_party("[datastack_fs.formats]\nbird = birdstore:BirdIterator\n", code)
    store.set_resource("a.npy", NPY)
    with store.get_resource("a.npy") as resource:
        with pytest.warns(UserWarning, match="bird is promised .* of birdstore, which can't be loaded: .* left out"):
            assert recognition.format_for(resource)[0] == "npy"
        with pytest.raises(UnknownPluginError, match="the entry point of birdstore, which can't be loaded"):
            recognition.format_for(resource, "bird")


@pytest.mark.parametrize("endings", ["'.BIRD'", "('.bird',)", "['.x', '.Bird']"])
def test_endings_of_a_third_party_may_be_one_and_in_any_case(third_party, store, endings):
    third_party("[datastack_fs.formats]\nbird = birdstore:BirdIterator\n", BIRD_FORMAT.replace('(".bird",)', endings))
    for identifier in ("a.bird", "a.BIRD"):
        store.set_resource(identifier, b"song")
        assert recognition.open_format(store.get_resource(identifier))[0][0] == b"song"
    store.set_resource("a.d", b"song")
    with pytest.raises(UnknownPluginError, match=r"a\.d: .*bird \(.*\.bird\)"):
        recognition.open_format(store.get_resource("a.d"))


@pytest.mark.parametrize(
    "marks", ["endings = (3,)", "endings = None", "endings = ''", "magic = ('BIRD',)", "magic = b''"]
)
def test_a_third_party_format_with_marks_that_mean_nothing_is_left_out(third_party, store, marks):
    code = "class BirdIterator:\n    endings = magic = ()\n    " + marks
    third_party("[datastack_fs.formats]\nbird = birdstore:BirdIterator\n", code)
    store.set_resource("a.npy", NPY)
    with store.get_resource("a.npy") as resource, pytest.warns(UserWarning, match="bird of birdstore has .* look like"):
        assert recognition.format_for(resource)[0] == "npy"


def test_a_format_that_two_projects_claim_is_refused(third_party, store):
    third_party("[datastack_fs.formats]\nbird = birdstore:BirdIterator\n", BIRD_FORMAT)
    third_party("[datastack_fs.formats]\nbird = nest:BirdIterator\n", BIRD_FORMAT, name="nest")
    store.set_resource("a.bird", b"song")
    with pytest.raises(ConfigError, match="'bird' is claimed by"):
        recognition.open_format(store.get_resource("a.bird"))


def test_a_third_party_format_is_found_by_open_dataset(third_party, store):
    third_party("[datastack_fs.formats]\nbird = birdstore:BirdIterator\n", BIRD_FORMAT)
    store.set_resource("a.bin", b"BIRD song")
    assert open_dataset("a.bin", storage=store, loud=True).loud
    with pytest.raises(ConfigError, match="'quiet'; a connector that is there already takes none; bird takes loud"):
        open_dataset("a.bin", storage=store, quiet=True)
