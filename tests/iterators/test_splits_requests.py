"""Splits read labels, and no samples: counted where the bytes come from."""

import json

import h5py
import numpy as np
import pytest

from datastack_fs.connectors import S3StorageConnector
from datastack_fs.formats.hdf5 import HDF5DatasetIterator
from datastack_fs.formats.hdf5_writing import rows_per_block, store_hdf5
from datastack_fs.iterators import ColumnarDatasetIterator, DatasetMeta, SequenceDatasetIterator
from datastack_fs.iterators.splits import (
    folds_by,
    group_k_fold,
    group_split,
    hash_split,
    k_fold,
    load_split,
    nested_k_fold,
    random_split,
    save_split,
    stratified_k_fold,
    stratified_split,
)
from harness.counting import CountingStore
from harness.proxy import FaultProxy
from harness.stores import BUCKET, unique

IMAGES = 100_000
ROW_BYTES = 32 * 32


def every_split(iterator, folder):
    """Runs all of them, with groups and keys that come from the tags."""
    random_split(iterator, [0.8, 0.2], seed=1)
    stratified_split(iterator, [0.8, 0.1, 0.1], seed=1)
    group_split(iterator, [0.8, 0.2], seed=1)
    hash_split(iterator, [0.8, 0.2])
    k_fold(iterator, 5, seed=1)
    stratified_k_fold(iterator, 5, seed=1)
    group_k_fold(iterator, 5, seed=1)
    nested_k_fold(iterator, 3, 2, seed=1, stratified=True)
    from sklearn.model_selection import StratifiedKFold

    made = folds_by(iterator, StratifiedKFold(3))
    save_split(made, folder / "split.json")
    load_split(iterator, folder / "split.json")


class NoSamples(ColumnarDatasetIterator):
    """Labels and tags that can be read, and samples that can't."""

    def __len__(self):
        return 300

    def _take(self, indices):
        raise AssertionError("a sample is read")

    def _targets(self, indices):
        return indices % 3

    def _tags(self, indices):
        return indices // 10


def no_samples():
    return NoSamples(DatasetMeta("none", "none"))


@pytest.mark.parametrize(
    "stacked",
    [
        no_samples,
        lambda: no_samples().view(range(299, -1, -1)),
        lambda: no_samples().shuffle(seed=1),
        lambda: no_samples() + no_samples(),
        lambda: (no_samples()[:150] + no_samples().shuffle(seed=1)).view(range(100, 400)),
    ],
    ids=["leaf", "view", "shuffle", "combined", "stack"],
)
def test_no_sample_is_read_through_any_stack(stacked, tmp_path):
    every_split(stacked(), tmp_path)


def test_a_table_reads_the_columns_of_targets_and_tags_alone(tmp_path):
    from datastack_fs.iterators.tabular import TabularDatasetIterator

    class Table(TabularDatasetIterator):
        def __len__(self):
            return 300

        def _read_columns(self, names, indices):
            assert set(names) <= {"label", "site"}
            return {name: indices % 3 if name == "label" else indices // 10 for name in names}

    table = Table(["x", "label", "site"], DatasetMeta("t", "t"), sample="x", target="label", tag="site")
    every_split(table, tmp_path)
    constant = Table(["x", "label", "site"], DatasetMeta("t", "t", tag="all"), sample="x", target="label")
    assert set(constant.tags()) == {"all"}


def test_the_images_of_a_file_are_not_fetched(request, tmp_path):
    store = CountingStore(request.node.nodeid)
    path = tmp_path / "birds.h5"
    with h5py.File(path, "w", libver=("v110", "v110")) as file:
        file.create_dataset("images", data=np.ones((3000, 32, 32), dtype=np.uint8), chunks=(64, 32, 32))
        file["labels"] = np.arange(3000) % 3
        file["sites"] = np.arange(3000) // 10
        place = file["images"].id.get_chunk_info(0)
        chunks = [file["images"].id.get_chunk_info(n) for n in range(file["images"].id.get_num_chunks())]
        image_bytes = [(chunk.byte_offset, chunk.byte_offset + chunk.size) for chunk in chunks]
    assert place.size == 64 * 32 * 32
    store.set_resource("birds.h5", path.read_bytes())
    iterator = HDF5DatasetIterator(store.get_resource("birds.h5"), sample="images", target="labels", tag="sites")
    every_split(iterator, tmp_path)
    touched = {
        image
        for ranges in store.requests
        for start, stop in ranges
        for image in image_bytes
        if start < image[1] and image[0] < stop
    }
    # The blocks of 64 KiB that hold labels and the file's own index may reach into a neighbouring chunk.
    assert len(touched) <= 4
    assert store.fetched < 0.15 * 3000 * ROW_BYTES


def test_labels_only_operations_on_s3_fetch_less_than_a_hundredth(seaweed, tmp_path):
    """100,000 images, counted at a proxy before the server: all that went to the client, headers and all."""
    block = rows_per_block(ROW_BYTES)
    rng = np.random.default_rng(1)

    def blocks():
        for start in range(0, IMAGES, block):
            rows = min(block, IMAGES - start)
            yield rng.integers(0, 255, (rows, 32, 32), dtype=np.uint8), rng.integers(0, 10, rows, dtype=np.uint8)

    seaweed.make_bucket(BUCKET)
    prefix = unique("labels")
    direct = S3StorageConnector(BUCKET, prefix, **seaweed.options())
    size = store_hdf5(direct, "images.h5", blocks(), IMAGES, class_names=[f"class {n}" for n in range(10)]).size
    assert size > IMAGES * ROW_BYTES

    with FaultProxy.before(seaweed.endpoint_url) as proxy:
        connector = S3StorageConnector(BUCKET, prefix, **{**seaweed.options(), "endpoint_url": proxy.url})
        iterator = HDF5DatasetIterator(connector.get_resource("images.h5"), sample="samples", target="targets")
        groups = np.arange(IMAGES) // 7
        targets = iterator.targets()
        stratified_split(iterator, [0.8, 0.1, 0.1], seed=1)
        stratified_k_fold(iterator, 5, seed=1)
        group_split(iterator, [0.8, 0.2], seed=1, groups=groups)
        hash_split(iterator, [0.8, 0.2], keys=groups)
        train, _ = random_split(iterator, [0.8, 0.2], seed=1)
        assert train.shuffle(seed=1)[:100].targets().shape == (100,)
        save_split(k_fold(iterator, 5, seed=1), tmp_path / "folds.json")
        assert len(load_split(iterator, tmp_path / "folds.json")) == 5
        connector.close()
    assert np.bincount(targets).sum() == IMAGES
    assert 0 < proxy.bytes_down < size / 100
    assert json.loads((tmp_path / "folds.json").read_text())["fingerprint"]["resources"][0]["size"] == size


def test_a_leaf_without_labels_apart_is_read_for_them():
    """What ``targets()`` promises for such leaves: they are the exception, and say so."""
    read = []

    class Leaf(SequenceDatasetIterator):
        def _targets(self, indices):
            read.append(len(indices))
            return super()._targets(indices)

    random_split(Leaf(range(10)), [0.5, 0.5], seed=1)
    assert read == []
