"""The whole way, on every store: retrieve, check, preprocess, store, open lazily, iterate, in any process."""

import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from datastack_fs import open_dataset
from datastack_fs.datasets import DigitsFactory, FashionMNISTFactory
from datastack_fs.testing.processes import in_child
from harness.samples import samples_of, samples_of_pickled
from harness.stores import WRITABLE, empty_store

FASHION = Path("/usr/share/datasets/fashion-mnist")
FASHION_MD5 = {  # of Debian's package dataset-fashion-mnist, which compressed the files anew
    "train-images-idx3-ubyte.gz": "cf8536b0aa1a6ac5fa3f23001093305c",
    "train-labels-idx1-ubyte.gz": "10bea18fdb374794d4bb42e356e600c9",
    "t10k-images-idx3-ubyte.gz": "f78720b4224f21cce2f2ccf2d7a94c9a",
    "t10k-labels-idx1-ubyte.gz": "0d30e22e447f3c33dab9ed536400ac01",
}


@pytest.fixture
def fashion_mirror(web_server):
    if not FASHION.is_dir():
        message = "the Fashion-MNIST files are missing: apt-get install dataset-fashion-mnist"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    for name in FASHION_MD5:
        web_server[name] = (FASHION / name).read_bytes()
    return web_server


def test_fashion_mnist_is_equal_in_every_store(fashion_mirror, request):
    checksums = {name: f"md5:{digits}" for name, digits in FASHION_MD5.items()}
    definitions = FashionMNISTFactory.mirror(fashion_mirror.url, checksums)
    reference = {}
    for kind in ["file", "s3", "gcs", "gridfs"]:
        store = empty_store(kind, request)
        factory = FashionMNISTFactory(store, resource_definitions=definitions)
        for split, count in {"train": 60_000, "test": 10_000}.items():
            iterator, meta = factory.get_dataset_iterator(config={"split": split})
            assert len(iterator) == count
            images, targets, tags = zip(*iterator, strict=True)
            found = np.stack(images), np.array(targets)
            assert found[0].shape == (count, 28, 28)
            assert set(tags) == {split}
            assert (found[1] == iterator.targets()).all()
            for ours, theirs in zip(found, reference.setdefault(split, found), strict=True):
                assert ours.dtype == theirs.dtype
                assert (ours == theirs).all(), f"{split} differs in {kind}"
            assert meta.class_names[reference[split][1][0]] == "Ankle boot"


@pytest.fixture(params=[*WRITABLE, "http", "zip"])
def iterator(request):
    """The digits, from a store of each kind."""
    if request.param in WRITABLE:
        return DigitsFactory(empty_store(request.param, request)).get_dataset_iterator(config={"split": "train"})[0]
    prepared = empty_store("file", request)
    DigitsFactory(prepared).prepare()
    content = prepared.get_resource("digits/preprocessed/train.h5").read()
    if request.param == "http":
        server = request.getfixturevalue("web_server")
        url = server.put("digits/train.h5", content)
    else:
        path = request.getfixturevalue("tmp_path") / "digits.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("train.h5", content)
        url = f"zip://train.h5::{path}"
    return open_dataset(url, sample="samples", target="targets")


def test_a_pickled_iterator_gives_the_same_samples_in_any_child(iterator):
    stack = (iterator + iterator[100:200]).shuffle(seed=3).view(range(0, 1500, 7))
    expected = samples_of(stack)
    pickled = pickle.dumps(stack)
    for method in ("fork", "spawn", "forkserver"):
        assert in_child(method, samples_of_pickled, pickled) == expected, method
    assert samples_of(stack) == expected
