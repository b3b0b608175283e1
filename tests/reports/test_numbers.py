"""What a report says of samples and targets, against numpy."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from datastack_fs import load_dataset, report
from datastack_fs.iterators import DatasetMeta, SequenceDatasetIterator
from datastack_fs.iterators.report.looking import spread
from datastack_fs.iterators.report.summary import Summary
from datastack_fs.iterators.report.targets import target_report
from harness.leaves import OneByOneLeaf, RecordingLeaf

NAN = float("nan")


def columns_of(samples, targets=None, **options):
    found = report(SequenceDatasetIterator(samples, targets), seconds=0, **options)
    assert found.problems == ()
    return {column.name: column for column in found.columns}


def test_digits():
    train = load_dataset("digits", storage="memory://report-numbers")
    found = report(train, seconds=0, full=True)
    images = np.stack([image for image, _, _ in train])
    sample, target, tag = found.columns
    assert (found.looked_at, found.length) == (1437, 1437)
    assert (sample.types, sample.low, sample.high) == (("uint8 (8, 8)",), 0, 16)
    assert sample.mean == pytest.approx(images.mean())
    assert (target.low, target.high, tag.types) == (0, 9, ("text",))
    assert [each.count for each in found.targets.classes] == np.bincount(train.targets()).tolist()
    assert [each.name for each in found.targets.classes] == [str(digit) for digit in range(10)]
    assert (found.store, found.format) == ("memory://report-numbers", "hdf5")
    assert (found.resource, found.checksum) == ("digits/preprocessed/train.h5", train.origin.checksum)
    assert found.positions == {"sample": 0, "target": 1, "tag": 2}


def test_the_same_report_each_time():
    stack = load_dataset("digits", storage="memory://report-numbers").shuffle(3)
    assert report(stack, seconds=0) == report(stack, seconds=0)


def test_parts_of_mappings_tuples_and_records():
    records = np.zeros(3, dtype=[("x", "f4"), ("y", "i2", (2,))])
    columns = columns_of([({"a": np.zeros((2, 2)), "b": ("owl", 3)}, records[i]) for i in range(3)])
    assert [(name, column.types[0]) for name, column in columns.items()] == [
        ("sample[0].a", "float64 (2, 2)"),
        ("sample[0].b[0]", "text"),
        ("sample[0].b[1]", "int"),
        ("sample[1].x", "float32"),
        ("sample[1].y", "int16 (2,)"),
        ("target", "None"),
        ("tag", "None"),
    ]


def test_samples_that_differ():
    samples = [np.zeros((2, 3)), np.ones((4, 3)), {"a": 1}, {"a": None, "b": "x"}, 7, None, "", b"abc", [1, 2]]
    columns = columns_of(samples)
    assert (columns["sample"].samples, columns["sample"].missing_samples) == (7, 2)
    assert (columns["sample"].low, columns["sample"].high) == (0, 7)
    assert set(columns["sample"].types) >= {"float64 (2, 3)", "float64 (4, 3)", "int", "None", "text", "bytes"}
    assert (columns["sample.a"].samples, columns["sample.a"].missing_samples) == (2, 1)
    assert columns["sample.b"].samples == 1


def test_of_a_wide_table_the_first_200_parts_are_shown():
    found = report(SequenceDatasetIterator([{f"column {n}": n for n in range(300)}] * 3), seconds=0)
    assert (len(found.columns), found.columns_left_out, found.problems) == (200, 102, ())
    assert "102 more parts are left out" in found.to_markdown()
    assert "102 more parts are left out" in found.to_html()
    assert len(found.examples[0].parts) == 12


def test_positions_and_longer_samples():
    found = report(OneByOneLeaf(4), seconds=0)
    assert [column.name for column in found.columns] == ["target", "sample", "tag.row"]
    assert found.positions == {"sample": 1, "target": 0, "tag": 2}
    assert [each.label for each in found.targets.classes] == ["class 0", "class 1"]


def test_what_is_missing_is_counted():
    floats = np.array([[1.0, NAN, np.inf], [NAN, NAN, 2.0], [3.0, 4.0, -np.inf]], dtype=np.float32)
    column = columns_of(floats)["sample"]
    assert (column.missing_samples, column.missing_values, column.infinite_values) == (2, 3, 2)
    assert (column.low, column.high, column.mean) == (1.0, 4.0, 2.5)
    times = np.array(["2026-01-02", "NaT", "2025-01-01"], dtype="datetime64[D]")
    column = columns_of(times)["sample"]
    assert (column.missing_samples, column.low, column.high) == (1, "2025-01-01", "2026-01-02")
    column = columns_of(["owl", "", " ", None, NAN])["sample"]
    assert (column.missing_samples, column.low, column.high, column.unit) == (4, 0, 3, "letters")
    column = columns_of(np.array(["owl", ""]))["sample"]
    assert (column.missing_samples, column.high) == (1, 3)


def test_pandas_values(request):
    import pandas as pd

    column = columns_of([pd.NA, pd.NaT, pd.Timestamp("2026-01-01")])["sample"]
    assert (column.samples, column.missing_samples) == (3, 2)


@settings(max_examples=100, deadline=None)
@given(
    hnp.arrays(
        st.sampled_from(["f2", "f4", "f8", "i1", "u1", "i8", "u8", "?"]),
        st.tuples(st.integers(1, 20), st.integers(1, 3)),
    )
)
def test_ranges_equal_numpys(array):
    column = columns_of(array)["sample"]
    numbers = array.astype(np.float64) if array.dtype.kind == "f" else array
    finite = numbers[np.isfinite(numbers)]
    assert column.missing_values == int(np.isnan(array.astype(np.float64)).sum())
    assert column.missing_samples == int(np.isnan(array.astype(np.float64)).any(axis=1).sum())
    assert column.infinite_values == int(np.isinf(numbers).sum())
    if len(finite):
        assert (column.low, column.high) == (finite.min(), finite.max())
        with np.errstate(over="ignore"):
            mean = finite.mean(dtype=np.float64)
        # What cancels out leaves what the order of adding has rounded.
        largest = float(np.abs(finite.astype(np.float64)).max())
        assert column.mean is None or column.mean == pytest.approx(mean, abs=1e-12 * largest)
        assert column.mean is not None or not math.isfinite(finite.sum(dtype=np.float64))
    else:
        assert column.low is column.high is column.mean is None


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers() | st.floats() | st.none() | st.text(max_size=3) | st.booleans(), min_size=1),
    st.integers(1, 5),
)
def test_batches_add_up(values, size):
    """Whatever the batches are."""

    def found(step):
        summary = Summary(["value"])
        for start in range(0, len(values), step):
            summary.add([(value,) for value in values[start : start + step]])
        (column,) = summary.columns()
        return column

    whole, parts = found(len(values)), found(size)
    for name in ("samples", "missing_samples", "missing_values", "infinite_values", "low", "high", "unit"):
        assert getattr(whole, name) == getattr(parts, name)


LABELS = st.lists(st.integers(-3, 120)) | st.lists(st.sampled_from(["owl", "wren", "", None])) | st.lists(st.floats())


@settings(max_examples=150, deadline=None)
@given(LABELS, st.booleans())
def test_classes_and_histograms_add_up(labels, as_objects):
    array = np.array(labels, dtype=object) if as_objects or None in labels or "" in labels else np.array(labels)
    if array.dtype.kind == "U":
        array = array.astype(object)
    found = target_report(array, of=len(labels) + 5)
    missing = sum(label is None or label == "" or label != label for label in labels)
    assert (found.looked_at, found.of, found.missing) == (len(labels), len(labels) + 5, missing)
    if found.kind == "classes":
        assert sum(each.count for each in found.classes) + found.other_count == len(labels) - missing
        assert found.distinct == len(found.classes) + found.other_classes
        assert all(labels.count(each.value) == each.count for each in found.classes)
        assert found.imbalance >= 1
    elif found.histogram is not None:
        finite = [label for label in labels if math.isfinite(label)]
        assert sum(found.histogram.counts) == len(finite)
        assert (found.low, found.high) == (min(finite), max(finite))
    else:
        assert found.kind in {"none", "numbers"}


def test_kinds_of_targets():
    assert target_report(np.arange(100), 100).kind == "classes"
    assert target_report(np.arange(101), 101).kind == "numbers"
    assert target_report(np.array([1.0, 2.0, 2.0]), 3).kind == "classes"
    assert target_report(np.array([1.5, 2.0, 2.0]), 3).kind == "numbers"
    assert target_report(np.array([1.5, None, 2.25], dtype=object), 3).kind == "numbers"
    assert target_report(np.zeros((3, 2)), 3).kind == "other"
    assert target_report(np.array([{"a": 1}, [2]], dtype=object), 2).kind == "other"
    assert target_report(np.array([None, None]), 2).kind == "none"
    assert target_report(np.array([]), 0).kind == "none"
    assert target_report(np.array([2**70, 10**400, True], dtype=object), 3).kind == "classes"
    assert target_report(np.array([-1e308, 1e308]), 2).histogram is None


def test_named_classes_and_what_is_outside():
    names = tuple(f"class {number}" for number in range(60))
    found = target_report(np.array([0] * 5 + [59] * 2 + [60, -1]), 9, names)
    assert (found.classes[0].value, len(found.classes), found.other_classes, found.unnamed) == (-1, 50, 12, 2)
    assert found.imbalance == 5
    meta = DatasetMeta("birds", "birds", class_names=("owl", "wren"))
    whole = report(SequenceDatasetIterator([0, 0, 0], [0, 1, 2], meta=meta), seconds=0)
    assert whole.problems == ("targets: 1 are outside the named classes",)
    assert [each.label for each in whole.targets.classes] == ["owl", "wren", "2"]


def test_only_some_samples_are_looked_at_and_the_ends_are_among_them():
    leaf = RecordingLeaf(5000)
    found = report(leaf, samples=100, seconds=0)
    read = [index for batch in leaf.sample_batches for index in batch]
    assert (len(read), read[0], read[-1]) == (100, 0, 4999)
    assert (found.looked_at, found.targets.looked_at) == (100, 5000)
    assert len(found.examples) == 24


@given(st.integers(0, 300), st.integers(1, 400), st.integers(1, 20))
def test_spread_indices(length, count, runs):
    indices = spread(length, count, runs)
    assert sorted(set(indices.tolist())) == indices.tolist()
    assert len(indices) <= count or count >= length
    assert all(0 <= index < length for index in indices.tolist())
    if length:
        assert indices[0] == 0
    if length and count > 1:
        assert indices[-1] == length - 1 or runs == 1


def test_an_empty_iterator():
    found = report(SequenceDatasetIterator([]), seconds=1)
    assert (found.length, found.looked_at, found.columns, found.speed, found.problems) == (0, 0, (), (), ())
    assert found.targets.kind == "none"


@pytest.mark.parametrize(("options", "words"), [({"samples": 0}, "one sample or more"), ({"seconds": -1}, "negative")])
def test_misuse(options, words):
    with pytest.raises(ValueError, match=words):
        report(RecordingLeaf(3), **options)
    with pytest.raises(TypeError, match="SequenceDatasetIterator"):
        report([1, 2, 3])
