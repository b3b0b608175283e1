"""JSON Lines: what Python's json module reads, line by line from any store, by exact byte ranges."""

import gzip
import io
import json
import pickle
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datastack_fs import open_dataset
from datastack_fs.connectors import FileStorageConnector, MemoryStorageConnector
from datastack_fs.errors import DatasetFileCorruptError, DatasetNotFoundError
from datastack_fs.formats.jsonl import JSONLinesDatasetIterator
from datastack_fs.iterators import DatasetMeta
from datastack_fs.testing import DatasetIteratorTests
from harness.counting import CountingStore
from harness.stores import unique

CALLS = [
    {"text": f"call {n}\n\u2028", "label": n % 3, "meta": {"bird": "owl" if n % 2 else "wren", "at": [n, n / 4]}}
    for n in range(13)
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """A cache folder that no other test has."""
    monkeypatch.setenv("DATASTACK_CACHE", str(tmp_path / "cache"))


def written(objects, line_end="\n"):
    return line_end.join([*(json.dumps(each, ensure_ascii=False) for each in objects), ""])


def stored(store, data, name="calls.jsonl"):
    store.set_resource(name, data.encode() if isinstance(data, str) else data)
    return store.get_resource(name)


def lines(data, name="calls.jsonl", **options):
    return JSONLinesDatasetIterator(stored(MemoryStorageConnector(unique("jsonl")), data, name), **options)


class TestWholeObjects(DatasetIteratorTests):
    @pytest.fixture
    def iterator(self, tmp_path):
        return JSONLinesDatasetIterator(stored(FileStorageConnector(tmp_path), written(CALLS)))

    @pytest.fixture
    def expected(self):
        return [(each, None, None) for each in CALLS]


class TestPickedAndGzipped(DatasetIteratorTests):
    @pytest.fixture
    def iterator(self):
        meta = DatasetMeta("calls", "calls", tag="all", sample_pos=1, target_pos=2, tag_pos=0)
        sample = {"where": "meta.at", "what": "text"}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            packed = gzip.compress(written(CALLS, "\r\n").encode())
            return lines(packed, "calls.jsonl.gz", sample=sample, target="meta.bird", meta=meta)

    @pytest.fixture
    def expected(self):
        return [("all", {"where": c["meta"]["at"], "what": c["text"]}, c["meta"]["bird"]) for c in CALLS]


@settings(max_examples=200, deadline=None)
@given(
    objects=st.lists(st.dictionaries(st.text(max_size=3), JSON, max_size=3), max_size=8),
    line_end=st.sampled_from(["\n", "\r\n", "\n\n \t\n"]),
    ascii_only=st.booleans(),
)
def test_any_objects_read_back_equal(objects, line_end, ascii_only):
    text = line_end.join(json.dumps(each, ensure_ascii=ascii_only) for each in objects)
    for data in (text.encode("utf-8", "surrogatepass"), (text + line_end).encode("utf-8", "surrogatepass")):
        found = lines(data)
        assert [sample for sample, _, _ in found] == objects
        assert [sample for sample, _, _ in found.__getitems__(range(len(objects))[::-1])] == objects[::-1]


def test_values_by_their_keys():
    objects = [{"a": 1, "b": {"c": [2], "d.e": {"f": 3}}, "x.y": 4}, {"a": None, "z": 5}, {"b": 6}]
    found = lines(written(objects), sample=["a", "b.c", "b.d.e", "x.y"], target={"last": "z"}, tag="a")
    assert [sample for sample, _, _ in found] == [
        (1, [2], {"f": 3}, 4),
        (None, None, None, None),
        (None, None, None, None),
    ]
    assert found.targets().tolist() == [{"last": None}, {"last": 5}, {"last": None}]
    assert found.tags().tolist() == [1, None, None]


def test_a_key_that_none_of_the_first_objects_has():
    objects = [{"a": 1}] * 150 + [{"b": 2}]
    with pytest.raises(
        DatasetNotFoundError, match=r"no key 'b' in the first 100 objects of calls\.jsonl; they have 'a'"
    ):
        lines(written(objects), sample="b")
    with pytest.raises(DatasetNotFoundError, match=r"no key 'a\.b'"):
        lines(written(objects), target="a.b")
    assert len(lines("", sample="b")) == 0


def test_numbers_that_json_has_not_are_read_as_python_writes_them():
    found = lines('{"x": NaN}\n{"x": -Infinity}\n{"x": 1e400}\n{"x": 123456789012345678901234567890}\n', sample="x")
    samples = [sample for sample, _, _ in found]
    assert np.isnan(samples[0])
    assert samples[1:] == [-np.inf, np.inf, 123456789012345678901234567890]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"a": 1,}', r"is no JSON at byte 2[67]:"),
        ('{"é": nope}', r"is no JSON at byte 26: Expecting value"),
        ('{"a": "b', r"is no JSON at byte 27: Invalid control character"),
        ('{"a": 1} {"b": 2}', r"is no JSON at byte 28: Extra data"),
        (b'{"a": "\xff"}', r"is no UTF-8 at byte 26: invalid start byte"),
        ("[1, 2]", r"holds list in JSON, not an object: \[1, 2\]"),
        ("null", r"holds NoneType in JSON, not an object"),
        ('{"a": ' + "9" * 5000 + "}", r"can't be read as JSON: Exceeds the limit"),
        ("[" * 100_000, r"can't be read as JSON: .*recursion"),
    ],
)
def test_a_broken_line_is_named_with_its_byte(line, reason):
    above = b'{"a": 0}\r\n\n \n    \n\n'
    found = lines(above + (line if isinstance(line, bytes) else line.encode()) + b"\n")
    assert len(above) == 19
    assert found[0][0] == {"a": 0}
    with pytest.raises(DatasetFileCorruptError, match=rf"calls\.jsonl in memory.*: line 6 \(row 1, byte 19\) {reason}"):
        found[1]
    with pytest.raises(DatasetFileCorruptError, match="line 6"):
        list(found)


def test_other_encodings():
    assert lines(written(CALLS).encode("utf-8-sig"))[12][0] == CALLS[12]
    with pytest.raises(DatasetFileCorruptError, match=r"calls\.jsonl in .* UTF-16"):
        lines(written(CALLS).encode("utf-16"))


def test_samples_are_the_callers_own():
    found = lines(written(CALLS))
    first, again = found.__getitems__([4, 4])
    first[0]["meta"]["at"].append("x")
    assert again[0] == found[4][0] == CALLS[4]


MANY = [{"id": n, "note": "x" * 80, "label": n % 7} for n in range(60_000)]


def test_what_is_fetched(own_cache):
    store = CountingStore(unique("jsonl"))
    JSONLinesDatasetIterator(stored(store, written(MANY)))
    store.requests.clear()
    found = JSONLinesDatasetIterator(store.get_resource("calls.jsonl"), sample="id", target="label")
    assert store.fetched <= 128 << 10
    assert len(pickle.dumps(found)) > 0
    batch = np.random.default_rng(1).permutation(60_000)[:20]
    store.requests.clear()
    assert found.take(batch)[0].tolist() == batch.tolist()
    assert len(store.requests) == 1
    assert len(store.requests[0]) <= 20
    store.requests.clear()
    assert [sample for sample, _, _ in found] == list(range(60_000))
    assert len(store.requests) <= 3
    assert found.targets().tolist() == [n % 7 for n in range(60_000)]
    store.requests.clear()
    assert found[::-1].targets().tolist() == [n % 7 for n in range(60_000)][::-1]
    assert store.requests == []


def test_labels_of_every_kind_are_kept_for_another_process(own_cache):
    labels = [True, 1, 1.0, "1", None, 1 << 70]
    objects = [{"label": labels[n % len(labels)], "note": "x" * 80} for n in range(20_000)]
    store = CountingStore(unique("jsonl"))
    JSONLinesDatasetIterator(stored(store, written(objects)), target="label").targets()
    found = JSONLinesDatasetIterator(store.get_resource("calls.jsonl"), target="label")
    store.requests.clear()
    kept = found.targets()
    assert store.requests == []
    assert [(type(label), label) for label in kept[:6]] == [(type(label), label) for label in labels]


def test_an_index_beside_the_data(own_cache, tmp_path, monkeypatch):
    store = FileStorageConnector(tmp_path / "store")
    JSONLinesDatasetIterator(stored(store, written(MANY)), index="beside")
    assert store.has_resource("calls.jsonl.dsindex")
    monkeypatch.setenv("DATASTACK_CACHE", str(tmp_path / "another"))
    found = pickle.loads(pickle.dumps(JSONLinesDatasetIterator(store.get_resource("calls.jsonl"))))
    assert found[59_999][0] == MANY[59_999]


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson", "a.jsonl.gz"])
def test_the_format_is_told_by_the_ending(name):
    store = MemoryStorageConnector(unique("jsonl"))
    data = io.BytesIO(gzip.compress(b'{"x": 1}\n') if name.endswith(".gz") else b'{"x": 1}\n')
    store.set_resource(name, data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert open_dataset(name, storage=store, sample="x")[0] == (1, None, None)
