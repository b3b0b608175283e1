"""What connect() takes: URLs, paths, mappings, connectors, and the default."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from datastack_fs import connect
from datastack_fs.connectors import FileStorageConnector, MemoryStorageConnector
from datastack_fs.errors import (
    ConfigError,
    UnknownPluginError,
)


@pytest.mark.parametrize("storage", ["./birds", Path("birds"), "../scripts/birds", "file:birds", "birds/"])
def test_a_path(storage, here):
    connector = connect(storage)
    assert isinstance(connector, FileStorageConnector)
    assert connector.url == (here / "birds").as_uri()
    assert not (here / "birds").exists(), "connecting makes no folder"


def test_a_path_object_is_never_a_url(here):
    assert connect(Path("zip::memory:")).url == (here / "zip::memory:").as_uri()


def test_a_path_in_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert connect("~/birds").url == connect(Path("~/birds")).url == (tmp_path / "birds").as_uri()


def test_a_url_with_options():
    connector = connect("memory://config-tests", read_only=True)
    assert isinstance(connector, MemoryStorageConnector)
    assert connector.read_only


def test_nothing_is_the_default_folder(here):
    assert connect().url == (here / "datasets").as_uri()


def test_a_connector_is_returned_as_it_is():
    connector = MemoryStorageConnector("config-tests")
    assert connect(connector) is connector
    with pytest.raises(TypeError, match="connected already: it takes no options"):
        connect(connector, read_only=True)


@pytest.mark.parametrize("storage", [3, b"./birds", ["./birds"]])
def test_another_type_is_misuse(storage):
    with pytest.raises(TypeError, match="URL, profile name, path, mapping or connector"):
        connect(storage)


class Settings(Mapping):
    """A mapping that is no dict, as Hydra's are."""

    def __init__(self, **values):
        self.values_ = values

    def __getitem__(self, key):
        return self.values_[key]

    def __iter__(self):
        return iter(self.values_)

    def __len__(self):
        return len(self.values_)


@pytest.mark.parametrize(
    "mapping",
    [
        {"url": "memory://config-tests", "read_only": True},
        {"url": "memory://config-tests", "options": {"read_only": True}},
        {"url": "memory://config-tests", "options": {}, "read_only": True},
        Settings(url="memory://config-tests", options=Settings(read_only=True)),
    ],
)
def test_a_mapping(mapping):
    connector = connect(mapping)
    assert connector.url == "memory://config-tests"
    assert connector.read_only
    assert not connect(mapping, read_only=False).read_only, "explicit arguments win"


def test_a_mapping_with_the_options_in_it():
    assert connect({"url": Path("birds"), "fsync": False}).url.endswith("/birds")


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({}, "a storage mapping has a url; found the keys none"),
        ({"uri": "s3://lab"}, "a storage mapping has a url; found the keys uri"),
        ({"url": 3}, "a storage mapping has a url"),
        ({"url": "birds"}, "'birds' is no URL; a folder is ./birds"),
        ({"url": "./birds", "options": 3}, "options of a storage mapping are keys and values, not int"),
        ({"url": "./birds", "options": {}, "fsync": True}, "unknown option 'fsync'; a storage mapping takes"),
        ({"url": "./birds", "read_only": "yes"}, "read_only of a storage mapping is true or false, not str"),
        ({"url": "./birds", "options": {"url": "a"}}, "unknown option 'url'; file:// takes fsync, read_only"),
        ({"url": "./birds", "key": "a"}, "unknown option 'key'; file:// takes fsync, read_only"),
        ({"url": "./birds", "fsync": "${NO_SUCH_VARIABLE}"}, "NO_SUCH_VARIABLE is not set"),
    ],
)
def test_a_broken_mapping(mapping, message):
    with pytest.raises(ConfigError) as caught:
        connect(mapping)
    assert message in str(caught.value)


def test_a_bare_word_without_a_configuration_file(here):
    with pytest.raises(UnknownPluginError) as caught:
        connect("prod")
    assert str(caught.value).startswith(
        "no storage 'prod': it is no profile, no URL (s3://bucket) and no path (./prod); no datastack.yaml"
    )
    assert list(here.iterdir()) == []


def test_the_default_profile(here, write):
    write(here / "datastack.yaml")
    assert connect().url == (here / "data").as_uri()
    assert connect(fsync=False).url == (here / "data").as_uri()


def test_the_environment_wins_over_the_default_profile(here, monkeypatch, write):
    write(here / "datastack.yaml")
    monkeypatch.setenv("DATASTACK_STORAGE", "scratch")
    assert connect().url == "memory://config-tests"
    monkeypatch.setenv("DATASTACK_STORAGE", "memory://elsewhere")
    assert connect().url == "memory://elsewhere"
    monkeypatch.setenv("DATASTACK_STORAGE", "prdo")
    with pytest.raises(UnknownPluginError, match=r"\$DATASTACK_STORAGE: no storage 'prdo'"):
        connect()
    monkeypatch.setenv("DATASTACK_STORAGE", "")
    assert connect().url == (here / "data").as_uri()
