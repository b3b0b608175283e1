"""The classes and groups of samples, from labels alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from datastack_fs.iterators.base import DatasetIterator
from datastack_fs.iterators.indices import IndexArray

_CLASS_KINDS: Final = frozenset("biuUSM")
_CLASS_TYPES: Final = (str, bytes, int, np.integer, np.bool_)


@dataclass(frozen=True, eq=False)
class Kinds:
    """Which of a few kinds (classes or groups) each sample is of.

    Attributes:
        codes: a number for each sample.
        names: what each number means, for messages.
        counts: how many samples of each there are.
    """

    codes: IndexArray
    names: Sequence[str]
    counts: IndexArray

    def of(self, indices: IndexArray) -> Kinds:
        """The same for some of the samples."""
        codes = self.codes[indices]
        return Kinds(codes, self.names, np.bincount(codes, minlength=len(self.names)))

    def check_counts(self, needed: int, what: str) -> None:
        """Refuses a class that has too few members for each part to get one."""
        present = self.counts > 0
        few = np.flatnonzero(present & (self.counts < needed))
        if len(few):
            smallest = int(few[np.argmin(self.counts[few])])
            count = int(self.counts[smallest])
            others = f" (and {len(few) - 1} more classes have too few)" if len(few) > 1 else ""
            raise ValueError(
                f"class {self.names[smallest]} has {count} member{'s' if count > 1 else ''}, and {what} needs at "
                f"least {needed} of each class{others}: join classes, leave it out with .view(), or use fewer parts"
            )


def classes_of(iterator: DatasetIterator[Any]) -> Kinds:
    """The class of each sample, by its target.

    Raises:
        ValueError: there are no targets, or some are missing; or they are floats, or of several columns.

    Examples:
        >>> from datastack_fs.iterators import SequenceDatasetIterator
        >>> kinds = classes_of(SequenceDatasetIterator(range(3), ["wren", "owl", "wren"]))
        >>> kinds.names, kinds.codes.tolist()
        (["'owl'", "'wren'"], [1, 0, 1])
    """
    labels = iterator.targets()
    name = iterator.meta.name
    if labels.ndim != 1 or labels.dtype.kind == "V":
        raise ValueError(
            f"the targets of {name!r} have several columns: stratify by one (target=… names it where a file is opened)"
        )
    codes, found = _coded(labels, f"target of {name!r}", "map targets to classes to stratify by them")
    class_names = iterator.meta.class_names or ()
    numbered = [isinstance(value, int) and 0 <= value < len(class_names) for value in found]
    names = [repr(class_names[value] if named else value) for value, named in zip(found, numbered, strict=True)]
    return Kinds(codes, names, np.bincount(codes, minlength=len(names)))


def groups_of(iterator: DatasetIterator[Any], groups: Sequence[Any] | npt.NDArray[Any] | None) -> Kinds:
    """The group of each sample: as given, or by its tag.

    Examples:
        >>> from datastack_fs.iterators import SequenceDatasetIterator
        >>> groups_of(SequenceDatasetIterator(range(3), tags=["x", "y", "x"]), None).codes.tolist()
        [0, 1, 0]
    """
    values, what = given_or_tags(iterator, groups, "groups")
    codes, found = _coded(values, what, "give groups as text or integers")
    return Kinds(codes, list(map(repr, found)), np.bincount(codes, minlength=len(found)))


def given_or_tags(
    iterator: DatasetIterator[Any], given: Sequence[Any] | npt.NDArray[Any] | None, argument: str
) -> tuple[npt.NDArray[Any], str]:
    """One value for each sample, as given or else its tag; and what to call one in a message."""
    if given is None:
        tags = iterator.tags()
        if tags.ndim != 1 or tags.dtype.kind == "V":
            raise ValueError(f"the tags of {iterator.meta.name!r} have several columns: give {argument}=…")
        return tags, f"tag of {iterator.meta.name!r}"
    if hasattr(given, "to_numpy"):
        given = given.to_numpy()
    if isinstance(given, (str, bytes)) or not hasattr(given, "__len__"):
        raise TypeError(f"{argument} must be one value for each sample, not {type(given).__name__}")
    if isinstance(given, np.ndarray):
        values = given
    else:  # not through numpy, which would make [1, "a"] two texts
        values = np.empty(len(given), dtype=object)
        values[:] = list(given)
    if values.shape != (len(iterator),):
        raise ValueError(
            f"{argument} must be one value for each of the {len(iterator):,} samples, not of shape {values.shape}"
        )
    return values, f"value of {argument}"


def _coded(labels: npt.NDArray[Any], what: str, way_out: str) -> tuple[IndexArray, list[Any]]:
    """A number for each label, in the order of the labels' own values, and these values."""
    if labels.dtype.kind in _CLASS_KINDS:
        found, codes = np.unique(labels, return_inverse=True)
        return codes.astype(np.int64).reshape(-1), found.tolist()
    if labels.dtype.kind != "O":
        raise ValueError(f"a {what} is {labels.dtype}, which has no classes: {way_out}")
    for position, label in enumerate(labels):
        if not isinstance(label, _CLASS_TYPES):
            problem = "is missing" if label is None else f"is of type {type(label).__name__}"
            raise ValueError(f"the {what} at index {position} {problem}: {way_out}")
    plain = [label.item() if isinstance(label, np.generic) else label for label in labels]
    found_objects = sorted(set(plain), key=lambda label: (type(label).__name__, label))
    numbers = {label: number for number, label in enumerate(found_objects)}
    return np.array([numbers[label] for label in plain], dtype=np.int64), found_objects
