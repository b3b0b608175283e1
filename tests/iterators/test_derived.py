"""Iterators made of others by a function, a mapping or a predicate, repeated, and side by side."""

import pickle

import numpy as np
import pytest

from datastack_fs.iterators import DatasetMeta, SequenceDatasetIterator
from datastack_fs.testing import DatasetIteratorTests

IMAGES = np.arange(12 * 2 * 3, dtype=np.int16).reshape(12, 2, 3)
LABELS = np.arange(12) % 3
META = DatasetMeta("images", "images", tag="all", class_names=("owl", "wren", "finch"))
SWAPPED = DatasetMeta("images", "images", tag="all", sample_pos=2, target_pos=0, tag_pos=1)


def images(meta=META):
    return SequenceDatasetIterator(IMAGES, LABELS, meta=meta)


def rows():
    return list(zip(IMAGES, LABELS, strict=True))


class TestMapped(DatasetIteratorTests):
    @pytest.fixture
    def iterator(self):
        return images(SWAPPED).map(np.negative)

    @pytest.fixture
    def expected(self):
        return [(label, "all", -image) for image, label in rows()]


class TestMappedByColumns(DatasetIteratorTests):
    @pytest.fixture
    def iterator(self):
        return images().map(np.negative, columns=True)[::-1]

    @pytest.fixture
    def expected(self):
        return [(-image, label, "all") for image, label in rows()[::-1]]


class TestTargetMapped(DatasetIteratorTests):
    @pytest.fixture
    def iterator(self):
        return images().map_targets({"wren": "small", "owl": "large", "finch": "small"})

    @pytest.fixture
    def expected(self):
        return [(image, [1, 0, 0][label], "all") for image, label in rows()]


class TestFiltered(DatasetIteratorTests):
    @pytest.fixture
    def iterator(self):
        return images()[::-1].filter(lambda label: label != 1)

    @pytest.fixture
    def expected(self):
        return [(image, label, "all") for image, label in rows()[::-1] if label != 1]


class TestRepeated(DatasetIteratorTests):
    @pytest.fixture
    def iterator(self):
        return images()[:5].repeat(3)

    @pytest.fixture
    def expected(self):
        return [(image, label, "all") for image, label in rows()[:5] * 3]


class TestZipped(DatasetIteratorTests):
    @pytest.fixture
    def iterator(self):
        return images(SWAPPED).zip(SequenceDatasetIterator(LABELS), images())

    @pytest.fixture
    def expected(self):
        return [((image, label, image), label, "all") for image, label in rows()]


def test_labels_are_read_without_the_function():
    mapped = images().map(_fails)
    assert mapped.targets().tolist() == LABELS.tolist()
    assert mapped.tags().tolist() == ["all"] * 12
    with pytest.raises(ZeroDivisionError):
        mapped[0]


def test_a_function_of_columns_gets_the_whole_batch_once():
    sizes = []
    mapped = images().map(lambda column: sizes.append(len(column)) or column, columns=True)
    mapped.take([3, 1, 2])
    mapped.__getitems__([0, 5])
    assert sizes == [3, 2]
    with pytest.raises(ValueError, match="1 rows for one of 2"):
        images().map(lambda column: column[:1], columns=True).take([0, 1])


def test_a_lambda_does_not_pickle():
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(images().map(lambda image: image))


def test_targets_keep_what_they_are_mapped_to():
    mapped = images().map_targets({0: 0.5, 1: 1.5, "finch": 7})
    assert mapped.targets().tolist() == [[0.5, 1.5, 7][label] for label in LABELS]
    assert mapped.meta.class_names is None


def test_a_target_outside_the_mapping_is_named():
    with pytest.raises(ValueError, match=r"target 2 of 'images' is not in the mapping, which has 0, 1"):
        images().map_targets({0: "a", 1: "b"}).targets()
    with pytest.raises(ValueError, match="no class 'crow'; its classes are owl, wren, finch"):
        images().map_targets({"crow": "a"})
    with pytest.raises(TypeError, match="mapping of old to new"):
        images().map_targets({})


def test_a_filter_collapses_into_one_map():
    data = images()
    few = data.view([11, 3, 5, 0], "few").filter(lambda label: label == 0)[::-1]
    assert few.underlying_iterators == (data,)
    assert [int(image[0, 0]) for image, _, _ in few] == [0, 18]
    assert few.meta.tag == "all/few"


def test_a_filter_on_samples():
    assert len(images().filter(lambda image: image.max() > 30, on="sample")) == 7
    with pytest.raises(ValueError, match="'target' or 'sample'"):
        images().filter(bool, on="tag")


def test_a_filter_on_targets_reads_no_samples():
    data = images().map(_fails).filter(lambda label: label == 2)
    assert len(data) == 4


def test_parts_side_by_side_have_one_length():
    with pytest.raises(ValueError, match="'images' has 12 samples, 'in-memory' has 3"):
        images().zip(SequenceDatasetIterator(["a", "b", "c"]))


@pytest.mark.parametrize("times", [0, 1, 2])
def test_repeating(times):
    assert len(images().repeat(times)) == 12 * times
    assert images().repeat(times).targets().tolist() == LABELS.tolist() * times
    with pytest.raises(ValueError, match="negative"):
        images().repeat(-1)


def _fails(_):
    return 1 / 0
