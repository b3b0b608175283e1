"""Folds: every sample is tested once, classes and groups are kept, and scikit-learn's own folds are found again."""

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import GroupKFold, LeaveOneGroupOut, StratifiedGroupKFold, StratifiedKFold, TimeSeriesSplit

from datastack_fs.errors import MissingDependencyError
from datastack_fs.iterators import DatasetMeta, SequenceDatasetIterator
from datastack_fs.iterators.splits import (
    folds_by,
    group_k_fold,
    k_fold,
    nested_k_fold,
    stratified_k_fold,
)


def dataset(targets, *, class_names=None, tags=None):
    meta = DatasetMeta("birds", "birds", class_names=class_names)
    return SequenceDatasetIterator(range(len(targets)), targets, tags, meta=meta)


def numbers(view):
    return [sample for sample, _, _ in view]


def assert_folds(folds, length):
    assert sorted(number for fold in folds for number in numbers(fold.test)) == list(range(length))
    for fold in folds:
        assert sorted(numbers(fold.train) + numbers(fold.test)) == list(range(length))


CLASSES = np.random.default_rng(3).integers(0, 4, 203)
GROUPS = np.random.default_rng(4).integers(0, 23, 203)


@given(st.integers(7, 200), st.integers(2, 7), st.integers(0, 2**70))
def test_k_fold_tests_every_sample_once(length, k, seed):
    folds = k_fold(dataset(range(length)), k, seed=seed)
    assert_folds(folds, length)
    sizes = [len(fold.test) for fold in folds]
    assert len(sizes) == k
    assert max(sizes) - min(sizes) <= 1


def test_folds_are_numbered():
    train, test = k_fold(dataset(range(10)), 5, seed=1)[3]
    assert train.view_tags == {"fold": "3", "split": "train"}
    assert test.meta.tag == "3/test"


def test_stratified_folds_are_those_of_scikit_learn():
    folds = stratified_k_fold(dataset(CLASSES), 5, seed=7)
    assert_folds(folds, 203)
    theirs = StratifiedKFold(5, shuffle=True, random_state=7).split(np.zeros(203), CLASSES)
    assert [numbers(fold.test) for fold in folds] == [test.tolist() for _, test in theirs]
    by_name = dataset([f"class {number}" for number in CLASSES])
    assert [len(fold.test) for fold in stratified_k_fold(by_name, 5, seed=7)] == [len(fold.test) for fold in folds]


def test_stratified_folds_are_the_same_on_every_machine():
    assert numbers(stratified_k_fold(dataset([0, 1] * 10), 4, seed=1)[0].test) == [0, 7, 8, 12, 15]


def test_group_folds_have_the_sizes_of_scikit_learn():
    folds = group_k_fold(dataset(CLASSES), 5, seed=7, groups=GROUPS)
    assert_folds(folds, 203)
    for train, test in folds:
        assert set(GROUPS[numbers(train)]) & set(GROUPS[numbers(test)]) == set()
    theirs = GroupKFold(5).split(np.zeros(203), CLASSES, GROUPS)
    assert sorted(len(fold.test) for fold in folds) == sorted(len(test) for _, test in theirs)
    tagged = group_k_fold(dataset(CLASSES, tags=GROUPS), 5, seed=7)
    assert [numbers(fold.test) for fold in tagged] == [numbers(fold.test) for fold in folds]
    other = group_k_fold(dataset(CLASSES), 5, seed=8, groups=np.arange(203) // 2)
    again = group_k_fold(dataset(CLASSES), 5, seed=9, groups=np.arange(203) // 2)
    assert [numbers(fold.test) for fold in other] != [numbers(fold.test) for fold in again]


@pytest.mark.parametrize(
    "options", [{}, {"stratified": True}, {"groups": GROUPS}], ids=["random", "stratified", "groups"]
)
def test_nested_folds(options):
    folds = nested_k_fold(dataset(CLASSES), 4, 3, seed=1, **options)
    assert_folds(folds, 203)
    for number, (train, test, inner) in enumerate(folds):
        assert len(inner) == 3
        assert sorted(number for fold in inner for number in numbers(fold.test)) == numbers(train)
        for inner_number, (fit, validation) in enumerate(inner):
            assert sorted(numbers(fit) + numbers(validation)) == numbers(train)
            assert validation.view_tags == {
                "fold": str(number),
                "split": "train",
                "inner_fold": str(inner_number),
                "inner_split": "validation",
            }
            if options.get("stratified"):
                share = np.bincount(CLASSES) * len(validation) / 203
                assert np.abs(np.bincount(validation.targets()) - share).max() <= 2
            if "groups" in options:
                assert set(GROUPS[numbers(fit)]) & set(GROUPS[numbers(validation)]) == set()
        assert not set(numbers(test)) & set(numbers(train))


def test_inner_folds_of_the_same_size_are_divided_differently():
    first, second = nested_k_fold(dataset(range(90)), 3, 2, seed=1)[:2]
    places = [[numbers(fold.train).index(number) for number in numbers(fold.inner[0].test)] for fold in (first, second)]
    assert places[0] != places[1]


def test_nested_folds_read_labels_once():
    class Counting(SequenceDatasetIterator):
        asked = 0

        def _targets(self, indices):
            type(self).asked += 1
            return super()._targets(indices)

    nested_k_fold(Counting(range(203), CLASSES), 4, 3, seed=1, stratified=True)
    assert Counting.asked == 1


@pytest.mark.parametrize("splitter", [StratifiedGroupKFold(3), TimeSeriesSplit(4), LeaveOneGroupOut()], ids=repr)
def test_any_splitter_of_scikit_learn(splitter):
    groups = None if isinstance(splitter, TimeSeriesSplit) else GROUPS
    folds = folds_by(dataset(CLASSES), splitter, groups=groups)
    theirs = list(splitter.split(np.zeros(203), CLASSES, groups))
    assert [(numbers(train), numbers(test)) for train, test in folds] == [(a.tolist(), b.tolist()) for a, b in theirs]


# Refused


@pytest.mark.parametrize("k", [1, 0, -3])
def test_less_than_two_folds(k):
    with pytest.raises(ValueError, match="k must be at least 2"):
        k_fold(dataset(range(10)), k, seed=1)


@pytest.mark.parametrize("k", [2.0, True, "3", None])
def test_folds_are_counted_by_integers(k):
    with pytest.raises(TypeError, match="k must be an integer"):
        k_fold(dataset(range(10)), k, seed=1)


@pytest.mark.parametrize("divide", [k_fold, stratified_k_fold, group_k_fold])
def test_a_seed_must_be_given(divide):
    with pytest.raises(TypeError, match="seed"):
        divide(dataset(CLASSES), 3)
    with pytest.raises(TypeError, match="seed must be an integer"):
        divide(dataset(CLASSES), 3, seed=None)


def test_more_folds_than_there_are_samples_or_groups():
    with pytest.raises(ValueError, match="there are 3 samples, and 4 folds need"):
        k_fold(dataset(range(3)), 4, seed=1)
    with pytest.raises(ValueError, match="there are 2 groups, and 4 folds need"):
        group_k_fold(dataset(range(8)), 4, seed=1, groups=["a", "b"] * 4)
    with pytest.raises(ValueError, match="there are 2 groups, and 3 folds need"):
        nested_k_fold(dataset(range(9)), 3, 3, seed=1, groups=["a", "b", "c"] * 3)


def test_a_class_with_too_few_members_is_named():
    data = dataset([0] * 20 + [1] * 3, class_names=("owl", "wren"))
    with pytest.raises(ValueError, match=r"class 'wren' has 3 members, and .* 4 folds needs at least 4"):
        stratified_k_fold(data, 4, seed=1)
    with pytest.raises(ValueError, match="class 'wren' has 2 members, and a stratified division into 3 folds"):
        nested_k_fold(data, 3, 3, seed=1, stratified=True)


def test_stratified_and_groups_at_once_are_refused():
    with pytest.raises(ValueError, match="StratifiedGroupKFold"):
        nested_k_fold(dataset(CLASSES), 3, 3, seed=1, stratified=True, groups=GROUPS)


def test_a_seed_that_scikit_learn_does_not_take():
    with pytest.raises(ValueError, match=r"seeds from 0 to 2\*\*32 - 1"):
        stratified_k_fold(dataset(CLASSES), 3, seed=2**32)


def test_without_scikit_learn_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.model_selection", None)
    with pytest.raises(MissingDependencyError, match=r"scikit-learn: pip install 'datastack-fs\[sklearn\]'"):
        stratified_k_fold(dataset(CLASSES), 3, seed=1)
    assert len(k_fold(dataset(CLASSES), 3, seed=1)) == len(group_k_fold(dataset(CLASSES), 3, seed=1, groups=GROUPS))
