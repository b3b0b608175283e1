"""Digits: those of scikit-learn, in two splits that are the same everywhere."""

import gzip
import hashlib
import subprocess
import sys

import numpy as np
import pytest

from datastack_fs.connectors import MemoryStorageConnector
from datastack_fs.datasets import DigitsFactory
from datastack_fs.datasets.holdout import for_testing
from datastack_fs.errors import DatasetFileCorruptError, MissingDependencyError
from datastack_fs.retrieval import ResourceDefinition
from datastack_fs.testing import DatasetIteratorTests

RAW = "digits/raw/digits.csv.gz"


@pytest.fixture
def memory(request):
    return MemoryStorageConnector(request.node.nodeid)


def arrays(connector, split):
    iterator, meta = DigitsFactory(connector).get_dataset_iterator({"split": split})
    samples = list(iterator)
    assert {tag for _, _, tag in samples} == {split}
    assert meta.class_names == tuple("0123456789")
    return np.stack([image for image, _, _ in samples]), np.array([target for _, target, _ in samples])


def test_they_are_scikit_learns_on_every_store(store):
    from sklearn.datasets import load_digits

    digits = load_digits()
    chosen = for_testing(digits.target)
    for split, mask in (("train", ~chosen), ("test", chosen)):
        images, targets = arrays(store, split)
        assert (images.dtype, images.shape[1:]) == (np.uint8, (8, 8))
        assert (images == digits.images[mask]).all()
        assert (targets == digits.target[mask]).all()
    assert [info.identifier for info in DigitsFactory(store).resources()] == [
        "digits/raw/digits.csv.gz",
        "digits/preprocessed/train.h5",
        "digits/preprocessed/test.h5",
    ]


def test_the_splits_are_what_they_have_always_been(memory):
    found = {}
    for split in ("train", "test"):
        images, targets = arrays(memory, split)
        content = images.tobytes() + targets.astype("<i8").tobytes()
        found[split] = len(images), int(images.max()), hashlib.sha256(content).hexdigest()[:16]
    assert found == {"train": (1437, 16, "662e33a2e9c99c1f"), "test": (360, 16, "973417cfcf53301f")}


def test_every_class_has_its_share_of_both_splits(memory):
    train, test = (np.bincount(arrays(memory, split)[1]) for split in ("train", "test"))
    assert len(train) == len(test) == 10
    assert (abs(test - (train + test) / 5) < 1).all()


def test_scikit_learn_is_not_imported():
    code = """
import sys
from datastack_fs.connectors import MemoryStorageConnector
from datastack_fs.datasets import DigitsFactory
DigitsFactory(MemoryStorageConnector()).get_dataset_iterator()
assert "sklearn" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_scikit_learn_it_says_what_to_install(memory, monkeypatch):
    arrays(memory, "train")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert len(arrays(memory, "test")[0]) == 360, "what is prepared needs it no more"
    with pytest.raises(MissingDependencyError, match=r"pip install 'datastack-fs\[sklearn\]'"):
        DigitsFactory(memory).prepare(overwrite=True)


@pytest.mark.parametrize(
    "text",
    ["", "a,b\n", "1,2,3\n", ",".join(["17"] * 64 + ["3"]), ",".join(["1"] * 64 + ["10"]), ",".join(["-1"] * 65), "é"],
)
def test_a_file_of_something_else_is_refused(memory, tmp_path, text):
    path = tmp_path / "digits.csv.gz"
    path.write_bytes(gzip.compress(text.encode()))
    factory = DigitsFactory(memory, resource_definitions=[ResourceDefinition(RAW, path)])
    with pytest.raises(DatasetFileCorruptError, match=RAW):
        factory.prepare()
    assert not factory.is_prepared()


class TestDigits(DatasetIteratorTests):
    @pytest.fixture
    def iterator(self, memory):
        return DigitsFactory(memory).get_dataset_iterator({"split": "test"})[0].view(range(0, 360, 15))

    @pytest.fixture
    def expected(self):
        from sklearn.datasets import load_digits

        digits = load_digits()
        places = np.flatnonzero(for_testing(digits.target))[::15]
        return [(digits.images[place].astype(np.uint8), digits.target[place], "test") for place in places]
