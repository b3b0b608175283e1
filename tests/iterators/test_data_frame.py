"""pandas frames as samples."""

import datetime as dt
import pickle
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from datastack_fs import DataFrameDatasetIterator
from datastack_fs.errors import DatasetFileCorruptError, DatasetNotFoundError
from datastack_fs.iterators import DatasetMeta
from datastack_fs.testing import DatasetIteratorTests
from datastack_fs.testing.iterators import assert_same

FRAME = pd.DataFrame(
    {
        "name": ["owl", "wren", None, "kea"],
        "grams": pd.array([480, 9, 7, None], dtype="Int64"),
        "wings": [1.5, 0.2, 0.25, 0.9],
        "kind": pd.Categorical(["big", "small", "small", "big"], categories=["small", "big", "huge"]),
    },
    index=["a", "b", "c", "d"],
)


class TestAFrame(DatasetIteratorTests):
    @pytest.fixture
    def iterator(self):
        meta = DatasetMeta("frame", "frame", tag="all", sample_pos=2, target_pos=0, tag_pos=1)
        return DataFrameDatasetIterator(FRAME, sample=["name", "grams", "wings"], target="kind", meta=meta)

    @pytest.fixture
    def expected(self):
        grams = [480.0, 9.0, 7.0, float("nan")]
        rows = zip(FRAME["name"].tolist(), map(np.float64, grams), FRAME["wings"], [1, 0, 0, 1], strict=True)
        return [
            (code, "all", (None if name is not None and name != name else name, gram, wing))
            for name, gram, wing, code in rows
        ]


def test_a_categorical_target_names_its_classes():
    iterator = DataFrameDatasetIterator(FRAME, target="kind")
    assert iterator.meta.class_names == ("small", "big", "huge")
    assert iterator.targets().tolist() == [1, 0, 0, 1]
    assert iterator.targets().dtype == np.int64
    named = DataFrameDatasetIterator(FRAME, target="kind", meta=DatasetMeta("f", "f", class_names=("s", "b", "h")))
    assert named.meta.class_names == ("s", "b", "h")
    assert DataFrameDatasetIterator(FRAME, sample="kind").take([0])[0].tolist() == ["big"]
    lacking = FRAME.assign(kind=pd.Categorical(["big", None, "big", None]))
    with pytest.raises(ValueError, match=r"'kind' is categorical and misses 2 of 4 values: frame\.dropna"):
        DataFrameDatasetIterator(lacking, target="kind")


def test_the_index_is_left_out_or_a_column():
    assert DataFrameDatasetIterator(FRAME[["wings"]])[0][0] == {"wings": 1.5}
    named = DataFrameDatasetIterator(FRAME, sample="wings", tag="bird", index_as="bird")
    assert named.tags().tolist() == ["a", "b", "c", "d"]
    assert named[-1] == (0.9, None, "d")
    with pytest.raises(DatasetFileCorruptError, match="several columns 'name'"):
        DataFrameDatasetIterator(FRAME, index_as="name")
    several = FRAME.set_index(["name", "wings"])
    assert DataFrameDatasetIterator(several, sample="at", index_as="at")[1][0] == ("wren", 0.2)


def test_what_the_caller_does_to_their_frame_is_not_seen():
    frame = FRAME.copy()
    iterator = DataFrameDatasetIterator(frame, sample="wings")
    frame["wings"] = 0.0
    frame.drop(index="a", inplace=True)
    assert iterator.take(range(4))[0].tolist() == FRAME["wings"].tolist()
    iterator.take(range(4))[0][:] = 7
    assert iterator[0][0] == 1.5


def test_a_frame_comes_back_as_it_was():
    iterator = DataFrameDatasetIterator(FRAME, target="kind")
    pd.testing.assert_frame_equal(iterator.to_pandas(), FRAME)
    pd.testing.assert_frame_equal(iterator.to_pandas([-1, 0]), FRAME.iloc[[3, 0]])
    pd.testing.assert_frame_equal(pickle.loads(pickle.dumps(iterator)).to_pandas(), FRAME)


NAN = float("nan")
NOON = dt.datetime(2020, 1, 2, 12)
TYPES = {
    "int8": (pd.Series([1, 2], dtype="int8"), np.array([1, 2], "i1")),
    "complex": (pd.Series([1j, 2]), np.array([1j, 2])),
    "nullable integers": (pd.Series([1, 2], dtype="UInt8"), np.array([1, 2], "u1")),
    "nullable integers, one missing": (pd.Series([1, None], dtype="Int64"), np.array([1, NAN])),
    "large integers, one missing": (pd.Series([2**53 + 1, None], dtype="Int64"), [2**53 + 1, None]),
    "nullable floats": (pd.Series([1, None], dtype="Float32"), np.array([1, NAN], "f4")),
    "nullable bools": (pd.Series([True, False], dtype="boolean"), np.array([True, False])),
    "nullable bools, one missing": (pd.Series([True, None], dtype="boolean"), [True, None]),
    "text": (pd.Series(["a", None], dtype="string"), ["a", None]),
    "objects": (pd.Series([[1], None], dtype=object), [[1], None]),
    "times": (pd.Series(np.array(["2020-01-02T12", "NaT"], "M8[s]")), np.array(["2020-01-02T12", "NaT"], "M8[s]")),
    "times of a zone": (
        pd.Series(np.array(["2020-01-02T12"], "M8[ms]")).dt.tz_localize("Asia/Tokyo"),
        np.array(["2020-01-02T03"], "M8[ms]"),
    ),
    "durations": (pd.Series(np.array([1, "NaT"], "m8[s]")), np.array([1, "NaT"], "m8[s]")),
    "categories": (pd.Series(["b", None], dtype="category"), ["b", None]),
    "numbers as categories": (pd.Series([3, 4], dtype="category"), np.array([3, 4])),
    "numbers as categories, one missing": (pd.Series([3, None], dtype=pd.CategoricalDtype([3, 4])), np.array([3, NAN])),
    "sparse": (pd.Series([0, 1], dtype=pd.SparseDtype("int64", 0)), np.array([0, 1])),
    "integers of Arrow": (pd.Series([1, None], dtype=pd.ArrowDtype(pa.int32())), np.array([1, NAN])),
    "text of Arrow": (pd.Series(["a", "b"], dtype=pd.ArrowDtype(pa.string())), ["a", "b"]),
    "times of Arrow": (
        pd.Series([NOON, None], dtype=pd.ArrowDtype(pa.timestamp("ms", "UTC"))),
        np.array(["2020-01-02T12", "NaT"], "M8[ms]"),
    ),
    "dates of Arrow": (
        pd.Series([NOON.date(), None], dtype=pd.ArrowDtype(pa.date32())),
        np.array(["2020-01-02", "NaT"], "M8[D]"),
    ),
    "durations of Arrow": (
        pd.Series([dt.timedelta(1), None], dtype=pd.ArrowDtype(pa.duration("s"))),
        np.array([86_400, "NaT"], "m8[s]"),
    ),
    "decimals of Arrow": (
        pd.Series([Decimal("1.20"), None], dtype=pd.ArrowDtype(pa.decimal128(5, 2))),
        [Decimal("1.20"), None],
    ),
}


@pytest.mark.parametrize("kind", TYPES)
def test_every_type_has_its_numpy_type(kind):
    series, expected = TYPES[kind]
    if isinstance(expected, list):
        found = np.empty(len(expected), dtype=object)
        found[:] = expected
        expected = found
    iterator = DataFrameDatasetIterator(pd.DataFrame({"x": series}), sample="x")
    assert_same(iterator.take(range(len(expected)))[0], expected)
    if "large" not in kind:
        assert iterator.take([0])[0].dtype == expected.dtype


def test_what_is_no_such_frame_is_refused():
    with pytest.raises(TypeError, match=r"a pandas frame is needed, not dict: most others have \.to_pandas\(\)"):
        DataFrameDatasetIterator({"a": [1]})
    with pytest.raises(TypeError, match="of one level"):
        DataFrameDatasetIterator(pd.DataFrame([[1]], columns=pd.MultiIndex.from_tuples([("a", "b")])))
    with pytest.raises(DatasetNotFoundError, match="no column 'age' in data frame; it has 'name', 'grams'"):
        DataFrameDatasetIterator(FRAME, target="age")
    assert DataFrameDatasetIterator(pd.DataFrame([[1, 2]]), sample="1")[0][0] == 2
