"""Arrow IPC files: what is fetched or mapped of them, and what is refused."""

import io
import pickle

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datastack_fs import open_dataset
from datastack_fs.connectors import FileStorageConnector, MemoryStorageConnector
from datastack_fs.errors import DatasetFileCorruptError, ResourceChangedError
from datastack_fs.formats.arrow import ArrowDatasetIterator
from datastack_fs.formats.arrow_footer import CARRIED_BYTES, ArrowFooter
from datastack_fs.testing import DatasetIteratorTests
from datastack_fs.testing.iterators import assert_same
from harness.cases.arrow import nested, plain, saved
from harness.counting import CountingStore

ROWS = 40_000
WIDE = pa.table({name: np.random.default_rng(seed).random(ROWS) for seed, name in enumerate(["a", "b", "label"])})


def opened(table, store=None, *, rows=None, compression=None, **options):
    content = table if isinstance(table, bytes) else saved(table, rows, compression=compression)
    store = store or MemoryStorageConnector("arrow-own")
    store.set_resource("a.arrow", content)
    return ArrowDatasetIterator(store.get_resource("a.arrow"), **options)


@pytest.mark.parametrize(("case", "place"), [(plain(), "file"), (nested(), "memory")], ids=["plain", "nested"])
class TestInOneStore(DatasetIteratorTests):
    @pytest.fixture
    def iterator(self, case, place, tmp_path):
        store = FileStorageConnector(tmp_path) if place == "file" else MemoryStorageConnector(f"arrow-{case.name}")
        store.set_resource(case.identifier, case.contents[case.identifier])
        return open_dataset(case.identifier, storage=store, **case.options)

    @pytest.fixture
    def expected(self, case):
        return case.expected


@pytest.mark.parametrize("compression", [None, "lz4"])
def test_labels_fetch_their_column_alone(compression):
    store = CountingStore("arrow-labels")
    iterator = opened(WIDE, store, rows=10_000, compression=compression)
    store.requests.clear()
    assert np.array_equal(iterator.targets(), WIDE["label"].to_numpy())
    assert len(store.requests) == 1
    assert store.fetched < 1.1 * WIDE["label"].nbytes


def test_a_batch_is_one_request_for_its_record_batches_and_columns():
    store = CountingStore("arrow-batch")
    iterator = opened(WIDE, store, rows=10_000, sample="a", target="label")
    store.requests.clear()
    samples, _, _ = iterator.take([35_000, 3, 35_001])
    assert samples.tolist() == WIDE["a"].take([35_000, 3, 35_001]).to_pylist()
    assert len(store.requests) == 1
    assert store.fetched < 1.1 * 2 * 10_000 * 16


def test_dictionaries_are_fetched_once():
    table = pa.table({"kind": pa.array(["owl", "wren"] * 500).dictionary_encode(), "n": range(1000)})
    store = CountingStore("arrow-dictionaries")
    iterator = opened(table, store, rows=100, sample="n", target="kind", cache_bytes=1)
    assert iterator.take([999, 0])[1].tolist() == ["wren", "owl"]
    store.requests.clear()
    iterator.take([500]), iterator.take([700])
    assert len(store.requests) == 2


def test_the_metadata_goes_along_with_a_pickle_unless_it_is_long():
    for rows, more in ((10_000, False), (20, True)):
        store = CountingStore(f"arrow-pickled-{more}")
        store.set_resource("a.arrow", saved(WIDE, rows))
        footer = ArrowFooter(store.get_resource("a.arrow"))
        size = len(footer.content) + sum(len(footer.message(number)[1]) for number in range(len(footer.batches)))
        assert (size > CARRIED_BYTES) == more
        copy = pickle.loads(pickle.dumps(footer))
        assert [batch.length for batch in copy.batches] == [batch.length for batch in footer.batches]
        assert (len(copy.connector.requests) > len(store.requests)) == more


@pytest.mark.parametrize("compression", [None, "zstd"])
def test_a_local_file_is_mapped_and_noticed_when_it_changes(tmp_path, compression):
    iterator = opened(WIDE, FileStorageConnector(tmp_path), rows=10_000, compression=compression)
    assert np.array_equal(iterator.take([39_999, 0])[1], WIDE["label"].to_numpy()[[39_999, 0]])
    (found,) = tmp_path.rglob("a.arrow")
    with found.open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(ResourceChangedError):
        iterator.take([20_000])


# Streams, which have no footer.


def stream_of(tables, **options):
    stream = io.BytesIO()
    with pa.ipc.new_stream(stream, tables[0].schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        for table in tables:
            writer.write_table(table)
    return stream.getvalue()


def test_a_stream_is_read_by_its_headers_and_then_like_a_file():
    tables = [WIDE.slice(start, 20_000) for start in (0, 20_000)]
    store = CountingStore("arrow-stream")
    iterator = opened(stream_of(tables), store, sample="a", target="label")
    assert store.fetched < 0.5 * WIDE.nbytes  # 64 KiB around the headers of two batches
    store.requests.clear()
    samples, _, _ = iterator.take([35_000, 3])
    assert samples.tolist() == WIDE["a"].take([35_000, 3]).to_pylist()
    assert len(store.requests) == 1
    assert store.fetched < 1.1 * 2 * ROWS * 8


def test_the_headers_of_a_stream_are_read_once():
    content = stream_of([WIDE.slice(start, 10_000) for start in range(0, ROWS, 10_000)] * 2)
    store = CountingStore("arrow-stream-twice")
    opened(content, store)
    assert len(store.requests) > 4
    store.requests.clear()
    ArrowDatasetIterator(store.get_resource("a.arrow"))
    assert len(store.requests) == 2  # the first bytes, and the headers of the batches


def test_dictionaries_of_a_stream_may_grow():
    first = pa.table({"x": pa.DictionaryArray.from_arrays(pa.array([0]), ["a"])})
    second = pa.table({"x": pa.DictionaryArray.from_arrays(pa.array([1, 0]), ["a", "b"])})
    iterator = opened(stream_of([first, second], emit_dictionary_deltas=True), sample="x")
    assert [sample for sample, _, _ in iterator] == ["a", "b", "a"]


TYPES = {
    "views": pa.array(["a", None, "a text that is too long to lie in its view"], pa.string_view()),
    "unions": pa.UnionArray.from_sparse(pa.array([0, 0, 0], pa.int8()), [pa.array([1, 2, 3])]),
    "runs": pa.RunEndEncodedArray.from_arrays([2, 3], ["a", "b"]),
    "nothing": pa.nulls(3),
    "dictionary": pa.array(["b", None, "b"]).dictionary_encode(),
    "list views": pa.array([[1], [2, 3], None], pa.list_view(pa.int64())),
    "pairs": pa.array([[("a", 1)], [], None], pa.map_(pa.string(), pa.int64())),
    "fixed lists": pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int64(), 2)),
    "mappings": pa.array([{"x": "a", "y": [1]}, None, {"x": None, "y": []}]),
}


@pytest.mark.parametrize("kind", TYPES)
def test_columns_of_every_layout_lie_where_they_are_looked_for(kind):
    store = CountingStore(f"arrow-{kind}")
    table = pa.table({"before": [1, 2, 3], "x": TYPES[kind], "after": ["u", "v", "w"]})
    if kind == "unions":
        with pytest.raises(
            DatasetFileCorruptError, match=r"a\.arrow in memory://arrow-unions can't be read as Arrow: .*union"
        ):
            opened(table, store, sample="x").take([0])
    else:
        iterator = opened(table, store, rows=2, sample="x", target="after")
        store.requests.clear()
        samples, targets, _ = iterator.take([2, 0, 1])
        assert_same(
            [plain_value(value) for value in samples],
            TYPES[kind].take(pa.array([2, 0, 1])).to_pylist()
            if kind not in {"views", "runs"}
            else [TYPES[kind][place].as_py() for place in (2, 0, 1)],
        )
        assert targets.tolist() == ["w", "u", "v"]
        assert len(store.requests) <= 2  # the dictionaries, and the batch


def plain_value(value):
    """Arrays as lists, numbers as those of Python."""
    if isinstance(value, dict):
        return {key: plain_value(each) for key, each in value.items()}
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value


def test_a_missing_value_anywhere_decides_the_type_everywhere():
    table = pa.table({"count": [1, 2, 3, None], "flag": [None, True, True, True]})
    counts, flags = opened(table, rows=2, sample=["count", "flag"]).take([0, 1])[0]
    assert counts.dtype == np.float64
    assert flags.dtype == object


@pytest.mark.parametrize("place", ["file", "memory"])
def test_a_feather_file_comes_back_as_a_frame(place, tmp_path):
    frame = pd.DataFrame({"name": ["owl", None, "wren"], "grams": [480.0, np.nan, 9.5], "n": np.arange(3)})
    stream = io.BytesIO()
    frame.to_feather(stream)
    store = FileStorageConnector(tmp_path) if place == "file" else MemoryStorageConnector("arrow-frame")
    pd.testing.assert_frame_equal(opened(stream.getvalue(), store).to_pandas(), frame)


@given(data=st.data())
@settings(max_examples=50, deadline=None)
def test_any_rows_of_any_record_batches(data):
    length = data.draw(st.integers(1, 30), label="rows")
    texts = data.draw(st.lists(st.none() | st.text(max_size=3), min_size=length, max_size=length))
    lists = data.draw(st.lists(st.lists(st.integers(0, 9), max_size=3), min_size=length, max_size=length))
    table = pa.table({"text": pa.array(texts, pa.string()), "list": pa.array(lists, pa.list_(pa.int64()))})
    rows = data.draw(st.integers(1, 12), label="rows of a batch")
    compression = data.draw(st.sampled_from([None, "lz4", "zstd"]))
    iterator = opened(table, rows=rows, compression=compression, sample=["text", "list"])
    chosen = data.draw(st.lists(st.integers(-length, length - 1), min_size=1, max_size=20), label="indices")
    (text, found), _, _ = iterator.take(chosen)
    assert text.tolist() == [texts[index] for index in chosen]
    assert [each.tolist() for each in found] == [lists[index] for index in chosen]


# What is refused.


def test_text_that_is_none_is_noticed():
    content = saved(pa.table({"x": ["owl", "wren"]}))
    with pytest.raises(DatasetFileCorruptError, match=r"a\.arrow in memory://arrow-own can't be read as Arrow: .*UTF8"):
        opened(content.replace(b"owlwren", b"owl\xffren"), sample="x").take([0])


def test_the_first_feather_says_how_to_convert_it():
    with pytest.raises(DatasetFileCorruptError, match=r"write_feather\(pyarrow\.feather\.read_table\(old\), new\)"):
        opened(b"FEA1" + bytes(60) + b"FEA1")


def test_a_stream_that_is_cut_off_or_exchanges_a_dictionary_says_so():
    content = stream_of([WIDE.slice(0, 3), WIDE.slice(3, 3)])
    with pytest.raises(DatasetFileCorruptError, match=r"stream that is cut off: no .* at byte 840 of 840"):
        opened(content[:-8])
    changing = [pa.table({"x": pa.array(each).dictionary_encode()}) for each in (["a", "b"], ["b", "a"])]
    with pytest.raises(DatasetFileCorruptError, match=r"exchanges a dictionary at byte \d+, .*unify_dictionaries"):
        opened(stream_of(changing))


def test_a_length_that_columns_have_not_is_refused():
    content = bytearray(saved(pa.table({"x": np.arange(1000)})))
    place = content.index((1000).to_bytes(8, "little"))
    content[place : place + 8] = (2**40).to_bytes(8, "little")
    with pytest.raises(
        DatasetFileCorruptError, match=r"record batch 0 at byte \d+ has [\d,]+ rows, and not all of its col"
    ):
        opened(bytes(content))
