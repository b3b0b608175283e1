"""Folds for cross-validation: pairs of views, each sample in the test view of exactly one of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from datastack_fs.errors import MissingDependencyError
from datastack_fs.iterators.base import DatasetIterator, check_iterator
from datastack_fs.iterators.indices import IndexArray
from datastack_fs.iterators.orders import natural, permutation
from datastack_fs.iterators.selections import places_of
from datastack_fs.iterators.splits_labels import Kinds, classes_of, given_or_tags, groups_of
from datastack_fs.iterators.splits_sizes import fold_count
from datastack_fs.iterators.view import DatasetIteratorView


class Fold(NamedTuple):
    """The two views of a fold; ``test`` is its own part, ``train`` are all others."""

    train: DatasetIteratorView[Any]
    test: DatasetIteratorView[Any]


class NestedFold(NamedTuple):
    """A fold whose training view is divided into folds again: to choose a model by, before ``test`` judges it."""

    train: DatasetIteratorView[Any]
    test: DatasetIteratorView[Any]
    inner: list[Fold]


class Splitter(Protocol):
    """Any of scikit-learn's splitters."""

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterable[Any]:  # noqa: D102, N803
        ...


def k_fold(iterator: DatasetIterator[Any], k: int, *, seed: int) -> list[Fold]:
    """Divides by chance into k folds, whose sizes differ by one at most; not even labels are read.

    Args:
        iterator: what to divide.
        k: how many folds, at least 2.
        seed: decides which sample is in which fold.

    Examples:
        >>> from datastack_fs.iterators import SequenceDatasetIterator
        >>> for train, test in k_fold(SequenceDatasetIterator(range(5)), 2, seed=1):
        ...     print(len(train), [number for number, _, _ in test], dict(test.view_tags))
        2 [0, 2, 4] {'fold': '0', 'split': 'test'}
        3 [1, 3] {'fold': '1', 'split': 'test'}
    """
    check_iterator(iterator)
    seed = natural("seed", seed)
    return _folds(iterator, _random_numbers(len(iterator), fold_count("k", k), seed), k)


def stratified_k_fold(iterator: DatasetIterator[Any], k: int, *, seed: int) -> list[Fold]:
    """Divides into k folds with equal shares of every class; only labels are read.

    The folds are those of scikit-learn's ``StratifiedKFold(k, shuffle=True, random_state=seed)``.

    Args:
        iterator: what to divide; its targets are integers or text.
        k: how many folds, at least 2.
        seed: decides which sample is in which fold; below 2**32.

    Raises:
        ValueError: a class has fewer than k members (the message names it), or targets are no classes.
        MissingDependencyError: scikit-learn is not installed.

    Examples:
        >>> from datastack_fs.iterators import SequenceDatasetIterator
        >>> birds = SequenceDatasetIterator(range(6), ["owl", "wren"] * 3)
        >>> [sorted(test.targets()) for _, test in stratified_k_fold(birds, 3, seed=1)]
        [['owl', 'wren'], ['owl', 'wren'], ['owl', 'wren']]
    """
    check_iterator(iterator)
    seed = natural("seed", seed)
    numbers = _stratified_numbers(classes_of(iterator), fold_count("k", k), seed)
    return _folds(iterator, numbers, k)


def group_k_fold(
    iterator: DatasetIterator[Any],
    k: int,
    *,
    seed: int,
    groups: Sequence[Any] | npt.NDArray[Any] | None = None,
) -> list[Fold]:
    """Divides into k folds so that a group is in one fold only, the largest groups first, each to the smallest fold.

    The sizes of the folds are those of scikit-learn's ``GroupKFold(k)``. Which of several groups of one size goes
    where is decided by the seed; in ``GroupKFold`` a sort decides it that differs between machines and versions.

    Args:
        iterator: what to divide.
        k: how many folds, at least 2.
        seed: decides where groups of the same size go.
        groups: the group of each sample, text or integers; by default its tag.

    Raises:
        ValueError: there are fewer than k groups, or a sample has none.

    Examples:
        >>> from datastack_fs.iterators import SequenceDatasetIterator
        >>> birds = SequenceDatasetIterator(range(6))
        >>> folds = group_k_fold(birds, 2, seed=1, groups=["marsh", "wood", "wood", "wood", "lake", "lake"])
        >>> [[number for number, _, _ in test] for _, test in folds]
        [[1, 2, 3], [0, 4, 5]]
    """
    check_iterator(iterator)
    seed = natural("seed", seed)
    numbers = _grouped_numbers(groups_of(iterator, groups), fold_count("k", k), seed)
    return _folds(iterator, numbers, k)


def nested_k_fold(
    iterator: DatasetIterator[Any],
    outer: int,
    inner: int,
    *,
    seed: int,
    stratified: bool = False,
    groups: Sequence[Any] | npt.NDArray[Any] | None = None,
) -> list[NestedFold]:
    """Divides into folds, and the training view of each into folds again: for nested cross-validation.

    Args:
        iterator: what to divide.
        outer: how many folds, at least 2.
        inner: into how many each training view is divided, at least 2.
        seed: decides which sample is in which fold.
        stratified: as ``stratified_k_fold`` does, on both levels; labels are read once.
        groups: as ``group_k_fold`` does, on both levels.

    Raises:
        ValueError: a class has too few members, or there are too few groups.

    Examples:
        >>> from datastack_fs.iterators import SequenceDatasetIterator
        >>> for train, test, folds in nested_k_fold(SequenceDatasetIterator(range(9)), 3, 2, seed=1):
        ...     print(len(train), len(test), [(len(fit), len(choose)) for fit, choose in folds])
        6 3 [(3, 3), (3, 3)]
        6 3 [(3, 3), (3, 3)]
        6 3 [(3, 3), (3, 3)]
    """
    check_iterator(iterator)
    seed = natural("seed", seed)
    if stratified and groups is not None:
        raise ValueError("nested_k_fold is stratified or by groups; for both: folds_by(…, StratifiedGroupKFold(…))")
    outer, inner = fold_count("outer", outer), fold_count("inner", inner)
    kinds = classes_of(iterator) if stratified else groups_of(iterator, groups) if groups is not None else None

    def numbers(indices: IndexArray, k: int, seed: int) -> IndexArray:
        if kinds is None:
            return _random_numbers(len(indices), k, seed)
        divide = _stratified_numbers if stratified else _grouped_numbers
        return divide(kinds.of(indices), k, seed)

    everything = np.arange(len(iterator))
    of_outer = numbers(everything, outer, seed)
    folds = []
    for number, (train, test) in enumerate(_folds(iterator, of_outer, outer)):
        # A seed of its own for each: folds of the same size must not be divided alike.
        own_seed = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
        of_inner = numbers(np.flatnonzero(of_outer != number), inner, own_seed)
        folds.append(NestedFold(train, test, _folds(train, of_inner, inner, "inner_", "validation")))
    return folds


def folds_by(
    iterator: DatasetIterator[Any],
    splitter: Splitter,
    *,
    groups: Sequence[Any] | npt.NDArray[Any] | None = None,
) -> list[Fold]:
    """The folds that a splitter of scikit-learn makes (``StratifiedGroupKFold``, ``TimeSeriesSplit``, …), as views.

    It gets labels and groups, and no samples. Set its ``random_state`` if it shuffles.

    Args:
        iterator: what to divide.
        splitter: it has ``split(X, y, groups)``.
        groups: the group of each sample, for splitters that use them.

    Examples:
        >>> from sklearn.model_selection import TimeSeriesSplit
        >>> from datastack_fs.iterators import SequenceDatasetIterator
        >>> days = SequenceDatasetIterator(range(6))
        >>> [(len(train), len(test)) for train, test in folds_by(days, TimeSeriesSplit(2))]
        [(2, 2), (4, 2)]
    """
    check_iterator(iterator)
    targets = iterator.targets()
    labels = None if targets.dtype.kind == "O" and all(target is None for target in targets) else targets
    given = None if groups is None else given_or_tags(iterator, groups, "groups")[0]
    # Splitters take only the length of X: a column that takes no memory.
    column = np.broadcast_to(np.int8(0), (len(iterator), 1))
    pairs = splitter.split(column, labels, given)
    return [_fold(iterator, train, test, number) for number, (train, test) in enumerate(pairs)]


def _folds(
    iterator: DatasetIterator[Any], numbers: IndexArray, k: int, prefix: str = "", test_tag: str = "test"
) -> list[Fold]:
    """A pair of views for each fold, by the number of the fold that each sample is in."""
    return [
        _fold(iterator, places_of(numbers != fold), places_of(numbers == fold), fold, prefix, test_tag)
        for fold in range(k)
    ]


def _fold(
    iterator: DatasetIterator[Any],
    train: IndexArray,
    test: IndexArray,
    number: int,
    prefix: str = "",
    test_tag: str = "test",
) -> Fold:
    train_tags: dict[str, str | int] = {f"{prefix}fold": number, f"{prefix}split": "train"}
    return Fold(iterator.view(train, train_tags), iterator.view(test, {**train_tags, f"{prefix}split": test_tag}))


def _random_numbers(length: int, k: int, seed: int) -> IndexArray:
    if length < k:
        raise ValueError(f"there are {length} samples, and {k} folds need at least one each")
    numbers = np.empty(length, np.min_scalar_type(k))
    sizes = [length // k + (fold < length % k) for fold in range(k)]
    numbers[permutation(length, seed, 0)] = np.repeat(np.arange(k, dtype=numbers.dtype), sizes)
    return numbers


def _stratified_numbers(classes: Kinds, k: int, seed: int) -> IndexArray:
    try:
        from sklearn.model_selection import StratifiedKFold
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "stratified folds need scikit-learn: pip install 'datastack-fs[sklearn]'"
        ) from error
    classes.check_counts(k, f"a stratified division into {k} folds")
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed {seed}: scikit-learn takes seeds from 0 to 2**32 - 1")
    numbers = np.empty(len(classes.codes), np.min_scalar_type(k))
    splitter = StratifiedKFold(k, shuffle=True, random_state=seed)
    for fold, (_, test) in enumerate(splitter.split(np.zeros(len(numbers)), classes.codes)):
        numbers[test] = fold
    return numbers


def _grouped_numbers(groups: Kinds, k: int, seed: int) -> IndexArray:
    present = int(np.count_nonzero(groups.counts))
    if present < k:
        raise ValueError(f"there are {present} groups, and {k} folds need at least one each")
    order = permutation(len(groups.counts), seed, 0)
    order = order[np.argsort(-groups.counts[order], kind="stable")]
    fold_of_group = np.zeros(len(order), dtype=np.int64)
    sizes = [0] * k
    for group in order.tolist():
        smallest = sizes.index(min(sizes))
        fold_of_group[group] = smallest
        sizes[smallest] += int(groups.counts[group])
    return fold_of_group[groups.codes]
