"""MNIST and Fashion-MNIST: their format read strictly, and the real images whole."""

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest

from datastack_fs.connectors import FileStorageConnector, MemoryStorageConnector
from datastack_fs.datasets import FashionMNISTFactory, MNISTFactory
from datastack_fs.datasets.idx import IDXReader
from datastack_fs.errors import DatasetFileCorruptError
from datastack_fs.retrieval import ResourceDefinition
from harness.mirrors import definitions, files, idx, serve

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
DEBIAN_CHECKSUMS = {  # Debian has compressed the files anew
    "train-images-idx3-ubyte.gz": "md5:cf8536b0aa1a6ac5fa3f23001093305c",
    "train-labels-idx1-ubyte.gz": "md5:10bea18fdb374794d4bb42e356e600c9",
    "t10k-images-idx3-ubyte.gz": "md5:f78720b4224f21cce2f2ccf2d7a94c9a",
    "t10k-labels-idx1-ubyte.gz": "md5:0d30e22e447f3c33dab9ed536400ac01",
}


@pytest.fixture
def memory(request):
    return MemoryStorageConnector(request.node.nodeid)


# IDX.


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("shape", [(5,), (5, 3), (5, 2, 4), (0, 2, 4), (5, 0)], ids=str)
def test_idx_is_read_whatever_the_blocks(shape, size):
    array = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    data = idx(array)
    for count in (1, 2, 5, 9):
        blocks = [data[start : start + size] for start in range(0, len(data), size)]
        reader = IDXReader(blocks, "a.gz", dimensions=len(shape))
        assert reader.shape == shape
        rows = list(reader.rows(count))
        assert all(len(block) <= count for block in rows)
        assert (np.concatenate([np.zeros((0, *shape[1:]), np.uint8), *rows]) == array).all()


def test_idx_of_another_kind_is_refused():
    labels = idx(np.arange(5, dtype=np.uint8))
    for data in (b"\1" + labels[1:], labels[:1] + b"\1" + labels[2:], labels[:2] + b"\x0d" + labels[3:], b"\x93NUMPY"):
        with pytest.raises(DatasetFileCorruptError, match=r"a.gz is no IDX file.*it begins with .*not 00 00 08 01"):
            IDXReader([data], "a.gz", dimensions=1)
    with pytest.raises(DatasetFileCorruptError, match="with 3 axes"):
        IDXReader([labels], "a.gz", dimensions=3)


def test_idx_must_end_where_it_says():
    labels = idx(np.arange(5, dtype=np.uint8))
    for size in range(len(labels)):
        with pytest.raises(DatasetFileCorruptError, match=r"a.gz ends too early"):
            list(IDXReader([labels[:size]], "a.gz", dimensions=1).rows(2))
    with pytest.raises(DatasetFileCorruptError, match=r"a.gz goes on after the end"):
        list(IDXReader([labels, b"", b"\0"], "a.gz", dimensions=1).rows(2))


@pytest.mark.parametrize(
    ("name", "array", "reason"),
    [
        ("train-labels", np.zeros(249, np.uint8), "250 images, .*labels_train.gz 249 labels"),
        ("train-labels", np.full(250, 10, np.uint8), "the label 10; there are 10 classes"),
        ("t10k-images", np.zeros((30, 28, 27), np.uint8), r"images of shape \(28, 27\), not \(28, 28\)"),
        ("t10k-images", np.zeros((30, 784), np.uint8), "with 3 axes"),
    ],
)
def test_files_that_do_not_fit_are_refused(memory, web_server, name, array, reason):
    serve(web_server)
    file = next(file for file in files() if file.startswith(name))
    web_server.put(f"mirror/{file}", gzip.compress(idx(array)))
    unchecked = [ResourceDefinition(each.identifier, each.source) for each in definitions(web_server.url)]
    factory = MNISTFactory(memory, resource_definitions=unchecked)
    with pytest.raises(DatasetFileCorruptError, match=reason):
        factory.prepare()
    assert not factory.is_prepared()


@pytest.mark.parametrize("harm", ["cut", "damaged", "not gzip"])
def test_a_broken_gzip_is_refused_by_name(memory, web_server, harm):
    serve(web_server)
    file = "train-images-idx3-ubyte.gz"
    content = files()[file]
    middle = len(content) // 2
    broken = {
        "cut": content[:-20],
        "damaged": content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :],
        "not gzip": b"\x1f\x8b" + bytes(1000),
    }
    web_server.put(f"mirror/{file}", broken[harm])
    unchecked = [ResourceDefinition(each.identifier, each.source) for each in definitions(web_server.url)]
    with pytest.raises(DatasetFileCorruptError, match=r"mnist/raw/samples_train\.gz"):
        MNISTFactory(memory, resource_definitions=unchecked).prepare()
    assert not any("preprocessed" in name for name in memory.list_resources())


# Where they come from.


@pytest.mark.parametrize("factory", [MNISTFactory, FashionMNISTFactory])
def test_the_published_files_have_checksums(factory):
    published = factory.definitions()
    assert [definition.identifier for definition in published] == [
        f"{factory.name}/raw/{kind}_{split}.gz" for split in ("train", "test") for kind in ("samples", "labels")
    ]
    assert all(definition.md5_sum and definition.source.startswith("http") for definition in published)
    assert len({definition.checksum for definition in published}) == 4


def test_a_mirror_keeps_the_checksums_unless_told():
    other = "sha256:" + "0" * 64
    changes = {"t10k-labels-idx1-ubyte.gz": other, "t10k-images-idx3-ubyte.gz": None}
    mirror = MNISTFactory.mirror("http://host/", changes)
    published = MNISTFactory.definitions()
    assert [each.checksum for each in mirror] == [*(each.checksum for each in published[:2]), None, other]
    assert mirror[0].source == "http://host/train-images-idx3-ubyte.gz"
    with pytest.raises(ValueError, match=r"unknown files \['train'\]"):
        MNISTFactory.mirror("http://host", {"train": other})


# The real images.


def parse(name):
    with gzip.open(DEBIAN / name) as file:
        data = file.read()
    axes = data[3]
    shape = struct.unpack_from(f">{axes}I", data, 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * axes).reshape(shape)


def test_fashion_mnist(tmp_path, web_server):
    if not DEBIAN.is_dir():
        pytest.fail("the Fashion-MNIST files are missing: apt-get install dataset-fashion-mnist", pytrace=False)
    web_server.folder = DEBIAN
    mirror = FashionMNISTFactory.mirror(web_server.url, DEBIAN_CHECKSUMS)
    factory = FashionMNISTFactory(FileStorageConnector(tmp_path), resource_definitions=mirror)
    for split, published, count in (("train", "train", 60_000), ("test", "t10k", 10_000)):
        iterator, meta = factory.get_dataset_iterator(config={"split": split})
        images, targets, tags = zip(*iterator, strict=True)
        assert (np.stack(images) == parse(f"{published}-images-idx3-ubyte.gz")).all()
        assert (np.array(targets) == parse(f"{published}-labels-idx1-ubyte.gz")).all()
        assert (iterator.targets() == np.array(targets)).all()
        assert len(images) == count
        assert set(tags) == {split}
        assert meta.class_names[targets[0]] == "Ankle boot"
    assert len(web_server.requests) == 4


def test_the_checksums_of_the_package_are_those_of_its_files():
    if not DEBIAN.is_dir():
        pytest.fail("the Fashion-MNIST files are missing: apt-get install dataset-fashion-mnist", pytrace=False)
    for name, checksum in DEBIAN_CHECKSUMS.items():
        assert checksum == f"md5:{hashlib.md5((DEBIAN / name).read_bytes()).hexdigest()}"
