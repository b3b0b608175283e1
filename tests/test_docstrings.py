"""Every example in a docstring runs."""

import doctest
import importlib
import pkgutil

import pytest

import datastack_fs
import datastack_fs.connectors
from datastack_fs.iterators import DatasetIterator

IN_AN_ENVIRONMENT_OF_THEIR_OWN = {
    "datastack_fs.bridges.ray_reading",
    "datastack_fs.bridges.torch_",
    "datastack_fs.formats.torch_",
}
"""Their examples, if they have any, run in tests/with_torch and tests/with_ray."""

VOCABULARY = {
    "ArchiveStorageConnector",
    "CombinedDatasetIterator",
    "DatasetFactory",
    "DatasetIterator",
    "DatasetIteratorView",
    "DatasetMeta",
    "DatasetRepository",
    "FileStorageConnector",
    "FsspecStorageConnector",
    "GCSStorageConnector",
    "GridFSFileSystem",
    "GridFSStorageConnector",
    "HTTPRetriever",
    "HTTPStorageConnector",
    "InMemoryDatasetIterator",
    "FeatureEncodedDatasetIterator",
    "FilteredDatasetIterator",
    "MappedDatasetIterator",
    "MemoryStorageConnector",
    "RepeatedDatasetIterator",
    "TargetMappedDatasetIterator",
    "ZippedDatasetIterator",
    "Preprocessor",
    "ResourceDefinition",
    "ResourceInfo",
    "Retriever",
    "S3StorageConnector",
    "SampledDatasetIterator",
    "SequenceDatasetIterator",
    "ShuffledDatasetIterator",
    "StorageConnector",
    "StreamedResource",
    "connect",
    "fit_encoding",
    "k_fold",
    "load_dataset",
    "nested_k_fold",
    "open_dataset",
    "open_resource",
    "random_split",
    "save_encoding",
    "report",
    "stratified_split",
}
"""The public names of the design, the seed's among them."""

METHODS = [
    *("take", "targets", "tags", "__getitems__", "view", "shuffle", "sample", "map", "map_targets", "encode", "filter"),
    *("zip", "repeat", "in_memory", "__add__"),
]


def modules():
    yield "datastack_fs"
    for module in pkgutil.walk_packages(datastack_fs.__path__, "datastack_fs."):
        if not module.name.endswith("__main__") and module.name not in IN_AN_ENVIRONMENT_OF_THEIR_OWN:
            yield module.name


@pytest.mark.parametrize("name", sorted(modules()))
def test_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.IGNORE_EXCEPTION_DETAIL
    assert doctest.testmod(importlib.import_module(name), optionflags=options).failed == 0


@pytest.mark.parametrize("name", sorted(VOCABULARY))
def test_every_name_of_the_vocabulary_has_an_example(name):
    found = getattr(datastack_fs, name)
    documented = [found, *(vars(found).values() if isinstance(found, type) else ())]
    assert any(">>>" in (getattr(each, "__doc__", None) or "") for each in documented), f"{name} shows no example"


@pytest.mark.parametrize("name", METHODS)
def test_every_way_to_read_and_stack_has_an_example(name):
    assert ">>>" in getattr(DatasetIterator, name).__doc__
