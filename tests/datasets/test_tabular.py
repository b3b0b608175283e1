"""Iris, wine and breast cancer: scikit-learn's numbers, in two splits that are the same everywhere."""

import hashlib

import h5py
import numpy as np
import pytest

from datastack_fs import load_dataset, open_dataset
from datastack_fs.connectors import MemoryStorageConnector
from datastack_fs.datasets import BreastCancerFactory, IrisFactory, WineFactory
from datastack_fs.datasets.holdout import for_testing
from datastack_fs.errors import DatasetFileCorruptError
from datastack_fs.retrieval import ResourceDefinition

FACTORIES = {"iris": IrisFactory, "wine": WineFactory, "breast_cancer": BreastCancerFactory}


@pytest.fixture
def memory(request):
    return MemoryStorageConnector(request.node.nodeid)


def scikit_learns(name):
    from sklearn import datasets

    return getattr(datasets, f"load_{name}")()


@pytest.mark.parametrize("name", FACTORIES)
def test_they_are_scikit_learns_on_every_store(store, name):
    known = scikit_learns(name)
    chosen = for_testing(known.target)
    for split, mask in (("train", ~chosen), ("test", chosen)):
        iterator = load_dataset(name, split=split, storage=store)
        features, targets, tags = iterator.take(range(len(iterator)))
        assert (features.dtype, targets.dtype) == (np.float64, np.int64)
        assert (features == known.data[mask]).all()
        assert (targets == known.target[mask]).all()
        assert set(tags) == {split}
        assert iterator.meta.feature_names == tuple(known.feature_names)
        assert iterator.meta.class_names == tuple(known.target_names)
    assert [info.identifier for info in FACTORIES[name](store).resources()] == [
        f"{name}/raw/{name}.csv",
        f"{name}/preprocessed/train.h5",
        f"{name}/preprocessed/test.h5",
    ]


def test_the_splits_are_what_they_have_always_been(memory):
    found = {}
    for name in FACTORIES:
        for split in ("train", "test"):
            iterator = load_dataset(name, split, memory)
            features, targets, _ = iterator.take(range(len(iterator)))
            content = features.astype("<f8").tobytes() + targets.astype("<i8").tobytes()
            found[f"{name} {split}"] = features.shape, hashlib.sha256(content).hexdigest()[:16]
    assert found == {
        "iris train": ((120, 4), "a7ff7915bb72c823"),
        "iris test": ((30, 4), "d882f909c2cd5bcf"),
        "wine train": ((142, 13), "e6f1b21564310874"),
        "wine test": ((36, 13), "541ef4afe2f61322"),
        "breast_cancer train": ((455, 30), "7568d639c3c8a257"),
        "breast_cancer test": ((114, 30), "e75752b30fd16c07"),
    }


@pytest.mark.parametrize("name", FACTORIES)
def test_every_class_has_its_share_of_both_splits(memory, name):
    train, test = (np.bincount(load_dataset(name, split, memory).targets()) for split in ("train", "test"))
    assert (abs(test - (train + test) / 5) < 1).all()


def test_the_names_stand_in_the_file_too(memory):
    load_dataset("iris", storage=memory)
    with h5py.File(memory.get_resource("iris/preprocessed/train.h5")) as file:
        assert tuple(file["samples"].attrs["feature_names"]) == tuple(
            name.encode() for name in IrisFactory.feature_names
        )
    opened = open_dataset("iris/preprocessed/train.h5", storage=memory)
    assert opened.meta.feature_names == IrisFactory.feature_names
    assert opened.view([1, 2]).meta.feature_names == IrisFactory.feature_names
    assert opened.map(np.sum).meta.feature_names is None, "what a function makes of them has other names"


LINES = "2,4,setosa,versicolor,virginica\n1,2,3,4,0\n"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1,4,setosa\n1,2,3,4,0\n",
        LINES,
        LINES + "1,2,3,4\n",
        LINES + "1,2,3,4,x\n",
        LINES + "1,2,3,4,3\n",
        LINES + "1,2,3,4,0.5\n",
        LINES + "1,nan,3,4,0\n",
        LINES + "1,2,3,é,0\n",
    ],
)
def test_a_table_of_something_else_is_refused(memory, tmp_path, text):
    path = tmp_path / "iris.csv"
    path.write_text(text)
    factory = IrisFactory(memory, resource_definitions=[ResourceDefinition("iris/raw/iris.csv", path)])
    with pytest.raises(DatasetFileCorruptError, match=r"iris/raw/iris\.csv"):
        factory.prepare()
    assert not factory.is_prepared()


@pytest.mark.parametrize("factory", FACTORIES.values())
def test_what_there_is_to_retrieve_is_as_large_as_said(memory, factory):
    factory(memory).prepare()
    (definition,) = factory.definitions()
    assert memory.get_info(definition.identifier).size == factory.download_bytes
