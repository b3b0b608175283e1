"""The classes and groups of samples, from labels alone."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from datastack_fs.iterators.base import DatasetIterator
from datastack_fs.iterators.chunks import labels_in_blocks
from datastack_fs.iterators.indices import IndexArray
from datastack_fs.iterators.splits_codes import Codes, coded

_TARGET_ARGUMENTS: Final = ("target", "targets", "labels")


@dataclass(frozen=True, eq=False)
class Kinds:
    """Which of a few kinds (classes or groups) each sample is of.

    Attributes:
        codes: a number for each sample, in the narrowest integers.
        names: what each number means, for messages.
        counts: how many samples of each there are.
    """

    codes: Codes
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
    name = iterator.meta.name
    codes, found, counts = coded(
        _targets(iterator), len(iterator), f"target of {name!r}", "map targets to classes to stratify by them"
    )
    class_names = iterator.meta.class_names or ()
    numbered = [isinstance(value, int) and 0 <= value < len(class_names) for value in found]
    names = [repr(class_names[value] if named else value) for value, named in zip(found, numbered, strict=True)]
    return Kinds(codes, names, counts)


def _targets(iterator: DatasetIterator[Any]) -> Iterator[npt.NDArray[Any]]:
    """The targets in blocks, if each is one label."""
    name = iterator.meta.name
    for number, labels in enumerate(labels_in_blocks(iterator._targets, len(iterator))):
        if labels.ndim != 1 or labels.dtype.kind == "V":
            raise ValueError(
                f"the targets of {name!r} have several columns: stratify by one (target=… names it where a file is "
                "opened)"
            )
        if number == 0 and labels.dtype == object and all(label is None for label in labels):
            raise ValueError(f"{name!r} has no targets: {_way_to_give_targets(iterator)}")
        yield labels


def _way_to_give_targets(iterator: DatasetIterator[Any]) -> str:
    """How the leaves of a stack take targets, by the arguments that they are made with."""
    leaves, ways = [iterator], {}
    while leaves:
        leaf = leaves.pop()
        leaves.extend(leaf.underlying_iterators)
        if not leaf.underlying_iterators:
            taken = [each for each in inspect.signature(type(leaf)).parameters if each in _TARGET_ARGUMENTS]
            ways.update(dict.fromkeys(f"{type(leaf).__name__}(…, {each}=…)" for each in taken))
    if ways:
        return f"give them where it is made, {' or '.join(ways)}"
    return "its samples hold None there; .zip() and ZippedDatasetIterator(…, labelled_by=1) lay others beside them"


def groups_of(iterator: DatasetIterator[Any], groups: Sequence[Any] | npt.NDArray[Any] | None) -> Kinds:
    """The group of each sample: as given, or by its tag.

    Examples:
        >>> from datastack_fs.iterators import SequenceDatasetIterator
        >>> groups_of(SequenceDatasetIterator(range(3), tags=["x", "y", "x"]), None).codes.tolist()
        [0, 1, 0]
    """
    values, what = given_or_tags(iterator, groups, "groups")
    codes, found, counts = coded([values], len(values), what, "give groups as text or integers")
    return Kinds(codes, list(map(repr, found)), counts)


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
