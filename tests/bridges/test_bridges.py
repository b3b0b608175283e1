"""What bridges do without another library: cuts at borders of blocks, names of columns, saying what is missing."""

import sys

import numpy as np
import pytest

from datastack_fs import FileStorageConnector, MissingDependencyError, SequenceDatasetIterator, bridges
from datastack_fs.bridges.cuts import cuts
from datastack_fs.bridges.named_columns import bytes_of_sample, named_columns
from datastack_fs.formats.hdf5 import HDF5DatasetIterator
from datastack_fs.formats.hdf5_writing import store_columns

NUMBERS = SequenceDatasetIterator(np.zeros((5, 2), "f4"), range(5))


@pytest.mark.parametrize(
    ("package", "extra", "call"),
    [
        ("ray", "ray", lambda: bridges.to_ray(NUMBERS)),
        ("ray", "ray", lambda: bridges.write_to(None, None, "numbers")),
        ("ray", "ray", lambda: bridges.preprocess_on_ray([], None)),
        ("dask", "dask", lambda: bridges.to_dask(NUMBERS)),
        ("datasets", "hf", lambda: bridges.to_hf(NUMBERS)),
    ],
)
def test_what_is_missing_is_said(package, extra, call, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=rf"pip install 'datastack-fs\[{extra}\]'"):
        call()


def test_runs_end_where_chunks_do(tmp_path):
    store = FileStorageConnector(tmp_path)
    store_columns(store, "rows.h5", [{"samples": np.zeros((1000, 128), "f8")}], 1000)
    iterator = HDF5DatasetIterator(store.get_resource("rows.h5"))
    assert bytes_of_sample(iterator) == 1024
    for count in (1, 3, 7, 16, 1000):
        for stack in (iterator, iterator[100:], iterator + iterator):
            runs = cuts(stack, count)
            assert [place for run in runs for place in run] == list(range(len(stack)))
            assert len(runs) <= count
    assert [run.start for run in cuts(iterator, 1000)] == list(range(0, 1000, 64))
    assert [len(run) for run in cuts(iterator.shuffle(seed=1), 10)] == [100] * 10
    assert cuts(iterator[:0], 3) == []


def test_two_columns_of_one_name_are_refused():
    pairs = SequenceDatasetIterator([{"target": 1}], [2])
    with pytest.raises(ValueError, match="two columns are called 'target'"):
        named_columns(pairs.take([0]), pairs.meta)
