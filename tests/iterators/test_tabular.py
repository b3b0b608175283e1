"""What tables share: columns by name as sample, target and tag."""

import numpy as np
import pytest

from datastack_fs.errors import DatasetFileCorruptError, DatasetNotFoundError
from datastack_fs.iterators import DatasetMeta
from datastack_fs.iterators.tabular import TabularDatasetIterator
from datastack_fs.testing import DatasetIteratorTests

META = DatasetMeta("birds.table", "birds", tag="all")
COLUMNS = {
    "legs": np.arange(10),
    "weight": np.linspace(0, 1, 10),
    "name": np.array([f"bird {number}" for number in range(10)], dtype=object),
    "label": np.arange(10) % 3,
}


class Table(TabularDatasetIterator):
    """A table in memory that notes which columns are read."""

    def __init__(self, columns=COLUMNS, **options):
        super().__init__(list(columns), META, **options)
        self.columns = columns
        self.read = []

    def __len__(self):
        return len(next(iter(self.columns.values())))

    def _read_columns(self, names, indices):
        self.read.append(tuple(names))
        return {name: self.columns[name][indices] for name in names}


class TestAllColumns(DatasetIteratorTests):
    @pytest.fixture
    def iterator(self):
        return Table().shuffle(seed=0).view(range(10)[::-1])

    @pytest.fixture
    def expected(self):
        rows = [
            ({name: COLUMNS[name][index] for name in ("legs", "weight", "name")}, COLUMNS["label"][index], "all")
            for index in range(10)
        ]
        order = [index for (index, *_) in Table(sample="legs").shuffle(seed=0)]
        return [rows[index] for index in order[::-1]]

    # The table is this module's own, which a child that is not forked can't import.
    test_pickle = None
    test_child_processes = None


def test_samples_as_tuples_mappings_and_vectors():
    assert Table(sample=["name", "legs"])[3] == (("bird 3", 3), None, "all")
    assert Table(sample={"n": "legs"}, target="name", tag="label")[4] == ({"n": 4}, "bird 4", 1)
    vector, target, _ = Table(sample=["legs", "weight"], vector=True).take([9, 0])
    assert vector.tolist() == [[9.0, 1.0], [0.0, 0.0]]
    assert target.tolist() == [None, None]
    with pytest.raises(DatasetFileCorruptError, match=r"column 'name' of birds\.table holds no plain numbers"):
        Table(sample=["legs", "name"], vector=True)[0]


def test_labels_and_tags_read_their_columns_alone():
    table = Table(tag="name")
    table.targets(), table.tags()
    assert table.read == [("label",), ("name",)]
    assert table.to_pandas([2, 0])["name"].tolist() == ["bird 2", "bird 0"]


def test_columns_that_are_not_there_or_twice():
    with pytest.raises(DatasetNotFoundError, match=r"no column 'wings' in birds\.table; it has 'legs', 'weight'"):
        Table(target="wings")
    with pytest.raises(DatasetFileCorruptError, match="several columns 'a'"):
        TabularDatasetIterator.__init__(Table(), ["a", "b", "a"], META)


def test_a_table_of_nothing_but_labels_says_that_no_sample_is_left():
    with pytest.raises(DatasetNotFoundError, match=r"no column of birds\.table is left for the sample: it has 'label'"):
        Table({"label": np.arange(3)})
    assert Table({"label": np.arange(3)}, sample="label")[2] == (2, None, "all")
