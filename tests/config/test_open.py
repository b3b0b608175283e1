"""open_resource() and open_dataset(): by URL, by path, by identifier."""

import gc
import os

import numpy as np
import pytest

import datastack_fs
from datastack_fs import connect, open_dataset, open_resource
from datastack_fs.errors import (
    ConfigError,
    ResourceNotFoundError,
    UnknownPluginError,
)


@pytest.fixture
def birds(here):
    connector = connect("memory://config-tests")
    connector.set_resource("birds/owl.txt", b"hoo")
    yield connector
    for name in list(connector.list_resources()):
        connector.delete_resource(name)


def test_open_resource_by_url(birds):
    with open_resource("memory://config-tests/birds/owl.txt") as resource:
        assert (resource.read(), resource.identifier) == (b"hoo", "birds/owl.txt")


def test_open_resource_by_path(here):
    (here / "owl.txt").write_bytes(b"hoo")
    for path in ("owl.txt", "./owl.txt", here / "owl.txt", f"file://{here}/owl.txt"):
        with open_resource(path) as resource:
            assert resource.read() == b"hoo"
            assert resource.local_path == str(here / "owl.txt")


@pytest.mark.parametrize("storage", ["memory://config-tests", "scratch", {"url": "memory://config-tests"}])
def test_open_resource_by_identifier(birds, here, storage, write):
    write(here / "datastack.yaml")
    assert open_resource("birds/owl.txt", storage=storage).read() == b"hoo"
    assert open_resource("birds/owl.txt", storage=birds).read() == b"hoo"


def test_a_resource_that_is_not_there(birds):
    with pytest.raises(ResourceNotFoundError, match=r"birds/wren\.txt is not in memory://config-tests"):
        open_resource("memory://config-tests/birds/wren.txt")


def test_open_resource_refuses_unknown_options(birds):
    with pytest.raises(ConfigError, match="unknown option 'sample'; memory:// takes read_only"):
        open_resource("memory://config-tests/birds/owl.txt", sample="images")


@pytest.fixture
def dataset(here):
    np.save(here / "birds.npy", np.arange(6).reshape(3, 2))
    return here / "birds.npy"


def test_open_dataset(dataset):
    for url in (dataset, "birds.npy", f"file://{dataset}"):
        assert [sample.tolist() for sample, *_ in open_dataset(url)] == [[0, 1], [2, 3], [4, 5]]


def test_open_dataset_by_format(dataset):
    dataset.rename("birds.bin")
    assert len(open_dataset("birds.bin", format="npy")) == 3
    with pytest.raises(UnknownPluginError, match="no format 'numpy'"):
        open_dataset("birds.bin", format="numpy")


def test_open_dataset_in_a_store(dataset):
    assert len(open_dataset("birds.npy", storage="../scripts/")) == 3
    assert len(open_dataset("birds.npy", storage=connect("../scripts/"))) == 3


def test_open_dataset_hands_options_to_connector_and_format(dataset):
    iterator = open_dataset(dataset, fsync=False, read_only=True, targets=[7, 8, 9])
    assert iterator.targets().tolist() == [7, 8, 9]


def test_open_dataset_of_a_profile_names_a_variable_that_is_not_set(here, write):
    file = write(here / "datastack.yaml", "storages:\n  lab:\n    url: ${NO_SUCH_VARIABLE}\n")
    with pytest.raises(ConfigError, match=rf"{file}:3: storages\.lab\.url: .*NO_SUCH_VARIABLE is not set"):
        open_dataset("birds.npy", storage="lab")


def test_open_dataset_refuses_unknown_options_naming_both(dataset):
    with pytest.raises(ConfigError) as caught:
        open_dataset(dataset, colour="red")
    message = str(caught.value)
    assert message.startswith("unknown option 'colour'; file:// takes fsync, read_only; npy takes ")


def test_open_dataset_with_a_connector_takes_the_formats_options(dataset):
    connector = connect("../scripts/")
    with pytest.raises(ConfigError, match="'fsync'; a connector that is there already takes none; npy takes"):
        open_dataset("birds.npy", storage=connector, fsync=True)


def test_a_store_that_takes_any_option_leaves_the_formats_to_the_format(dataset):
    store = f"local://{dataset.parent}"
    iterator = open_dataset("birds.npy", storage=store, auto_mkdir=False, targets=[7, 8, 9])
    assert iterator.targets().tolist() == [7, 8, 9]
    dataset.rename("birds.bin")
    iterator = open_dataset("birds.bin", storage=store, format="npy", targets=[7, 8, 9])
    assert iterator.targets().tolist() == [7, 8, 9]


def test_a_dataset_that_cannot_be_opened_leaves_no_file_open(dataset):
    gc.collect()  # what earlier tests left open must not be closed between the two counts
    before = os.listdir("/proc/self/fd")
    for _ in range(5):
        with pytest.raises(ConfigError):
            open_dataset(dataset, colour="red")
    assert len(os.listdir("/proc/self/fd")) <= len(before)


def test_the_public_functions_are_these():
    assert datastack_fs.connect is connect
