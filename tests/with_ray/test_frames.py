"""Iterators as dask data frames and as datasets of Hugging Face."""

import io

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datastack_fs import SequenceDatasetIterator, load_dataset, open_dataset
from datastack_fs.bridges import to_dask, to_hf
from harness.ray_cluster import images_in


def test_a_table_is_a_dask_frame_read_by_row_groups(shared_store):
    table = pa.table({"width": np.arange(1000.0), "kind": [f"k{n % 7}" for n in range(1000)], "label": range(1000)})
    file = io.BytesIO()
    pq.write_table(table, file, row_group_size=130)
    shared_store.set_resource("table.parquet", file.getvalue())
    iterator = open_dataset("table.parquet", storage=shared_store)
    frame = to_dask(iterator, partitions=3)
    assert frame.divisions == (0, 390, 650, 999)
    found = frame.compute(scheduler="threads")
    assert list(found.columns) == ["width", "kind", "target"]
    assert found["width"].tolist() == list(range(1000))
    assert found["kind"].tolist() == table["kind"].to_pylist()
    assert frame.groupby("kind")["target"].sum().compute(scheduler="threads")["k1"] == sum(range(1, 1000, 7))


def test_vectors_are_columns_and_images_are_refused():
    iris = load_dataset("iris", storage="memory://dask-iris")
    frame = to_dask(iris.shuffle(seed=1), partitions=2).compute(scheduler="threads")
    samples, targets, _ = iris.shuffle(seed=1).take(range(len(iris)))
    assert list(frame.columns) == [*iris.meta.feature_names, "target", "tag"]
    assert np.array_equal(frame[list(iris.meta.feature_names)], samples)
    assert np.array_equal(frame["target"], targets)
    with pytest.raises(TypeError, match=r"holds arrays of shape \(8, 8\)"):
        to_dask(SequenceDatasetIterator(np.zeros((5, 8, 8))))
    missing = SequenceDatasetIterator([{"a": 1.0}, {"a": 2.0}], ["x", None])
    assert isinstance(to_dask(missing, partitions=2).compute(scheduler="threads"), pd.DataFrame)


def test_images_are_a_stream_of_hugging_face(shared_store):
    images, labels, iterator = images_in(shared_store)
    dataset = to_hf(iterator)
    assert dataset.features["target"].names == ["owl", "wren", "jay"]
    assert dataset.features["sample"].shape == (16, 16)
    assert dataset.num_shards == 2
    rows = list(dataset.with_format("numpy"))
    assert np.array_equal(np.stack([row["sample"] for row in rows]), images)
    assert [row["target"] for row in rows] == labels.tolist()
    assert dataset.features["sample"].dtype == "uint8"
    assert sum(len(list(dataset.shard(2, index))) for index in range(2)) == 300
    state, seen = None, []
    for row in dataset:
        seen.append(row["target"])
        if len(seen) == 120:
            state = dataset.state_dict()
            break
    again = to_hf(iterator)
    again.load_state_dict(state)
    assert seen + [row["target"] for row in again] == labels.tolist()


def test_tables_and_vectors_are_streams_too():
    iris = load_dataset("iris", storage="memory://hf-iris")
    rows = list(to_hf(iris, shards=3))
    assert rows[5]["sample"] == iris[5][0].tolist()
    assert (rows[5]["target"], rows[5]["tag"]) == (iris[5][1], "train")
    birds = SequenceDatasetIterator([{"grams": 480.0, "name": "owl"}, {"grams": 9.0, "name": "wren"}])
    assert list(to_hf(birds)) == [{"grams": 480.0, "name": "owl"}, {"grams": 9.0, "name": "wren"}]
    with pytest.raises(TypeError, match="no feature for it"):
        to_hf(SequenceDatasetIterator([object()]))
