"""Parquet files: what is fetched, decoded and kept of them, their types, and what is refused."""

import base64
import datetime as dt
import io
import json
import pickle
import subprocess
import sys
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as encryption
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datastack_fs import open_dataset
from datastack_fs.connectors import FileStorageConnector, MemoryStorageConnector
from datastack_fs.errors import DatasetFileCorruptError, DatasetNotFoundError, ResourceChangedError
from datastack_fs.formats.parquet import ParquetDatasetIterator
from datastack_fs.formats.parquet_footer import CARRIED_BYTES, ParquetFooter
from datastack_fs.testing import DatasetIteratorTests
from datastack_fs.testing.iterators import assert_same
from harness.cases.parquet import nested, plain, saved
from harness.counting import CountingStore

ROWS = 40_000
# Numbers that can't be packed, so that places and sizes in the file are those of the values.
WIDE = pa.table({name: np.random.default_rng(seed).random(ROWS) for seed, name in enumerate(["a", "b", "label"])})


def opened(table, store=None, *, row_group_size=None, **options):
    content = table if isinstance(table, bytes) else saved(table, row_group_size=row_group_size, use_dictionary=False)
    store = store or MemoryStorageConnector("parquet-own")
    store.set_resource("a.parquet", content)
    return ParquetDatasetIterator(store.get_resource("a.parquet"), **options)


@pytest.mark.parametrize(("case", "place"), [(plain(), "file"), (nested(), "memory")], ids=["plain", "nested"])
class TestInOneStore(DatasetIteratorTests):
    @pytest.fixture
    def iterator(self, case, place, tmp_path):
        store = FileStorageConnector(tmp_path) if place == "file" else MemoryStorageConnector(f"parquet-{case.name}")
        store.set_resource(case.identifier, case.contents[case.identifier])
        return open_dataset(case.identifier, storage=store, **case.options)

    @pytest.fixture
    def expected(self, case):
        return case.expected


# What is fetched, and how often.


def test_labels_fetch_their_column_alone():
    store = CountingStore("parquet-labels")
    iterator = opened(WIDE, store, row_group_size=10_000)
    store.requests.clear()
    assert np.array_equal(iterator.targets(), WIDE["label"].to_numpy())
    assert len(store.requests) == 1
    assert store.fetched < 1.1 * WIDE["label"].nbytes


def test_a_batch_is_one_request_for_its_row_groups_and_columns():
    store = CountingStore("parquet-batch")
    iterator = opened(WIDE, store, row_group_size=10_000, sample="a", target="label")
    store.requests.clear()
    samples, _, _ = iterator.take([35_000, 3, 35_001])
    assert samples.tolist() == WIDE["a"].take([35_000, 3, 35_001]).to_pylist()
    assert len(store.requests) == 1
    assert store.fetched < 1.1 * 2 * 10_000 * 16  # two of four row groups, two of three columns


def test_row_groups_are_decoded_once_while_there_is_room():
    store = CountingStore("parquet-once")
    iterator = opened(WIDE, store, row_group_size=10_000)
    store.requests.clear()
    for start in range(0, ROWS, 1000):
        iterator.take(range(start, start + 1000))
    assert len(store.requests) == 4
    iterator.take([0, 39_999])
    assert len(store.requests) == 4


def test_without_room_the_last_row_group_is_kept():
    store = CountingStore("parquet-little-room")
    iterator = opened(WIDE, store, row_group_size=10_000, cache_bytes=1)
    store.requests.clear()
    for start in range(0, ROWS, 1000):
        iterator.take(range(start, start + 1000))
    assert len(store.requests) == 4
    iterator.take([0])
    assert len(store.requests) == 5


def test_the_footer_goes_along_with_a_pickle_unless_it_is_long():
    wide = pa.table({f"column {number}": [1.0] for number in range(2500)})
    for table, more in ((WIDE, 0), (wide, 1)):
        store = CountingStore(f"parquet-pickled-{more}")
        footer = ParquetFooter(stored(store, saved(table)))
        assert (len(footer.content) > CARRIED_BYTES) == bool(more)
        copy = pickle.loads(pickle.dumps(footer))
        assert copy.lengths == footer.lengths
        assert (len(copy.connector.requests) > len(store.requests)) == bool(more)


def test_a_file_that_is_replaced_is_not_mixed(tmp_path):
    store = FileStorageConnector(tmp_path)
    iterator = opened(WIDE, store, row_group_size=10_000)
    iterator.take([0])
    store.set_resource("a.parquet", saved(WIDE.slice(5), row_group_size=10_000))
    with pytest.raises(ResourceChangedError):
        iterator.take([30_000])


def stored(store, content):
    store.set_resource("a.parquet", content)
    return store.get_resource("a.parquet")


# Types.

NAN = float("nan")
UTC = dt.timezone.utc
NOON = dt.datetime(2020, 1, 2, 12, tzinfo=UTC)
TYPES = {
    "uint8": ([1, 2], pa.uint8(), np.array([1, 2], np.uint8)),
    "integers, one missing": ([1, None], pa.int32(), np.array([1, NAN])),
    "large integers, one missing": ([2**53 + 1, None], pa.int64(), [2**53 + 1, None]),
    "half floats": ([np.float16(1.5), None], pa.float16(), np.array([1.5, NAN], np.float16)),
    "floats": ([1.5, None], pa.float32(), np.array([1.5, NAN], np.float32)),
    "bools": ([True, False], pa.bool_(), np.array([True, False])),
    "bools, one missing": ([True, None], pa.bool_(), [True, None]),
    "text": (["ä", None], pa.string(), ["ä", None]),
    "large text": (["ä", ""], pa.large_string(), ["ä", ""]),
    "views of text": (["a", None], pa.string_view(), ["a", None]),
    "binary": ([b"\0", None], pa.binary(), [b"\0", None]),
    "binary of one length": ([b"ab", b"cd"], pa.binary(2), [b"ab", b"cd"]),
    "nothing": ([None, None], pa.null(), [None, None]),
    "dates": ([dt.date(2020, 1, 2), None], pa.date32(), np.array(["2020-01-02", "NaT"], "M8[D]")),
    "times": ([NOON, None], pa.timestamp("ms"), np.array(["2020-01-02T12", "NaT"], "M8[ms]")),
    "times of a zone": ([NOON], pa.timestamp("us", "Asia/Tokyo"), np.array(["2020-01-02T12"], "M8[us]")),
    "times of day": ([dt.time(1), None], pa.time32("ms"), np.array([3_600_000, "NaT"], "m8[ms]")),
    "durations": ([dt.timedelta(1), None], pa.duration("us"), np.array([86_400_000_000, "NaT"], "m8[us]")),
    "decimals": ([Decimal("1.20"), None], pa.decimal128(5, 2), [Decimal("1.20"), None]),
    "categories": (pa.array(["b", "a", "b"]).dictionary_encode(), None, ["b", "a", "b"]),
    "lists": ([[1], [2, 3]], pa.list_(pa.int16()), [np.array([1], np.int16), np.array([2, 3], np.int16)]),
    "lists of one length": ([[1, 2], [3, 4]], pa.list_(pa.int64()), np.array([[1, 2], [3, 4]])),
    "lists, some missing": ([[1], None, [None]], pa.list_(pa.int64()), [np.array([1]), None, np.array([NAN])]),
    "lists of lists": (
        [[[1], [2]], [[3], [4]]],
        pa.list_(pa.list_(pa.int8())),
        np.array([[[1], [2]], [[3], [4]]], "i1"),
    ),
    "fixed lists": ([[1, 2], [3, 4]], pa.list_(pa.float32(), 2), np.array([[1, 2], [3, 4]], np.float32)),
    "fixed lists, one missing": ([[1, 2], None], pa.list_(pa.int64(), 2), [np.array([1, 2]), None]),
    "mappings": (
        [{"x": 1, "y": None}, None],
        pa.struct({"x": pa.int64(), "y": pa.bool_()}),
        [{"x": 1, "y": None}, None],
    ),
    "lists of mappings": ([[{"x": 1}]], pa.list_(pa.struct({"x": pa.int64()})), np.array([[{"x": 1}]])),
    "pairs": ([[("a", 1)], []], pa.map_(pa.string(), pa.int64()), [[("a", 1)], []]),
    "no rows": ([], pa.int64(), np.array([], np.int64)),
}


ARROW = int(pa.__version__.partition(".")[0])
FROM_ARROW = {"views of text": 21, "fixed lists, one missing": 26}


@pytest.mark.parametrize("kind", TYPES)
def test_every_type_has_its_numpy_type(kind):
    values, arrow_type, expected = TYPES[kind]
    if FROM_ARROW.get(kind, ARROW) > ARROW:
        pytest.skip(f"pyarrow {pa.__version__} can't write or read that in Parquet")
    table = pa.table({"x": pa.array(values, arrow_type) if arrow_type else values})
    if isinstance(expected, list):
        found = np.empty(len(expected), dtype=object)
        found[:] = expected
        expected = found
    iterator = opened(table, sample="x")
    assert len(iterator.to_pandas()) == len(expected)
    if len(expected):
        assert_same(iterator.take(range(len(expected)))[0], expected)
        assert_same(iterator.take([0, 0])[0][1], expected[0])


def test_a_tensor_has_its_shape():
    tensors = np.arange(24, dtype=np.float32).reshape(4, 2, 3)
    column = pa.FixedShapeTensorArray.from_numpy_ndarray(tensors)
    assert_same(opened(pa.table({"x": column}), sample="x").take([3, 0])[0], tensors[[3, 0]])


def test_a_missing_value_anywhere_decides_the_type_everywhere():
    table = pa.table({"count": [1, 2, 3, None], "flag": [None, True, True, True]})
    counts, flags = opened(table, row_group_size=2, sample=["count", "flag"]).take([0, 1])[0]
    assert counts.dtype == np.float64
    assert flags.dtype == object
    assert opened(table.slice(0, 3), row_group_size=2, sample="count").take([0])[0].dtype == np.int64


def test_values_of_a_repeated_row_are_apart():
    table = pa.table({"x": pa.array([[1], [2, 3]]), "y": [{"z": 1}, {"z": 2}]})
    (lists, mappings), _, _ = opened(table, sample=["x", "y"]).take([1, 1, 0])
    lists[0][:] = 9
    mappings[0]["z"] = 9
    assert lists[1].tolist() == [2, 3]
    assert mappings[1] == {"z": 2}


def test_names_with_dots_and_a_struct_of_the_same_path():
    table = pa.table({"a": [{"b": 1}], "a.b": [2], "c": [3]})
    assert opened(table)[0][0] == {"a": {"b": 1}, "a.b": 2, "c": 3}
    assert opened(table, sample="a.b", target="a")[0] == (2, {"b": 1}, None)


def test_classes_that_hugging_face_wrote_down():
    notes = {
        "info": {"features": {"label": {"names": ["owl", "wren"], "_type": "ClassLabel"}, "x": {"dtype": "int64"}}}
    }
    table = pa.table({"x": [1, 2], "label": [0, 1]}).replace_schema_metadata({"huggingface": json.dumps(notes)})
    assert opened(table).meta.class_names == ("owl", "wren")
    assert opened(table, sample="label", target="x").meta.class_names is None


def test_a_frame_comes_back():
    frame = pd.DataFrame(
        {
            "name": ["owl", "wren", None],
            "grams": [480.0, np.nan, 9.5],
            "seen": pd.to_datetime(["2020-01-01", "2021-05-05", None]),
            "count": np.arange(3, dtype=np.int16),
            "pair": [np.array([1, 2]), np.array([3, 4]), np.array([5, 6])],
        }
    )
    stream = io.BytesIO()
    frame.to_parquet(stream, row_group_size=2)
    found = opened(stream.getvalue()).to_pandas()
    assert list(found["pair"].map(list)) == [[1, 2], [3, 4], [5, 6]]
    pd.testing.assert_frame_equal(found.drop(columns="pair"), frame.drop(columns="pair"))


@given(data=st.data())
@settings(max_examples=50, deadline=None)
def test_any_rows_of_any_row_groups(data):
    length = data.draw(st.integers(1, 30), label="rows")
    texts = data.draw(st.lists(st.none() | st.text(max_size=3), min_size=length, max_size=length))
    numbers = data.draw(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=length, max_size=length))
    table = pa.table({"text": pa.array(texts, pa.string()), "number": pa.array(numbers, pa.int64())})
    size = data.draw(st.integers(1, 12), label="row group size")
    room = data.draw(st.sampled_from([1, 1000, 10**9]), label="cache_bytes")
    iterator = opened(table, row_group_size=size, sample=["text", "number"], cache_bytes=room)
    for _ in range(2):
        chosen = data.draw(st.lists(st.integers(-length, length - 1), min_size=1, max_size=20), label="indices")
        (text, number), _, _ = iterator.take(chosen)
        assert text.tolist() == [texts[index] for index in chosen]
        assert number.tolist() == [numbers[index] for index in chosen]


# What is refused.


def test_what_the_footer_says_is_what_pyarrow_finds_there():
    table = pa.table({"a": [1, None, 3] * 50, "b": [["x"], [], ["y", "z"]] * 50})
    content = saved(table, row_group_size=40)
    footer = ParquetFooter(stored(MemoryStorageConnector("parquet-footer"), content))
    metadata = pq.read_metadata(io.BytesIO(content))
    for group in range(metadata.num_row_groups):
        for leaf in range(metadata.num_columns):
            theirs = metadata.row_group(group).column(leaf)
            start = min(theirs.data_page_offset, theirs.dictionary_page_offset or theirs.data_page_offset)
            found = footer.chunk(group, leaf, "x", nested=leaf == 1)
            assert found.place == (start, start + theirs.total_compressed_size)
            assert (found.values, found.missing) == (theirs.num_values, theirs.statistics.null_count)


def test_a_footer_that_ends_pyarrow_is_an_error():
    """Statistics too short for their type: pyarrow 26 ends the process when it is asked for them."""
    table = pa.table({"a": pa.array([0x11223344, 0x55667711, None], pa.int32())})
    content = bytearray(saved(table, use_dictionary=False, compression="none"))
    place = content.rindex((0x11223344).to_bytes(4, "little"))
    assert content[place - 1] == 4
    content[place - 1 : place + 4] = b"\x03abc"
    length = int.from_bytes(content[-8:-4], "little")
    content[-8:-4] = (length - 1).to_bytes(4, "little")
    with pytest.raises(DatasetFileCorruptError, match="Unexpected end of stream"):
        opened(bytes(content), sample="a").take([0])


def test_an_encrypted_file_says_so():
    content = saved(WIDE)
    with pytest.raises(DatasetFileCorruptError, match=r"a\.parquet in memory://parquet-own is encrypted: decrypt it"):
        opened(content[:-4] + b"PARE")


def test_columns_that_are_encrypted_under_a_plain_footer_are_left_out():
    content = encrypted(pa.table({"open": [1, 2], "secret": [3, 4], "label": [0, 1]}), "secret")
    iterator = opened(content, sample="open")
    assert iterator[1][0] == 2
    with pytest.raises(DatasetFileCorruptError, match=r"column 'secret' of row group 0 is encrypted.*leave it out"):
        opened(content)[0]


def encrypted(table, column):
    """The table as a file in which a column is encrypted, under a footer that is not."""

    class KeyHolder(encryption.KmsClient):
        def __init__(self, _):
            super().__init__()

        def wrap_key(self, key, _):
            return base64.b64encode(key)

    wanted = encryption.EncryptionConfiguration("of the footer", column_keys={"other": [column]}, plaintext_footer=True)
    keys = encryption.CryptoFactory(KeyHolder)
    properties = keys.file_encryption_properties(encryption.KmsConnectionConfig(), wanted)
    return saved(table, encryption_properties=properties)


def test_data_in_another_file_is_refused():
    stream = io.BytesIO(saved(WIDE))
    metadata = pq.read_metadata(stream)
    metadata.set_file_path("../secret.parquet")
    alone = io.BytesIO()
    metadata.write_metadata_file(alone)
    with pytest.raises(DatasetFileCorruptError, match="lies in another file, which is not read"):
        opened(alone.getvalue()).take([0])


def test_a_flipped_bit_is_noticed_where_pages_have_checksums():
    content = bytearray(saved(WIDE, write_page_checksum=True, compression="none", use_dictionary=False))
    content[50_000] ^= 1
    with pytest.raises(DatasetFileCorruptError, match=r"a\.parquet in memory://parquet-own can't be read as Parquet"):
        opened(bytes(content)).take([0])


def test_columns_are_said_by_name():
    with pytest.raises(DatasetNotFoundError, match=r"no column 'c' in a\.parquet; it has 'a', 'b', 'label'"):
        opened(WIDE, sample="c")
    with pytest.raises(DatasetFileCorruptError, match="several columns 'a'"):
        opened(pa.Table.from_arrays([[1], [2]], ["a", "a"]))
    vector, label, _ = opened(WIDE, target="label", vector=True)[7]
    assert vector.tolist() == [WIDE["a"][7].as_py(), WIDE["b"][7].as_py()]
    assert label == WIDE["label"][7].as_py()


def test_without_pyarrow_the_extra_is_named():
    code = """
import sys
sys.modules["pyarrow"] = None
import datastack_fs
datastack_fs.connect("memory://x").set_resource("a.parquet", b"PAR1")
try:
    datastack_fs.open_dataset("a.parquet", storage="memory://x")
except datastack_fs.MissingDependencyError as error:
    print(error)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "format parquet needs pyarrow: pip install 'datastack-fs[parquet]'"
