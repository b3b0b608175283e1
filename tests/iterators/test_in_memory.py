"""Copies in memory: by columns where samples are rows of columns, within a bound, with a bar."""

import sys
import tracemalloc

import numpy as np
import pytest

from datastack_fs.iterators import ColumnarDatasetIterator, DatasetMeta, SequenceDatasetIterator
from datastack_fs.iterators.columnar import constant
from datastack_fs.testing import DatasetIteratorTests
from datastack_fs.testing.iterators import assert_all_same
from harness.leaves import RecordingLeaf


class Table(ColumnarDatasetIterator):
    """Rows with columns of every kind; one of them, ``odd``, comes in another type after the first ten rows."""

    def __init__(self, length, odd=False):
        super().__init__(DatasetMeta("table", "table", tag="all"))
        self._length = length
        self._odd = odd
        self.batches = []

    def __len__(self):
        return self._length

    def _take(self, indices):
        self.batches.append(len(indices))
        names = np.array([f"bird {index}" for index in indices.tolist()], dtype=object)
        sample = {
            "age": indices / 2,
            "name": names,
            "place": (indices.astype(np.int8), np.stack([indices] * 2, axis=1)),
        }
        if self._odd:
            sample["odd"] = indices.astype(np.int64 if indices.max() < 10 else np.float32)
        return sample, indices % 3, constant("all", len(indices))


class TestTableInMemory(DatasetIteratorTests):
    @pytest.fixture
    def iterator(self):
        return Table(9).in_memory()

    @pytest.fixture
    def expected(self):
        return list(Table(9))


class TestOddTableInMemory(DatasetIteratorTests):
    @pytest.fixture
    def iterator(self):
        return Table(25, odd=True)[::-1].in_memory()

    @pytest.fixture
    def expected(self):
        return Table(25, odd=True)[::-1].__getitems__(range(25))


def test_tables_are_read_and_kept_by_columns():
    table = Table(100_000)
    tracemalloc.start()
    try:
        kept = table.in_memory()
        size = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert sum(table.batches) == 100_000
    assert len(table.batches) < 15
    assert size < 100_000 * 150  # 8 + 1 + 16 for the numbers, some 100 for the text, and 8 + 8
    assert kept.take([99_999])[0]["place"][1].tolist() == [[99_999, 99_999]]
    assert type(kept[7][0]["place"][0]) is np.int8
    assert kept.targets()[:4].tolist() == [0, 1, 2, 0]


def test_values_of_joined_iterators_keep_their_types():
    large = 2**60 + 1
    joined = SequenceDatasetIterator(np.array([large, 2])) + SequenceDatasetIterator(np.array([0.5]))
    assert [type(sample) for sample, _, _ in joined.in_memory()] == [np.int64, np.int64, np.float64]
    assert joined.in_memory()[0][0] == large == joined[::-1].in_memory()[2][0]


def test_a_table_that_changes_its_columns_on_the_way_is_kept_as_rows():
    class Changing(Table):
        def _take(self, indices):
            sample, *others = super()._take(indices)
            return ({"age": sample["age"]} if indices[0] == 5 else sample, *others)

    changing = Changing(21)
    wanted = [changing.__getitems__([index])[0] for index in (0, 4)]
    kept = changing.in_memory(max_bytes=100_000)
    assert_all_same([kept[0], kept[4]], wanted)
    assert kept[6][0] == {"age": 3.0}


def test_the_bound_is_known_before_memory_is_taken():
    endless = Table(10**9)
    with pytest.raises(ValueError, match=r"'table' needs more than max_bytes=1,000,000,000: at least .* at 1 of 1,000"):
        endless.in_memory(max_bytes=10**9)
    assert endless.batches == [1]
    leaf = RecordingLeaf(10_000)
    with pytest.raises(ValueError, match="was found at 341 of 10,000 samples"):  # objects are counted as they come
        leaf.in_memory(max_bytes=10_000)


def test_memory_that_was_let_go_is_not_counted():
    values = [np.zeros(1000, np.uint8)] * 50 + [np.zeros(999, np.uint8)] * 50
    assert len(SequenceDatasetIterator(values).in_memory(max_bytes=250_000)) == 100


def test_a_bar_is_shown_where_it_is_asked_for_or_on_a_terminal(capsys, monkeypatch):
    leaf = RecordingLeaf(3000)
    leaf.in_memory()
    assert capsys.readouterr().err == ""
    leaf.in_memory(progress=True)
    assert "reading recording" in capsys.readouterr().err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    leaf.in_memory(progress=False)
    leaf.in_memory()  # done before a bar would help
    assert "3.00k" not in capsys.readouterr().err
    monkeypatch.setattr(sys, "stderr", None)
    assert len(leaf.in_memory()) == 3000
