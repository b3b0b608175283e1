"""Splits: every sample in one part, exact sizes, the same everywhere, and what is refused."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from datastack_fs.iterators import DatasetMeta, SequenceDatasetIterator
from datastack_fs.iterators.labels import label_array
from datastack_fs.iterators.splits import group_split, hash_split, random_split, stratified_split
from datastack_fs.iterators.splits_codes import coded
from datastack_fs.iterators.splits_sizes import part_sizes


def dataset(targets, *, class_names=None, tags=None):
    meta = DatasetMeta("birds", "birds", class_names=class_names)
    return SequenceDatasetIterator(range(len(targets)), targets, tags, meta=meta)


def numbers(view):
    """The samples of a view; here they are their own indices."""
    return [sample for sample, _, _ in view]


def assert_partition(views, length):
    found = [numbers(view) for view in views]
    assert sorted(number for part in found for number in part) == list(range(length))
    assert all(part == sorted(part) for part in found)


fractions = st.lists(st.integers(1, 9), min_size=2, max_size=5).map(lambda shares: [n / sum(shares) for n in shares])


# Sizes


@pytest.mark.parametrize(
    ("parts", "length", "sizes"),
    [
        ([0.8, 0.2], 10, [8, 2]),
        ([0.7, 0.2, 0.1], 10, [7, 2, 1]),
        ([0.29, 0.71], 100, [29, 71]),  # 0.29 * 100 is 28.999… in floating point
        ([1 / 3, 1 / 3, 1 / 3], 11, [4, 4, 3]),
        ([0.5, 0.5], 3, [2, 1]),
        ([0.6, 0.25, 0.15], 7, [4, 2, 1]),
        ([3, 4], 7, [3, 4]),
        ([np.int64(3), 4], 7, [3, 4]),
        ([np.float32(0.5), 0.5], 4, [2, 2]),
    ],
)
def test_sizes_are_exact(parts, length, sizes):
    assert part_sizes(parts, length) == sizes


@given(fractions, st.integers(50, 10**12))
def test_fractions_are_rounded_to_a_neighbour_and_sum_to_the_length(parts, length):
    sizes = part_sizes(parts, length)
    assert sum(sizes) == length
    assert all(abs(size - part * length) < 1 + 1e-3 for size, part in zip(sizes, parts, strict=True))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([0.8, 0.1], "sum to 1"),
        ([0.8, 0.3], "sum to 1"),
        ([1.2, -0.2], "above 0"),
        ([float("nan"), 1.0], "above 0"),
        ([1.0], "at least two parts"),
        ([5, 6], r"sizes \[5, 6\] sum to 11, but there are 10"),
        ([10, 0], "at least one sample"),
        ([0.8, 2], "either all parts are fractions"),
        ([0.99, 0.01], "a part would be empty"),
    ],
)
@pytest.mark.parametrize("split", [random_split, stratified_split, group_split])
def test_parts_that_do_not_add_up_are_refused(split, parts, message):
    with pytest.raises(ValueError, match=message):
        split(dataset([0, 1] * 5), parts, seed=1)


@pytest.mark.parametrize("parts", ["ab", ["0.8", "0.2"], [True, False], 0.8])
def test_parts_that_are_no_numbers_are_refused(parts):
    with pytest.raises(TypeError):
        random_split(dataset([0] * 10), parts, seed=1)


# Random


@given(st.integers(60, 300), st.integers(0, 2**64), fractions)
def test_random_split_has_every_sample_once(length, seed, parts):
    views = random_split(dataset(range(length)), parts, seed=seed)
    assert_partition(views, length)
    assert [len(view) for view in views] == part_sizes(parts, length)


def test_the_seed_decides():
    data = dataset(range(100))
    first = [numbers(view) for view in random_split(data, [0.5, 0.5], seed=1)]
    assert first == [numbers(view) for view in random_split(data, [0.5, 0.5], seed=1)]
    assert first != [numbers(view) for view in random_split(data, [0.5, 0.5], seed=2)]
    # Written down: the same on every machine and with every numpy.
    assert first[0][:10] == [0, 2, 4, 5, 7, 9, 12, 14, 15, 16]


@pytest.mark.parametrize("split", [random_split, stratified_split, group_split])
def test_a_seed_must_be_given(split):
    with pytest.raises(TypeError, match="seed"):
        split(dataset([0, 1] * 5), [0.5, 0.5])
    with pytest.raises(TypeError, match="seed must be an integer"):
        split(dataset([0, 1] * 5), [0.5, 0.5], seed=None)


def test_what_is_no_iterator_is_refused():
    with pytest.raises(TypeError, match="SequenceDatasetIterator wraps"):
        random_split([1, 2, 3], [0.5, 0.5], seed=1)


def test_parts_carry_tags():
    data = dataset(range(10))
    assert [view.meta.tag for view in random_split(data, [0.5, 0.3, 0.2], seed=1)] == ["train", "validation", "test"]
    assert [view.meta.tag for view in random_split(data, [0.25] * 4, seed=1)] == ["0", "1", "2", "3"]
    (view, _) = random_split(data, [5, 5], seed=1, tags=["fit", "judge"])
    assert view.view_tags == {"split": "fit"}
    for tags in (["a"], ["a", "a"], "ab"):
        with pytest.raises(ValueError, match="2 different words"):
            random_split(data, [5, 5], seed=1, tags=tags)


def test_a_split_of_a_split_stands_on_the_leaf():
    data = dataset(range(100))
    rest, test = random_split(data, [0.8, 0.2], seed=1)
    train, validation = random_split(rest, [0.75, 0.25], seed=1)
    assert_partition([train, validation, test], 100)
    assert train.underlying_iterators == (data,)


# Stratified


@settings(max_examples=200)
@given(st.data())
def test_stratified_split_gives_each_part_its_share_of_each_class(data):
    counts = data.draw(st.lists(st.integers(5, 200), min_size=1, max_size=6))
    parts = data.draw(fractions)
    targets = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    sizes = [max(1, int(part * len(targets))) for part in parts]
    sizes[0] += len(targets) - sum(sizes)
    if min(sizes) < len(counts):
        return
    views = stratified_split(dataset(targets), sizes, seed=1)
    assert_partition(views, len(targets))
    for view, size in zip(views, sizes, strict=True):
        assert len(view) == size
        found = np.bincount(view.targets(), minlength=len(counts))
        assert found.min() >= 1
        if min(counts) * min(sizes) >= len(targets):  # else room is made for the rare ones
            assert np.abs(found - np.array(counts) * size / len(targets)).max() <= 1


def test_the_seed_decides_which_members_and_never_how_many():
    targets = ["owl"] * 60 + ["wren"] * 30 + ["kite"] * 10
    one, other = (stratified_split(dataset(targets), [0.8, 0.2], seed=seed)[1] for seed in (1, 2))
    assert numbers(one) != numbers(other)
    assert sorted(one.targets()) == sorted(other.targets()) == ["kite"] * 2 + ["owl"] * 12 + ["wren"] * 6
    assert numbers(one) == numbers(stratified_split(dataset(targets), [0.8, 0.2], seed=1)[1])


def test_a_rare_class_is_in_every_part():
    targets = [0] * 990 + [1] * 3
    for view in stratified_split(dataset(targets), [0.8, 0.1, 0.1], seed=1):
        assert (view.targets() == 1).sum() == 1


@pytest.mark.parametrize(
    ("targets", "class_names", "message"),
    [
        (
            [0] * 9 + [1],
            ("owl", "wren"),
            "class 'wren' has 1 member, and .* 2 parts needs at least 2",
        ),
        (["owl"] * 9 + ["wren"], None, "class 'wren' has 1 member,"),
        ([0] * 9 + [-1], ("owl", "wren"), "class -1 has 1 member,"),
        ([True] * 9 + [False], ("dead", "alive"), "class 'dead' has 1 member"),
        ([0] * 8 + [1, 2], None, r"class 1 has 1 member.*\(and 1 more classes have too few\)"),
    ],
)
def test_a_class_with_too_few_members_is_named(targets, class_names, message):
    with pytest.raises(ValueError, match=message):
        stratified_split(dataset(targets, class_names=class_names), [0.5, 0.5], seed=1)


def test_a_part_smaller_than_the_number_of_classes_is_refused():
    with pytest.raises(ValueError, match="part 'test' would have 2 samples, fewer than the 3 classes"):
        stratified_split(dataset([0, 1, 2] * 4), [10, 2], seed=1)


@pytest.mark.parametrize(
    "targets",
    [
        [3, 1, 2] * 10,
        np.array([3, 1, 2] * 10, dtype=np.uint8),
        ["b", "a", "\0"] * 10,
        np.array(["b", "a", "c"] * 10),
        np.array([b"b", b"a", b"c"] * 10),
        [1, "1", b"1"] * 10,
        np.array([2**64 - 1, 0, 1] * 10, dtype=np.uint64),
        [2**70, -(2**70), 0] * 10,
        np.array(["2024-01-01", "2025-01-01", "2026-01-01"] * 10, dtype="M8[D]"),
    ],
    ids=repr,
)
def test_targets_of_any_kind_that_has_classes(targets):
    for view in stratified_split(dataset(targets), [0.8, 0.2], seed=1):
        labels = list(view.targets())
        assert {labels.count(label) for label in labels} == {len(view) // 3}


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (np.linspace(0, 1, 10), "a target of 'birds' is float64, which has no classes: map targets"),
        ([0.5, "a"] * 5, "at index 0 is of type float"),
        ([None] * 10, r"'birds' has no targets: give them where it is made, SequenceDatasetIterator\(…, targets=…\)"),
        ([None, 1] * 5, "at index 0 is missing"),
        ([1, None] * 5, "at index 1 is missing"),
        (np.eye(10), "have several columns"),
        ([(1, 2)] * 10, "at index 0 is of type tuple"),
        ([{"a": 1}] * 10, "at index 0 is of type dict"),
        (np.zeros(10, dtype=[("a", "i4"), ("b", "i4")]), "have several columns"),
    ],
)
def test_targets_without_classes_are_refused(targets, message):
    with pytest.raises(ValueError, match=message):
        stratified_split(dataset(targets), [0.5, 0.5], seed=1)


@settings(max_examples=50)
@given(
    st.one_of(
        st.lists(st.integers(-3, 300), max_size=600),
        st.lists(st.integers(-(2**63), 2**63 - 1), max_size=20),
        st.lists(st.integers(2**64 - 9, 2**64 - 1), max_size=20),
        st.lists(st.text(max_size=2), max_size=20),
        st.lists(st.one_of(st.text(max_size=1), st.integers(0, 2), st.booleans()), max_size=20),
    ),
    st.integers(1, 300),
)
@example([0, True], 1)
@example([0, True], 2)
def test_labels_that_come_in_blocks_are_numbered_as_one(labels, size):
    blocks = [label_array(labels[start : start + size]) for start in range(0, len(labels), size)]
    codes, values, counts = coded(blocks, len(labels), "label", "give integers")
    assert [values[code] for code in codes] == labels
    assert values == sorted(set(labels), key=lambda label: ("str" if isinstance(label, str) else "int", label))
    assert counts.tolist() == [labels.count(value) for value in values]
    assert codes.dtype == np.min_scalar_type(max(0, len(values) - 1))


# Groups


@settings(max_examples=200)
@given(st.lists(st.integers(0, 15), min_size=40, max_size=200), st.sampled_from([[0.8, 0.2], [0.6, 0.2, 0.2]]))
def test_a_group_is_in_one_part(groups, parts):
    if len(set(groups)) < len(parts):
        return
    views = group_split(dataset(groups), parts, seed=1, groups=groups)
    assert_partition(views, len(groups))
    found = [set(view.targets()) for view in views]
    assert all(found)
    assert sum(map(len, found)) == len(set(groups))
    if len(parts) == 2 and min(map(len, found)) > 1:
        largest = max(map(groups.count, set(groups)))
        sizes = part_sizes(parts, len(groups))
        assert all(abs(len(view) - size) <= largest for view, size in zip(views, sizes, strict=True))


def test_groups_are_the_tags_unless_they_are_given():
    sites = ["marsh", "wood", "lake", "wood"] * 10
    train, test = group_split(dataset(range(40), tags=sites), [0.5, 0.5], seed=1)
    assert set(train.tags()) & set(test.tags()) == set()
    assert len(train) == len(test) == 20
    with pytest.raises(ValueError, match="there are 1 groups"):
        group_split(dataset(range(40), tags=sites), [0.5, 0.5], seed=1, groups=[7] * 40)


@pytest.mark.parametrize(
    ("groups", "error", "message"),
    [
        (None, ValueError, "the tag of 'birds' at index 0 is missing: give groups"),
        ([1, 2], ValueError, "one value for each of the 10 samples"),
        ("abcdefghij", TypeError, "one value for each sample, not str"),
        (7, TypeError, "not int"),
        ([0.5] * 10, ValueError, "of type float"),
        (np.ones(10), ValueError, "float64"),
        ([[1, 2]] * 10, ValueError, "of type list"),
        (np.ones((10, 2), dtype=int), ValueError, r"shape \(10, 2\)"),
    ],
)
def test_groups_that_are_none_are_refused(groups, error, message):
    with pytest.raises(error, match=message):
        group_split(dataset(range(10)), [0.5, 0.5], seed=1, groups=groups)


# Hash


def test_hash_split_keeps_every_sample_in_its_part_when_data_grows():
    names = [f"site-{number % 50}/{number}.png" for number in range(2000)]
    grown = [f"new-{number}" for number in range(500)] + names[::-1]
    before = [{names[i] for i in numbers(view)} for view in hash_split(dataset(names), [0.7, 0.2, 0.1], keys=names)]
    after = [{grown[i] for i in numbers(view)} for view in hash_split(dataset(grown), [0.7, 0.2, 0.1], keys=grown)]
    assert all(part <= later for part, later in zip(before, after, strict=True))
    assert_partition(hash_split(dataset(names), [0.7, 0.2, 0.1], keys=names), 2000)
    for part, fraction in zip(before, [0.7, 0.2, 0.1], strict=True):
        assert abs(len(part) / 2000 - fraction) < 0.04


def test_hash_split_is_the_same_everywhere():
    views = hash_split(dataset(range(20)), [0.5, 0.5], keys=[f"owl-{number}" for number in range(20)])
    assert numbers(views[1]) == [2, 3, 8, 9, 10, 14, 15, 17, 18, 19]


def test_keys_may_be_tags_and_of_several_kinds():
    keys = ["a", b"a", 1, -1, 2**80, "\ud800"] * 3
    by_tag = hash_split(dataset(range(18), tags=keys), [0.5, 0.5])
    by_key = hash_split(dataset(range(18)), [0.5, 0.5], keys=keys)
    assert [numbers(view) for view in by_tag] == [numbers(view) for view in by_key]
    of_numpy = hash_split(dataset(range(3)), [0.5, 0.5], keys=np.arange(3, dtype=np.uint8))
    assert [numbers(v) for v in of_numpy] == [
        numbers(v) for v in hash_split(dataset(range(3)), [0.5, 0.5], keys=[0, 1, 2])
    ]
    other = hash_split(dataset(range(18)), [0.5, 0.5], keys=list(range(18)), seed=1)
    assert numbers(other[0]) != numbers(hash_split(dataset(range(18)), [0.5, 0.5], keys=list(range(18)))[0])


@pytest.mark.parametrize("key", [None, 0.5, True, (1,), [1]])
def test_a_key_that_says_nothing_is_refused(key):
    with pytest.raises(ValueError, match="a key is text, bytes or an integer"):
        hash_split(dataset(range(2)), [0.5, 0.5], keys=["a", key])


def test_hash_split_takes_no_sizes():
    with pytest.raises(ValueError, match="sum to 1"):
        hash_split(dataset(range(2)), [1, 1], keys=["a", "b"])
