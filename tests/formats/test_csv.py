"""Tables of text: what Python's csv module reads, row by row from any store, by exact byte ranges."""

import csv
import gzip
import io
import pickle
import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datastack_fs import open_dataset
from datastack_fs.connectors import FileStorageConnector, MemoryStorageConnector, S3StorageConnector
from datastack_fs.errors import (
    DatasetFileCorruptError,
    DatasetNotFoundError,
    ReadOnlyStorageError,
    ResourceChangedError,
)
from datastack_fs.formats.csv_ import CSVDatasetIterator
from datastack_fs.formats.kept_index import KEPT_FROM
from datastack_fs.formats.row_index import RowIndex
from datastack_fs.formats.text_rows import PIECE_BYTES
from datastack_fs.index_cache import sealed, unsealed
from datastack_fs.iterators import DatasetMeta
from datastack_fs.testing import DatasetIteratorTests
from datastack_fs.testing.iterators import assert_all_same
from harness.counting import CountingStore
from harness.proxy import FaultProxy
from harness.stores import BUCKET, unique

BIRDS = "name,legs,weight,label\n" + "".join(
    f'"bird {n},\r\n""{n}""",{n},{n / 4 if n % 5 else ""},{n % 3}\n' + "\n" * (n % 2) for n in range(17)
)


def expected_birds():
    return [
        ({"name": f'bird {n},\r\n"{n}"', "legs": n, "weight": n / 4 if n % 5 else np.nan}, n % 3, "all")
        for n in range(17)
    ]


@pytest.fixture
def memory():
    return MemoryStorageConnector(unique("csv"))


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """A cache folder that no other test has."""
    monkeypatch.setenv("DATASTACK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def stored(store, data, name="birds.csv"):
    store.set_resource(name, data.encode() if isinstance(data, str) else data)
    return store.get_resource(name)


def table(data, name="birds.csv", **options):
    return CSVDatasetIterator(stored(MemoryStorageConnector(unique("csv")), data, name), **options)


def rows(iterator):
    return [tuple(sample.values()) for sample, _, _ in iterator]


class TestTable(DatasetIteratorTests):
    @pytest.fixture
    def iterator(self, tmp_path):
        resource = stored(FileStorageConnector(tmp_path), BIRDS)
        return CSVDatasetIterator(resource, meta=DatasetMeta("birds.csv", "birds", tag="all"))

    @pytest.fixture
    def expected(self):
        return expected_birds()


class TestGzippedWithTargetFirst(DatasetIteratorTests):
    @pytest.fixture
    def iterator(self, memory):
        meta = DatasetMeta("birds.csv", "birds", sample_pos=2, target_pos=0, tag_pos=1)
        resource = stored(memory, gzip.compress(BIRDS.encode()), "birds.csv.gz")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return CSVDatasetIterator(resource, sample=["legs", "name"], target="label", tag="name", meta=meta)

    @pytest.fixture
    def expected(self):
        return [(label, s["name"], (s["legs"], s["name"])) for s, label, _ in expected_birds()]


# What is read is what was written.


@settings(max_examples=300, deadline=None)
@given(
    rows_written=st.integers(1, 4).flatmap(
        lambda width: st.lists(
            st.lists(st.text(alphabet='ab,;"\n é\t1.', max_size=6), min_size=width, max_size=width), max_size=12
        ).map(lambda found: [[f"c{number}" for number in range(width)], *found])
    ),
    delimiter=st.sampled_from(",;\t|"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    line_end=st.sampled_from(["\r\n", "\n"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "latin-1", "cp1252"]),
)
def test_any_table_of_the_csv_module_reads_back_equal(rows_written, delimiter, quoting, line_end, encoding):
    stream = io.StringIO(newline="")
    csv.writer(stream, delimiter=delimiter, quoting=quoting, lineterminator=line_end).writerows(rows_written)
    names = rows_written[0]
    found = table(
        stream.getvalue().encode(encoding),
        delimiter=delimiter,
        encoding=encoding,
        dtypes=dict.fromkeys(names, "text"),
        sample=names,
    )
    assert [list(sample) for sample, _, _ in found] == rows_written[1:]
    order = list(range(len(found)))[::-2]
    assert [list(sample) for sample, _, _ in found.__getitems__(order)] == [rows_written[1:][n] for n in order]


COLUMNS = {
    "integers": (["1", "-2", "+3", "0"], np.array([1, -2, 3, 0])),
    "largest": (["9" * 18, "-" + "9" * 18], np.array([10**18 - 1, 1 - 10**18])),
    "quoted": (['"1"', '"-2"'], np.array([1, -2])),
    "spaces": ([" 1", "2 "], np.array([1, 2])),
    "floats": (["1.5", "2", ".5", "1.", "-0.0", "1e-3", "2E5", "inf", "-inf"], np.array(
        [1.5, 2, 0.5, 1.0, -0.0, 1e-3, 2e5, np.inf, -np.inf])),
    "missing": (["1", "", "NA", "nan", "null"], np.array([1, np.nan, np.nan, np.nan, np.nan])),
    "quoted nothing": (["1.5", '""'], np.array([1.5, np.nan])),
}  # fmt: skip

TEXTS = {
    "leading zeros": ["007", "123"],
    "leading zero in spaces": ["1", " 01"],
    "too large": ["1" * 19, "2"],
    "too large for a float": ["1" * 17, ""],
    "too large among floats": ["1" * 17, "0.5"],
    "dates": ["2020-01-02", "2020-01-03"],
    "versions": ["1.2.3", "1.2.4"],
    "signs": ["1-2", "--1", "-"],
    "grouped": ["1_000", "2"],
    "words": ["1", "2", "three"],
    "long": ["1" * 70],
    "many signs": ["-" * 64 + "1"],
    "nothing at all": ["NA", "NA"],
    "bools": ["True", "False"],
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_numbers_are_told_by_all_fields(kind):
    fields, expected = COLUMNS[kind]
    found = table("x,z\n" + "".join(f"{field},a\n" for field in fields), sample="x")
    assert found.dtypes == {"x": str(expected.dtype), "z": "text"}
    assert_all_same(found.take(range(len(fields)))[0], list(expected))
    assert found.take([0])[0].dtype == expected.dtype


@pytest.mark.parametrize("kind", TEXTS)
def test_what_would_lose_something_as_a_number_stays_text(kind):
    found = table("x,z\n" + "".join(f"{field},1\n" for field in TEXTS[kind]), sample="x")
    assert found.dtypes["x"] == "text"
    assert [sample for sample, _, _ in found] == TEXTS[kind]


def test_a_table_may_end_with_an_empty_field():
    assert table('x,z\n1,"5"\n2,', sample="z").take([0, 1])[0].tolist() == pytest.approx([5.0, np.nan], nan_ok=True)


def test_types_do_not_depend_on_where_the_blocks_end():
    numbers = "".join(f"{n},{n}.5,x\n" for n in range(300_000))
    found = table("a,b,c\n" + numbers + "x,,1\n")
    assert found.dtypes == {"a": "text", "b": "float64", "c": "text"}
    assert found[300_000][0] == {"a": "x", "b": pytest.approx(np.nan, nan_ok=True), "c": "1"}


def test_types_as_the_caller_says():
    dtypes = {"a": "uint8", "b": bool, "c": "float32", "d": "datetime64[D]", "e": str}
    found = table("a,b,c,d,e\n1,true,NA,2020-01-02,007\n2,0,1.5,,1\n", dtypes=dtypes)
    columns = found.take([0, 1])[0]
    assert [column.dtype.str for column in columns.values()] == ["|u1", "|b1", "<f4", "<M8[D]", "|O"]
    assert columns["b"].tolist() == [True, False]
    assert np.isnat(columns["d"]).tolist() == [False, True]
    assert columns["e"].tolist() == ["007", "1"]
    with pytest.raises(DatasetNotFoundError, match=r"no column 'z' in birds\.csv; it has 'a'"):
        table("a\n1\n", dtypes={"z": int})
    for dtype in ("complex", "M8", "U3"):
        with pytest.raises(TypeError, match="a column can't be read as"):
            table("a\n1\n", dtypes={"a": dtype})


@pytest.mark.parametrize(
    ("dtype", "field", "reason"),
    [
        ("int8", "300", "'300' is no int8"),
        ("uint8", "-1", "'-1' is no uint8"),
        ("int64", "", "'' is missing, which only float64"),
        ("float64", "1_0", "'1_0' is no float64"),
        ("bool", "maybe", "'maybe' is no bool"),
        ("datetime64[s]", "soon", "'soon' is no datetime64"),
    ],
)
def test_a_field_of_another_type_is_named_by_line_and_column(dtype, field, reason):
    ok = {"bool": "1", "datetime64[s]": "2020-01-02T10:00:00"}.get(dtype, "1")
    found = table(f'x,z\n{ok},"a\nb"\n\n{field},c\n', dtypes={"x": dtype})
    with pytest.raises(DatasetFileCorruptError, match=rf"birds\.csv in .*: line 5 \(row 1, .*'x': {reason}"):
        list(found)


def test_missing_as_the_caller_says_holds_for_text_too():
    found = table("x,z\n1,-\n-,b\n", missing=["-"])
    assert found.dtypes == {"x": "float64", "z": "text"}
    assert [sample["z"] for sample, _, _ in found] == [None, "b"]
    assert [sample["z"] for sample, _, _ in table("x,z\n1,\n2,NA\n")] == ["", "NA"]


# Dialects.


def test_headers_and_none():
    assert table("1,a\n2,b\n", header=False).column_names == ("0", "1")
    assert rows(table("1,a\n2,b\n", header=["x", "z"])) == [(1, "a"), (2, "b")]
    with pytest.raises(DatasetFileCorruptError, match="has 2 columns, and header= names 3"):
        table("1,a\n", header=["x", "u", "z"])
    with pytest.raises(TypeError, match="lists of texts"):
        table("1\n", header="x")
    assert table('"a\nb",c\n1,2\n').column_names == ("a\nb", "c")
    for whole in ("a,b", "a,b\n", "a,b\r\n\r\n", "a,b\r"):
        assert len(table(whole)) == 0
        assert table(whole).column_names == ("a", "b")
    assert table("a,b\n").targets().tolist() == []
    with pytest.raises(DatasetFileCorruptError, match="several columns 'a'"):
        table("a,a\n1,2\n")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_told_by_the_first_line(delimiter):
    assert rows(table(f'"x,;x"{delimiter}z\n1{delimiter}2\n')) == [(1, 2)]
    assert rows(table("x;u\tz\n1;2\t3\n", "birds.tsv")) == [("1;2", 3)]
    assert rows(table(f'"x\n,,|x"{delimiter}z\n1{delimiter}2\n')) == [(1, 2)]
    assert table("x\n1\n").column_names == ("x",)


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_line_ends_and_a_byte_order_mark(line_end):
    text = line_end.join(["x,z", "1,a", "", '2,"b', 'c"', ""])
    for ending in (text, text.removesuffix(line_end)):
        assert rows(table(ending.encode("utf-8-sig"))) == [(1, "a"), (2, f"b{line_end}c")]


def test_what_stands_above_the_table_is_passed_over():
    text = 'a "title\n\n# made by hand, "so"\n#\nx,z\n1,2\n'
    assert rows(table(text, skip=2, comment="#")) == [(1, 2)]
    with pytest.raises(DatasetFileCorruptError, match=r"line 6 \(byte \d+\) begins with '#': comments are passed over"):
        table("#\nx,z\n1,2\n3,4\n5,6\n#7,8\n", comment="#")


def test_quotes_that_are_none():
    assert rows(table('x,z\n5" pipe,a\n"b" c,"d"\n')) == [('5" pipe', "a"), ("b c", "d")]
    assert rows(table('x,z\n"1,2"\n', quote=None)) == [('"1', '2"')]
    assert rows(table("x,z\n'1,2',3\n", quote="'")) == [("1,2", 3)]


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
def test_encodings(encoding):
    assert rows(table("x,z\nüß,é\n".encode(encoding), encoding=encoding)) == [("üß", "é")]
    text = "x,z\n1,a\n\n2,ü\n".encode(encoding)
    with pytest.raises(DatasetFileCorruptError, match=r"line 4 \(row 1, byte 9\) is no utf-8 .*encoding='latin-1'"):
        list(table(text))


def test_encodings_that_can_not_be_searched_are_refused():
    for encoding in ("utf-16", "utf-16-le", "utf-32", "utf-7", "shift_jis", "nonsense"):
        with pytest.raises(ValueError, match=f"encoding='{encoding}': rows are found in UTF-8.*iconv"):
            table("x\n1\n", encoding=encoding)
    with pytest.raises(DatasetFileCorruptError, match=r"birds\.csv in .* byte order mark of UTF-16"):
        table("x\n1\n".encode("utf-16"))


@pytest.mark.parametrize(
    "options",
    [{"delimiter": "ab"}, {"quote": "\n"}, {"delimiter": "é"}, {"delimiter": '"'}, {"skip": -1}, {"comment": ""}],
)
def test_a_dialect_that_makes_no_sense_is_refused(options):
    with pytest.raises(ValueError, match=r"delimiter|quote|comment"):
        table("x\n1\n", **options)


# Broken tables.


@pytest.mark.parametrize("row", ["1", "1,2,3", '1,"2\n3",4', '"1,2"'])
def test_a_ragged_row_is_named_by_its_line(row):
    count = len(next(csv.reader(io.StringIO(row, newline=""))))
    text = f'x,z\n1,"a\n\nb"\n\n{row}\n5,6\n'
    with pytest.raises(
        DatasetFileCorruptError, match=rf"birds\.csv in memory.*: line 6 \(byte 14\) has {count} fields.*record has 2"
    ):
        table(text)
    many_rows = "x,z\n" + "1,2\n" * 600_000
    with pytest.raises(DatasetFileCorruptError, match=r"line 600,002 \(byte 2,400,004\) has"):
        table(many_rows + row + "\n")


def test_an_open_quote_and_an_empty_file():
    with pytest.raises(
        DatasetFileCorruptError, match=r"line 3 \(byte 8\) begins a record with a quote .* never closed"
    ):
        table('x,z\n1,2\n3,"4\n5,6\n')
    for empty in ("", "\n\n\n", "\ufeff"):
        with pytest.raises(DatasetFileCorruptError, match=r"birds\.csv in .* is empty"):
            table(empty)


def test_a_field_beyond_the_limit_of_the_csv_module_is_named():
    found = table("x,z\n1,2\n3," + "z" * (csv.field_size_limit() + 1) + "\n")
    with pytest.raises(DatasetFileCorruptError, match=r"line 3 \(row 1, .*field larger than field limit"):
        found[1]


# What is fetched, and what is kept.

LONG = "id,note,label\n" + "".join(f'{n},"note {n}, {"x" * 80}",{n % 7}\n' for n in range(60_000))


def test_a_batch_is_one_fetch_of_its_rows(own_cache):
    store = CountingStore(unique("csv"))
    found = CSVDatasetIterator(stored(store, LONG), sample="id")
    batch = np.random.default_rng(1).permutation(60_000)[:20]
    store.requests.clear()
    assert found.take(batch)[0].tolist() == batch.tolist()
    assert len(store.requests) == 1
    assert len(store.requests[0]) <= 20
    assert store.fetched < 20 * (200 + store.gap_bytes)


def test_the_second_opening_reads_its_first_bytes_alone(own_cache):
    store = CountingStore(unique("csv"))
    first = CSVDatasetIterator(stored(store, LONG))
    store.requests.clear()
    second = CSVDatasetIterator(store.get_resource("birds.csv"))
    assert store.fetched <= 64 << 10
    assert len(second) == len(first) == 60_000
    assert second.dtypes == first.dtypes == {"id": "int64", "note": "text", "label": "int64"}
    assert second[59_999][0]["id"] == 59_999
    for options in ({"delimiter": ";"}, {"header": False}, {"quote": None, "delimiter": ";"}):
        assert len(CSVDatasetIterator(store.get_resource("birds.csv"), **options)) in (60_000, 60_001)
    store.set_resource("birds.csv", LONG.replace(",1\n", ",x\n").encode())
    assert CSVDatasetIterator(store.get_resource("birds.csv")).dtypes["label"] == "text"


def test_an_iterator_travels_without_the_index_that_is_kept(own_cache, tmp_path, monkeypatch):
    store = FileStorageConnector(tmp_path / "store")
    found = CSVDatasetIterator(stored(store, LONG))
    assert len(pickle.dumps(found)) < 10_000
    assert pickle.loads(pickle.dumps(found))[777][0]["id"] == 777
    (tmp_path / "file").write_bytes(b"")
    pickled = pickle.dumps(found)
    monkeypatch.setenv("DATASTACK_CACHE", str(tmp_path / "file"))
    assert pickle.loads(pickled)[777][0]["id"] == 777
    unkept = CSVDatasetIterator(store.get_resource("birds.csv"))
    assert len(pickle.dumps(unkept)) > 2 * 60_000
    assert pickle.loads(pickle.dumps(unkept))[777][0]["id"] == 777


def test_labels_are_read_once_in_bounded_pieces(own_cache):
    store = CountingStore(unique("csv"))
    content = LONG + "".join(f"{n},{'y' * 4000},{n % 7}\n" for n in range(3000))
    found = CSVDatasetIterator(stored(store, content))
    store.requests.clear()
    assert found.targets().tolist() == [*(n % 7 for n in range(60_000)), *(n % 7 for n in range(3000))]
    assert max(sum(stop - start for start, stop in ranges) for ranges in store.requests) <= PIECE_BYTES + 5000
    assert store.fetched <= len(content)
    store.requests.clear()
    found.targets()[:] = 0
    assert found.view(range(100, 0, -1)).targets().tolist() == [n % 7 for n in range(100, 0, -1)]
    assert found[::7].targets()[:3].tolist() == [0, 0, 0]
    assert store.requests == []


@pytest.mark.parametrize("target", ["id", "note", "label"])
def test_labels_that_were_read_once_are_kept_for_another_process(own_cache, target):
    store = CountingStore(unique("csv"))
    wanted = CSVDatasetIterator(stored(store, LONG), target=target).targets()
    found = CSVDatasetIterator(store.get_resource("birds.csv"), target=target)
    store.requests.clear()
    assert_all_same(found.targets(), wanted)
    assert_all_same(found[::-3].targets(), wanted[::-3])
    assert store.requests == []
    assert found.targets().dtype == wanted.dtype
    as_text = CSVDatasetIterator(store.get_resource("birds.csv"), target=target, dtypes={target: "text"})
    assert as_text.targets().tolist() == list(map(str, wanted))


def test_loops_and_frames_read_large_pieces(own_cache):
    pd = pytest.importorskip("pandas")
    store = CountingStore(unique("csv"))
    found = CSVDatasetIterator(stored(store, LONG))
    for read in (lambda: [sample["id"] for sample, _, _ in found], lambda: found.to_pandas()["id"].tolist()):
        store.requests.clear()
        assert read() == list(range(60_000))
        assert len(store.requests) <= 3
    frame = found.to_pandas()
    pd.testing.assert_frame_equal(frame, pd.read_csv(io.StringIO(LONG)), check_dtype=False)
    assert found.to_pandas([5, 2])["id"].tolist() == [5, 2]


def test_the_first_sample_comes_before_a_large_piece(own_cache):
    store = CountingStore(unique("csv"))
    found = CSVDatasetIterator(stored(store, LONG))
    store.requests.clear()
    next(iter(found))
    assert store.fetched <= 128 << 10


@pytest.mark.parametrize("name", ["birds.csv", "birds.csv.gz"])
def test_a_replaced_file_gives_old_samples_or_an_error(memory, name):
    content = LONG.encode()
    packed = gzip.compress if name.endswith(".gz") else bytes
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = CSVDatasetIterator(stored(memory, packed(content), name), sample="id")
        memory.set_resource(name, packed(content.replace(b"\n5", b"\n6")))
        try:
            assert found.take(range(60_000))[0].tolist() == list(range(60_000))
        except ResourceChangedError:
            assert name == "birds.csv"


# An index beside the data.


def test_an_index_beside_the_data_serves_those_who_have_no_cache(own_cache, monkeypatch, tmp_path):
    store = CountingStore(unique("csv"))
    CSVDatasetIterator(stored(store, LONG), index="beside")
    assert list(store.list_resources()) == ["birds.csv", "birds.csv.dsindex"]
    size = store.get_info("birds.csv.dsindex").size
    monkeypatch.setenv("DATASTACK_CACHE", str(tmp_path / "another"))
    store.requests.clear()
    found = CSVDatasetIterator(store.get_resource("birds.csv"))
    assert store.fetched <= size + (128 << 10)
    assert found[777][0]["id"] == 777
    copy = CountingStore(unique("csv"))  # another version there, of the same checksum
    for name in ("birds.csv.dsindex", "birds.csv"):
        copy.set_resource(name, store.get_resource(name))
    monkeypatch.setenv("DATASTACK_CACHE", str(tmp_path / "yet another"))
    copy.requests.clear()
    assert len(CSVDatasetIterator(copy.get_resource("birds.csv"))) == 60_000
    assert copy.fetched <= size + (128 << 10)


@pytest.mark.parametrize("harm", ["other data", "damaged", "cut", "of other making"])
def test_an_index_beside_that_does_not_fit_is_not_used(own_cache, monkeypatch, tmp_path, harm):
    store = MemoryStorageConnector(unique("csv"))
    CSVDatasetIterator(stored(store, LONG), index="beside")
    content = bytearray(store.get_resource("birds.csv.dsindex").read())
    if harm == "damaged":
        content[len(content) // 2] ^= 1
    elif harm == "cut":
        del content[-1]
    elif harm == "of other making":
        content[:] = b"{}"
    else:
        store.set_resource("birds.csv", LONG.replace("\n1,", "\n10001,", 1).encode())
    store.set_resource("birds.csv.dsindex", bytes(content))
    monkeypatch.setenv("DATASTACK_CACHE", str(tmp_path / "another"))
    found = CSVDatasetIterator(store.get_resource("birds.csv"))
    assert found[59_999][0]["id"] == 59_999
    CSVDatasetIterator(store.get_resource("birds.csv"), index="beside")
    monkeypatch.setenv("DATASTACK_CACHE", str(tmp_path / "yet another"))
    assert CSVDatasetIterator(store.get_resource("birds.csv"))[59_999][0]["id"] == 59_999
    assert store.get_info("birds.csv.dsindex").size > 100_000


def hostile_indexes(index):
    """What is sealed, and of the right version, and still no index that a pass over that file made."""
    summary = index.summary
    text = summary["text"]
    yield replace(index, summary={**summary, "text": None})
    yield replace(index, summary={**summary, "text": {**text, "names": [1, 2, 3]}})
    yield replace(index, summary={**summary, "text": {**text, "types": ["object"] * 3}})
    yield replace(index, summary={**summary, "text": {**text, "dialect": {"delimiter": "\n", "missing": []}}})
    yield replace(index, summary={"text": text})
    yield replace(index, end=index.end + 1)
    yield replace(index, anchors=index.anchors[:-1])
    yield replace(index, lines=index.lines[:-1])
    yield replace(index, anchors=index.anchors[::-1].copy())
    yield replace(index, distances=index.distances.astype(object))


def test_an_index_beside_that_lies_is_not_used(own_cache, monkeypatch, tmp_path):
    store = MemoryStorageConnector(unique("csv"))
    CSVDatasetIterator(stored(store, LONG), index="beside")
    index = RowIndex.from_bytes(unsealed(store.get_resource("birds.csv.dsindex").read()))
    for number, lying in enumerate(hostile_indexes(index)):
        store.set_resource("birds.csv.dsindex", b"".join(sealed(lying.parts())))
        monkeypatch.setenv("DATASTACK_CACHE", str(tmp_path / str(number)))
        assert CSVDatasetIterator(store.get_resource("birds.csv"))[59_999][0]["id"] == 59_999


def test_an_index_beside_needs_a_store_that_can_be_written(own_cache, memory):
    resource = stored(memory, "x\n1\n")
    with pytest.raises(ValueError, match="index='aside'"):
        CSVDatasetIterator(resource, index="aside")
    memory.read_only = True
    with pytest.raises(ReadOnlyStorageError, match=r"birds\.csv\.dsindex"):
        CSVDatasetIterator(resource, index="beside")
    memory.read_only = False
    assert len(CSVDatasetIterator(resource, index="beside")) == 1
    assert memory.has_resource("birds.csv.dsindex")


# Gzip.


def test_a_gzipped_table_is_unpacked_once(own_cache):
    store = CountingStore(unique("csv"))
    packed = gzip.compress(LONG.encode())
    assert len(packed) < KEPT_FROM
    with pytest.warns(UserWarning, match=rf"birds\.csv\.gz in .* is gzipped, .* unpacked into {own_cache}"):
        first = CSVDatasetIterator(stored(store, packed, "birds.csv.gz"))
    assert first[777][0]["id"] == 777
    store.requests.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        second = pickle.loads(pickle.dumps(CSVDatasetIterator(store.get_resource("birds.csv.gz"))))
        assert second[777][0]["id"] == 777
    assert store.fetched <= 128 << 10


def test_without_a_cache_a_gzipped_table_is_unpacked_into_a_temporary_file(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("DATASTACK_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="gzipped"):
        found = table(gzip.compress(LONG.encode()), "birds.csv.gz")
    assert found.take([777])[0]["id"].tolist() == [777]


@pytest.mark.parametrize("cache", ["there", "not there"])
def test_a_gzipped_table_may_unpack_to_so_much_only(tmp_path, monkeypatch, cache):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("DATASTACK_CACHE", str(tmp_path / ("cache" if cache == "there" else "file")))
    packed = gzip.compress(LONG.encode())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(DatasetFileCorruptError, match=r"unpacks to more than max_bytes=1,000,000"):
            table(packed, "birds.csv.gz", max_bytes=1_000_000)
        assert len(table(packed, "birds.csv.gz", max_bytes=len(LONG))) == 60_000
        with pytest.raises(DatasetFileCorruptError, match=r"unpacks to more than max_bytes=1,000,000"):
            table(packed, "birds.csv.gz", max_bytes=1_000_000)
        with pytest.raises(DatasetFileCorruptError, match="is not a whole gzip file"):
            table(packed[:-9], "birds.csv.gz")


# On S3, counted at a proxy before the server.


def test_random_rows_from_s3_are_at_most_one_request_each(seaweed, own_cache):
    seaweed.make_bucket(BUCKET)
    prefix = unique("csv")
    content = "id,note,label\n" + "".join(f"{n},{'z' * 180},{n % 7}\n" for n in range(80_000))
    direct = S3StorageConnector(BUCKET, prefix, **seaweed.options())
    direct.set_resource("birds.csv", content.encode())
    open_dataset("birds.csv", storage=direct)
    with FaultProxy.before(seaweed.endpoint_url) as proxy:
        connector = S3StorageConnector(BUCKET, prefix, **{**seaweed.options(), "endpoint_url": proxy.url})
        found = open_dataset("birds.csv", storage=connector, sample="id")
        assert proxy.requests <= 3
        assert proxy.bytes_down < 200_000  # the index is in the cache: of the file, its first block was looked at
        batch = np.random.default_rng(3).permutation(80_000)[:50]
        before, down = proxy.requests, proxy.bytes_down
        assert found.take(batch)[0].tolist() == batch.tolist()
        scattered = proxy.requests - before
        assert 10 < scattered <= 50
        assert proxy.bytes_down - down < 50 * (70 << 10)
        before = proxy.requests
        assert found.take(range(1000, 1100))[0].tolist() == list(range(1000, 1100))
        assert proxy.requests - before == 1
        connector.close()
