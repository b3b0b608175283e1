"""Iterators as datasets of Ray, on two nodes: the same rows in the same order, read where the tasks run."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from datastack_fs import open_dataset
from datastack_fs.bridges import to_ray
from datastack_fs.bridges.cuts import cuts
from datastack_fs.connectors import S3StorageConnector
from harness.proxy import FaultProxy
from harness.ray_cluster import images_in
from harness.stores import BUCKET, unique


def columns_of(dataset):
    batches = list(dataset.iter_batches(batch_format="numpy", batch_size=None))
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def test_rows_and_order_are_those_of_the_iterator(shared_store, no_reads_here, monkeypatch):
    images, labels, iterator = images_in(shared_store)
    dataset = to_ray(iterator, blocks=4)
    assert dataset.count() == 300
    assert dataset.size_bytes() == images.nbytes
    found = columns_of(dataset)
    assert list(found) == ["sample", "target"]
    assert found["sample"].dtype == np.uint8
    assert np.array_equal(found["sample"], images)
    assert np.array_equal(found["target"], labels)
    order = iterator.shuffle(seed=3)
    shuffled = columns_of(to_ray(order, blocks=4))["sample"]
    monkeypatch.undo()
    assert np.array_equal(shuffled, order.take(range(300))[0])


def test_tasks_end_where_blocks_do(shared_store):
    table = pa.table({"width": np.arange(1000.0), "kind": [f"k{n % 7}" for n in range(1000)], "label": range(1000)})
    file = io.BytesIO()
    pq.write_table(table, file, row_group_size=130)
    shared_store.set_resource("table.parquet", file.getvalue())
    iterator = open_dataset("table.parquet", storage=shared_store)
    runs = cuts(iterator, 3)
    assert [run.start for run in runs] == [0, 390, 650]
    assert [run.start % 130 for run in cuts(iterator, 100)] == [0] * 8
    found = to_ray(iterator, blocks=3)
    assert found.materialize().num_blocks() == 3
    rows = found.take_all()
    assert [row["width"] for row in rows] == list(range(1000))
    assert rows[8] == {"width": 8.0, "kind": "k1", "target": 8}


def test_chunks_are_fetched_once(seaweed):
    with FaultProxy.before(seaweed.endpoint_url) as proxy:
        options = {**seaweed.options(), "endpoint_url": proxy.url}
        store = S3StorageConnector(seaweed.make_bucket(BUCKET), unique("ray"), **options)
        images, _, iterator = images_in(store, 128 * 256)
        before = proxy.bytes_down
        assert np.array_equal(columns_of(to_ray(iterator, blocks=8))["sample"], images)
        assert proxy.bytes_down - before < 1.3 * images.nbytes
