"""Datasets by name."""

import pytest

from datastack_fs.connectors import MemoryStorageConnector
from datastack_fs.datasets import DigitsFactory
from datastack_fs.errors import ConfigError, DatasetNotFoundError
from datastack_fs.repository import DatasetRepository, load_dataset


@pytest.fixture
def memory(request):
    return MemoryStorageConnector(request.node.nodeid)


def test_a_repository_opens_what_is_registered(memory):
    repository = DatasetRepository()
    assert repository.names == ()
    factory = DigitsFactory(memory)
    repository.register("numbers", factory)
    repository.register("numbers", factory)
    iterator, meta = repository.get("numbers", {"split": "test"})
    assert (len(iterator), meta.tag) == (360, "test")
    assert len(repository.get("numbers")[0]) == 1437
    with pytest.raises(DatasetNotFoundError, match="no dataset 'digits' in this repository; registered are: numbers"):
        repository.get("digits")
    with pytest.raises(ValueError, match="taken by DigitsFactory"):
        repository.register("numbers", DigitsFactory(memory))
    assert repository.names == ("numbers",)


def test_load_dataset_takes_whatever_names_a_store(tmp_path, memory, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for storage in (memory, tmp_path / "a", f"{tmp_path}/b", (tmp_path / "c").as_uri(), {"url": "memory://load"}, None):
        iterator = load_dataset("digits", storage=storage)
        assert (len(iterator), iterator.meta.tag) == (1437, "train")
    assert (tmp_path / "datasets/digits/manifest.json").exists(), "the default folder"
    assert len(load_dataset("digits", "test", memory)) == 360


def test_what_is_unknown_lists_what_is_known(memory):
    with pytest.raises(DatasetNotFoundError, match="digits, mnist, fashion-mnist"):
        load_dataset("digit", storage=memory)
    with pytest.raises(DatasetNotFoundError, match="it has train, test"):
        load_dataset("digits", "validation", memory)
    with pytest.raises(ConfigError, match="unknown key fold"):
        load_dataset("digits", storage=memory, fold=1)
