"""Datasets by name: built-in ones, third parties' by entry point, their versions, and the catalogue's."""

import warnings

import pytest

from datastack_fs import load_dataset
from datastack_fs.connectors import MemoryStorageConnector
from datastack_fs.errors import ConfigError, DatasetNotFoundError, MissingDependencyError, UnknownPluginError
from datastack_fs.known_datasets import dataset_factory, dataset_names, known_factories

BUILT_IN = ["digits", "mnist", "fashion-mnist", "iris", "wine", "breast_cancer"]

SPARROWS = """
    import numpy as np

    from datastack_fs import DatasetFactory, Preprocessor
    from datastack_fs.formats.hdf5_writing import store_hdf5

    class Wings(Preprocessor):
        def __init__(self, identifier, length):
            self.identifier, self.length = identifier, length

        def preprocess(self, connector):
            samples = np.arange(self.length, dtype=float).reshape(-1, 1)
            return store_hdf5(connector, self.identifier, [(samples, samples[:, 0])], self.length)

    class SparrowFactory(DatasetFactory):
        name = "sparrows"
        splits = ("train",)
        length = 3

        @classmethod
        def definitions(cls):
            return []

        @classmethod
        def preprocessors(cls):
            return [Wings(cls.identifier("preprocessed/train.h5"), cls.length)]

    class NextSparrowFactory(SparrowFactory):
        version = "2"
        length = 5

    class Nothing:
        pass
"""


@pytest.fixture(autouse=True)
def without_configuration(here):
    return here


@pytest.fixture
def sparrows(third_party):
    third_party(
        """
        [datastack_fs.datasets]
        sparrows = birdstore:SparrowFactory
        sparrows@2 = birdstore:NextSparrowFactory
        """,
        SPARROWS,
    )


def test_an_unknown_dataset_lists_the_known_ones():
    with pytest.raises(DatasetNotFoundError) as caught:
        dataset_factory("fashion_mnist")
    assert "did you mean 'fashion-mnist'?" in str(caught.value)
    assert ", ".join(BUILT_IN) in str(caught.value)


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_built_in_dataset_says_what_it_is(name):
    factory = dataset_factory(name)
    assert factory.name == name
    assert factory.description
    assert factory.licence
    assert factory.homepage.startswith("http")
    assert factory.download_bytes > 0
    assert factory.splits == ("train", "test")
    assert dataset_factory(f"{name}@1") is factory


def test_a_third_party_adds_a_dataset(sparrows):
    assert dataset_names() == [*BUILT_IN, "sparrows", "sparrows@2"]
    memory = MemoryStorageConnector("sparrows")
    assert len(load_dataset("sparrows", storage=memory)) == 3
    assert load_dataset("sparrows", "train", memory).meta.tag == "train"


def test_versions_of_a_third_party_stand_side_by_side(sparrows):
    memory = MemoryStorageConnector("sparrow-versions")
    assert len(load_dataset("sparrows@2", storage=memory)) == 5
    first = dataset_factory("sparrows@1")(memory)
    assert not first.is_prepared()
    assert len(load_dataset("sparrows@1", storage=memory)) == 3
    assert len(load_dataset("sparrows@2", storage=memory)) == 5
    assert set(memory.list_resources()) == {
        "sparrows/manifest.json",
        "sparrows/preprocessed/train.h5",
        "sparrows@2/manifest.json",
        "sparrows@2/preprocessed/train.h5",
    }
    with pytest.raises(DatasetNotFoundError, match=r"no dataset 'sparrows@3' \(did you mean 'sparrows@2'\?\)"):
        dataset_factory("sparrows@3")


def test_the_plain_name_may_be_that_of_a_later_version(third_party):
    third_party("[datastack_fs.datasets]\nsparrows = birdstore:NextSparrowFactory\n", SPARROWS)
    assert dataset_factory("sparrows").identifier("x") == "sparrows@2/x"
    assert dataset_factory("sparrows@2") is dataset_factory("sparrows")
    with pytest.raises(DatasetNotFoundError, match="no dataset 'sparrows@1'"):
        dataset_factory("sparrows@1")


def test_a_version_that_is_another_is_refused(third_party):
    third_party("[datastack_fs.datasets]\nsparrows@3 = birdstore:NextSparrowFactory\n", SPARROWS)
    with pytest.raises(
        UnknownPluginError, match=r"sparrows@3 is promised as .* by birdstore, which is version 2, not 3"
    ):
        dataset_factory("sparrows@3")


BROKEN = {
    "no such class": ("birdstore:NoSuchClass", SPARROWS, UnknownPluginError, "can't be loaded"),
    "no such module": ("nowhere:SparrowFactory", SPARROWS, UnknownPluginError, "can't be loaded"),
    "no factory": ("birdstore:Nothing", SPARROWS, UnknownPluginError, "which is no DatasetFactory"),
    "raises": ("birdstore:A", "raise RuntimeError('moulting')", UnknownPluginError, "can't be loaded: moulting"),
    "no syntax": ("birdstore:A", "class", UnknownPluginError, "can't be loaded: invalid syntax"),
    "needs more": ("birdstore:A", "import no_such_library", MissingDependencyError, "pip install birdstore"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_entry_point_is_in_nobodys_way(third_party, kind):
    target, code, error, message = BROKEN[kind]
    third_party(f"[datastack_fs.datasets]\nsparrows = {target}\n", code)
    with pytest.raises(error, match=message):
        load_dataset("sparrows", storage="memory://broken")
    with pytest.warns(UserWarning, match=rf"sparrows .*{message}.*left out"):
        assert [name for name, _ in known_factories()] == BUILT_IN
    assert len(load_dataset("iris", storage="memory://broken")) == 120


def test_a_name_that_two_projects_claim_is_refused(sparrows, third_party):
    third_party("[datastack_fs.datasets]\nsparrows = nest:Other\n", name="nest")
    with pytest.raises(ConfigError, match=r"'sparrows' is claimed by .* and .*uninstall one of them"):
        dataset_factory("sparrows")
    with pytest.warns(UserWarning, match="left out"):
        assert [name for name, _ in known_factories()] == [*BUILT_IN, "sparrows@2"]


def test_a_third_party_cannot_take_a_built_in_name(third_party):
    third_party("[datastack_fs.datasets]\niris = birdstore:SparrowFactory\n", SPARROWS)
    assert dataset_factory("iris").__name__ == "IrisFactory"
    with pytest.warns(UserWarning, match="birdstore offers birdstore:SparrowFactory as 'iris'.*ignored"):
        assert dataset_names() == BUILT_IN


def test_our_own_entry_point_is_no_shadow(third_party):
    third_party("[datastack_fs.datasets]\ndigits = datastack_fs.datasets.digits:DigitsFactory\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert dataset_names().count("digits") == 1


def test_the_catalogue_and_a_project_may_not_claim_one_name(sparrows, here):
    file = here / "datastack-datasets.yaml"
    file.write_text("datasets: {sparrows: {url: ./a.npy}, sparrows@3: {url: ./a.npy}}")
    with pytest.raises(ConfigError, match=rf"'sparrows' is claimed by birdstore .* and by {file}"):
        dataset_factory("sparrows")
    assert dataset_factory("sparrows@2").version == "2"
    assert dataset_factory("sparrows@3").version == "3"
