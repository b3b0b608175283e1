"""Stratified split of 1,000,000 samples."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

import datastack_fs as ds
from benchmarks.case import Case, Run
from benchmarks.setting import Setting
from datastack_fs.iterators import SequenceDatasetIterator

SAMPLES = 1_000_000
CLASSES = 10
TEST = 0.2

Labels = npt.NDArray[np.int64]


def cases(setting: Setting) -> Iterator[Case]:
    """Everyone draws other members; how many of each class is compared."""
    labels = np.random.default_rng(6).integers(0, CLASSES, setting.scaled(SAMPLES))
    case = Case("10 classes, 80 : 20", unit="split")
    case.limit("numpy: sort by label, shuffle each class", partial(by_numpy, labels))
    case.ours("stratified_split", partial(ours, labels), 1.5)
    case.peer("scikit-learn train_test_split(stratify=...)", partial(by_sklearn, labels))
    case.peer("torch Subset of a Python loop over the targets", partial(by_loop, labels))
    yield case


def by_numpy(labels: Labels, _: int) -> Run:
    """Each class shuffled and cut, the parts sorted."""
    yield
    rng = np.random.default_rng(7)
    members = np.split(np.argsort(labels, kind="stable"), np.cumsum(np.bincount(labels))[:-1])
    for group in members:
        rng.shuffle(group)
    cuts = [round(len(group) * TEST) for group in members]
    train = np.sort(np.concatenate([group[cut:] for group, cut in zip(members, cuts, strict=True)]))
    test = np.sort(np.concatenate([group[:cut] for group, cut in zip(members, cuts, strict=True)]))
    yield
    return _counts(labels, train, test)


def ours(labels: Labels, _: int) -> Run:
    """Views, of an iterator in memory."""
    iterator = SequenceDatasetIterator(np.arange(len(labels)), labels)
    yield
    train, test = ds.stratified_split(iterator, [1 - TEST, TEST], seed=7)
    yield
    return _counts(labels, *(view.take(range(len(view)))[0] for view in (train, test)))


def by_sklearn(labels: Labels, _: int) -> Run:
    """Of the indices."""
    from sklearn.model_selection import train_test_split

    yield
    train, test = train_test_split(np.arange(len(labels)), test_size=TEST, stratify=labels, random_state=7)
    yield
    return _counts(labels, train, test)


def by_loop(labels: Labels, _: int) -> Run:
    """As it is done by hand."""
    from torch.utils.data import Subset

    dataset: Any = list(labels.tolist())
    yield
    rng = np.random.default_rng(7)
    groups: dict[int, list[int]] = {}
    for i in range(len(dataset)):
        groups.setdefault(dataset[i], []).append(i)
    train, test = [], []
    for group in groups.values():
        rng.shuffle(group)
        cut = round(len(group) * TEST)
        test += group[:cut]
        train += group[cut:]
    subsets = Subset(dataset, train), Subset(dataset, test)
    yield
    return _counts(labels, *(np.array(subset.indices) for subset in subsets))


def _counts(labels: Labels, train: Labels, test: Labels) -> list[tuple[int, ...]]:
    whole = np.concatenate([train, test])
    if len(np.unique(whole)) != len(labels):
        return [()]
    # Rounded: which class gets the odd member is everyone's own choice.
    return [tuple(np.round(np.bincount(labels[part]) / len(labels), 3).tolist()) for part in (train, test)]
