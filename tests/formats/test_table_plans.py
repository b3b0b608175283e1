"""Plans of tables, texts and files: what they say is what is fetched, in one request, and the samples are the same."""

import gc
import io
import zipfile
from itertools import chain

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from datastack_fs import open_dataset
from datastack_fs.iterators import DataFrameDatasetIterator
from datastack_fs.iterators.labels import samples_of
from datastack_fs.iterators.planning import fetched
from datastack_fs.testing.iterators import assert_all_same, shuffled
from harness.cases import all_cases, parquet
from harness.counting import CountingStore

PLANNED = ("parquet", "arrow", "csv", "jsonl", "files")
CASES = {
    case.name: case
    for case in all_cases()
    if case.name.startswith(PLANNED) and not case.identifier.endswith((".gz", ".tgz", ".tar.bz2", ".tar.xz"))
}


class ExactStore(CountingStore):
    """A store that joins no ranges but those that touch."""

    gap_bytes = 0


@pytest.mark.parametrize("name", CASES)
def test_what_is_fetched_is_what_the_plan_says(name):
    case = CASES[name]
    store = ExactStore(f"plans-{name}")
    for identifier, content in case.contents.items():
        store.set_resource(identifier, content)
    iterator = open_dataset(case.identifier, storage=store, **case.options)
    order = shuffled(range(len(case.expected)))[:4]
    wanted = [case.expected[index] for index in order]
    asked = iterator.byte_ranges(order)
    plan = iterator._plan(np.array(order))
    store.requests.clear()
    answers = fetched(plan.requests)
    assert len(store.requests) == len(asked)
    assert sorted(chain(*store.requests)) == sorted(chain(*(request.ranges for request in asked)))
    store.requests.clear()
    assert_all_same(samples_of(plan.finish(plan.decode(answers))), wanted)
    assert store.requests == []
    order = order * 3
    ahead = [sample for columns in iterator.batches(3, order) for sample in samples_of(columns)]
    assert_all_same(ahead, [case.expected[index] for index in order])


ROWS = 40_000
NUMBERS = pa.table({"x": np.random.default_rng(0).random(ROWS)})


def opened_groups(store, cache_bytes=1):
    content = parquet.saved(NUMBERS, row_group_size=10_000, use_dictionary=False)
    store.set_resource("a.parquet", content)
    return open_dataset("a.parquet", storage=store, sample="x", cache_bytes=cache_bytes)


def test_a_row_group_that_an_earlier_plan_fetches_is_not_fetched_again():
    iterator = opened_groups(ExactStore("plans-promised"))
    first, second = iterator._plan(np.array([5, 10_005])), iterator._plan(np.array([10_006, 39_999]))
    sizes = [sum(stop - start for each in plan.requests for start, stop in each.ranges) for plan in (first, second)]
    assert sizes[0] > 1.9 * sizes[1] > 0
    for plan, rows in ((first, [5, 10_005]), (second, [10_006, 39_999])):
        assert plan.read()[0].tolist() == NUMBERS["x"].take(rows).to_pylist()


def test_look_ahead_fetches_each_row_group_once(monkeypatch):
    monkeypatch.setattr("datastack_fs.iterators.kept_resources._WORTH_IT", 2.0)  # the row groups are all that is kept
    store = ExactStore("plans-ahead")
    iterator = opened_groups(store, cache_bytes=1 << 20)
    store.requests.clear()
    order = np.random.default_rng(1).permutation(ROWS)
    found = np.concatenate([samples for samples, _, _ in iterator.batches(5000, order)])
    assert np.array_equal(found, NUMBERS["x"].to_numpy()[order])
    assert store.fetched < 1.1 * NUMBERS.nbytes


@pytest.mark.parametrize("fate", ["dropped", "later"])
def test_what_an_earlier_plan_did_not_decode_is_fetched_all_the_same(fate):
    store = ExactStore(f"plans-{fate}")
    iterator = opened_groups(store)
    first = iterator._plan(np.array([5]))
    second = iterator._plan(np.array([6]))
    assert not second.size
    if fate == "dropped":
        del first
        gc.collect()
    store.requests.clear()
    assert second.read()[0].tolist() == NUMBERS["x"][6:7].to_pylist()
    assert len(store.requests) == 1
    if fate == "later":
        assert first.read()[0].tolist() == NUMBERS["x"][5:6].to_pylist()


def test_a_batch_too_large_to_be_fetched_at_once_is_read_in_portions(monkeypatch):
    monkeypatch.setattr("datastack_fs.formats.row_groups.FETCH_BYTES", 100_000)
    iterator = opened_groups(ExactStore("plans-large"))
    plan = iterator._plan(np.array([5, 39_999]))
    assert not plan.is_known
    assert plan.read()[0].tolist() == NUMBERS["x"].take([5, 39_999]).to_pylist()


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_of_a_zip_are_ranges_of_it(method):
    texts = {f"{number % 7}/{number:05}.txt": f"bird {number} " * 50 for number in range(2000)}
    with zipfile.ZipFile(stream := io.BytesIO(), "w", method) as archive:
        for name, text in texts.items():
            archive.writestr(name, text)
        packed = {member.filename: member.compress_size for member in archive.infolist()}
    store = ExactStore(f"plans-zip-{method}")
    store.set_resource("a.zip", stream.getvalue())
    iterator = open_dataset("a.zip", storage=store)
    names = sorted(texts)
    store.requests.clear()
    for batch in np.split(np.random.default_rng(0).permutation(2000), 20):
        plan = iterator._plan(batch)
        assert not store.requests
        (request,) = plan.requests
        assert (request.source, request.identifier) == (store, "a.zip")
        size = sum(stop - start for start, stop in request.ranges)
        assert size < sum(packed[names[index]] for index in batch) + 100 * len(batch)  # with their local headers
        samples, targets, _ = plan.read()
        assert samples.tolist() == [texts[names[index]] for index in batch]
        assert targets.tolist() == [int(names[index][0]) for index in batch]
        assert len(store.requests) == 1
        store.requests.clear()


def test_a_frame_needs_no_bytes_and_a_workbook_cannot_tell():
    frame = DataFrameDatasetIterator(pd.DataFrame({"x": [1, 2], "label": [0, 1]}))
    assert frame.byte_ranges([1]) == []
    (workbook, *_) = (case for case in all_cases() if case.name == "excel")
    store = ExactStore("plans-excel")
    store.set_resource(workbook.identifier, workbook.contents[workbook.identifier])
    assert open_dataset(workbook.identifier, storage=store, **workbook.options).byte_ranges([1]) is None
