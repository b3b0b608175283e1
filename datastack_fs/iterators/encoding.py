"""How samples and targets of a dataset are encoded: fitted on the training split, and applied to any other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from datastack_fs.iterators.base import DatasetIterator, check_iterator
from datastack_fs.iterators.chunks import columns_in_chunks
from datastack_fs.iterators.encoders import Encoder, OneHot, Ordinal
from datastack_fs.iterators.meta import DatasetMeta
from datastack_fs.iterators.scalers import MinMax, Standard

__all__ = ["Encoder", "Encoding", "MinMax", "OneHot", "Ordinal", "Standard", "fit_encoding"]

ENCODERS: Final = {encoder.kind: encoder for encoder in (OneHot, Ordinal, Standard, MinMax)}

Part: TypeAlias = str | int
"""A column of a sample by its name, one of a tuple by its place, or a feature of an array by its number."""

Given: TypeAlias = str | Encoder
"""An encoder, or the name of one as it comes: ``"standard"``, ``"min-max"``, ``"one-hot"``, ``"ordinal"``."""

_SAMPLES: Final = "samples"
_TARGETS: Final = "targets"


@dataclass(frozen=True)
class Encoding:
    """Fitted encoders of sample and target; ``iterator.encode(encoding)`` applies them. ``fit_encoding`` makes it.

    Attributes:
        sample: the encoder of whole samples, or those of some of their parts; None leaves samples as they are.
        target: the encoder of targets; None leaves them.
        vector: whether the encoded parts of a sample become one vector.
        fitted_on: how many samples the statistics are of.
    """

    sample: Encoder | Mapping[Part, Encoder] | None = None
    target: Encoder | None = None
    vector: bool = False
    fitted_on: int = 0

    def __post_init__(self) -> None:
        if self.sample is None and self.target is None:
            raise ValueError("an encoding needs an encoder: of samples, of some of their columns, or of targets")
        if self.vector and not isinstance(self.sample, Mapping):
            raise ValueError("vector=True joins columns that are named: {'age': 'standard', 'species': 'one-hot'}")
        for key in self.sample if isinstance(self.sample, Mapping) else ():
            if type(key) not in (str, int) or (isinstance(key, int) and key < 0):
                raise TypeError(f"columns are encoded by name, or by a number from 0 on; not by {key!r}")

    def each(self, change: Callable[[str, Encoder], Encoder], fitted_on: int) -> Encoding:
        """The same with each encoder changed, which is called "samples", "column 'age'" or "targets" in messages."""
        sample = self.sample
        if isinstance(sample, Mapping):
            sample = {key: change(_named(key), encoder) for key, encoder in sample.items()}
        elif sample is not None:
            sample = change(_SAMPLES, sample)
        target = None if self.target is None else change(_TARGETS, self.target)
        return Encoding(sample, target, self.vector, fitted_on)

    def of_sample(self, column: Any, name: str) -> Any:
        """A column of samples, encoded; ``name`` is that of the dataset, for messages."""
        if self.sample is None:
            return column
        if isinstance(self.sample, Mapping):
            return self._of_parts(self.sample, column, name)
        with naming(_SAMPLES, name):
            return self.sample.transform(column)

    def of_target(self, column: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
        """A column of targets, encoded."""
        if self.target is None:
            return column
        with naming(_TARGETS, name):
            return self.target.transform(column)

    def of_meta(self, meta: DatasetMeta) -> DatasetMeta:
        """What is known about the encoded dataset: categories of targets are its classes."""
        if self.target is None:
            return meta
        if not isinstance(self.target, (OneHot, Ordinal)):
            return meta.replace(class_names=None)
        old = meta.class_names or ()
        categories = self.target.categories or ()
        return meta.replace(
            class_names=tuple(
                old[category] if type(category) is int and 0 <= category < len(old) else str(category)
                for category in categories
            )
        )

    def _of_parts(self, encoders: Mapping[Part, Encoder], column: Any, name: str) -> Any:
        parts = parts_of(column, encoders, name)
        encoded = {}
        for key, encoder in encoders.items():
            with naming(_named(key), name):
                encoded[key] = encoder.transform(parts[key])
        if self.vector:
            return _vector(encoded.values())
        if isinstance(column, dict):
            return {key: encoded.get(key, part) for key, part in column.items()}
        if isinstance(column, tuple):
            return tuple(encoded.get(place, part) for place, part in enumerate(column))
        return _vector(encoded.get(number, column[:, number]) for number in range(column.shape[1]))


def fit_encoding(
    iterator: DatasetIterator[Any],
    sample: Given | Mapping[Part, Given] | None = None,
    *,
    target: Given | None = None,
    vector: bool = False,
) -> Encoding:
    """Learns how to encode from an iterator, which should be the training split and nothing else.

    The data is read once, in batches of bounded size; for ``target`` alone, only labels are. Missing values (None, NaN)
    count for nothing in means and ranges; among categories they are an error unless ``unknown="ignore"``.

    Args:
        iterator: the training split.
        sample: an encoder for whole samples, each feature of an array by itself; or a mapping of columns to encoders:
            by name where samples are mappings, by place where they are tuples, by number of the feature where they are
            rows of numbers. Columns that it doesn't name stay as they are. An encoder is ``"standard"`` (mean 0,
            deviation 1), ``"min-max"`` (0 to 1), ``"one-hot"`` or ``"ordinal"``, or one of
            ``datastack_fs.iterators.encoding`` with options: ``OneHot(unknown="ignore")``.
        target: an encoder for targets. Categories become the classes of ``meta.class_names``.
        vector: make one vector of the columns that are named, in the order in which they are, and leave the others out.

    Raises:
        ValueError: there is no sample, or no column of that name; or its values can't be encoded so.

    Examples:
        >>> from datastack_fs.iterators import SequenceDatasetIterator
        >>> birds = [{"age": 1, "species": "owl"}, {"age": 3, "species": "wren"}, {"age": 5, "species": "owl"}]
        >>> train, test = SequenceDatasetIterator(birds[:2]), SequenceDatasetIterator(birds[2:])
        >>> encoding = fit_encoding(train, {"age": "standard", "species": "one-hot"}, vector=True)
        >>> test.encode(encoding)[0][0].tolist()
        [3.0, 1.0, 0.0]
    """
    check_iterator(iterator)
    if isinstance(sample, Mapping):
        if not sample:
            raise ValueError("no column is named to encode")
        encoding = Encoding({key: _encoder(each) for key, each in sample.items()}, _maybe(target), vector)
    else:
        encoding = Encoding(_maybe(sample), _maybe(target), vector)
    if isinstance(encoding.target, Ordinal) and encoding.target.unknown == "ignore":
        raise ValueError("-1 is no class: targets are encoded by Ordinal() without unknown='ignore'")
    if not len(iterator):
        raise ValueError(f"{iterator.meta.name!r} has no samples to fit an encoding on")
    name, seen = iterator.meta.name, 0
    for rows, columns in _columns(iterator, encoding):
        seen += rows
        encoding = encoding.each(_Fitting(columns, encoding, name), seen)
    return encoding.each(_checking(name), seen)


class _Fitting:
    """Shows each encoder its column of a batch."""

    def __init__(self, columns: Mapping[str, Any], encoding: Encoding, name: str) -> None:
        self._name = name
        self._columns = dict(columns)
        if isinstance(encoding.sample, Mapping):
            parts = parts_of(columns[_SAMPLES], encoding.sample, name)
            self._columns |= {_named(key): part for key, part in parts.items()}

    def __call__(self, what: str, encoder: Encoder) -> Encoder:
        with naming(what, self._name):
            return encoder.partial_fit(self._columns[what])


def _checking(name: str) -> Callable[[str, Encoder], Encoder]:
    def check(what: str, encoder: Encoder) -> Encoder:
        with naming(what, name):
            return encoder.fitted()

    return check


def _columns(iterator: DatasetIterator[Any], encoding: Encoding) -> Iterator[tuple[int, dict[str, Any]]]:
    """The columns to learn from, batch by batch; samples only if they are encoded."""
    meta = iterator.meta
    if encoding.sample is None:
        for rows, (targets,) in columns_in_chunks(lambda part: (iterator._targets(part),), range(len(iterator))):
            yield rows, {_TARGETS: targets}
        return
    for rows, columns in columns_in_chunks(iterator._columns_at, range(len(iterator))):
        yield rows, {_SAMPLES: columns[meta.sample_pos], _TARGETS: columns[meta.target_pos]}


def parts_of(column: Any, keys: Mapping[Part, Any], name: str) -> dict[Part, Any]:
    """The parts of a column of samples that are named.

    Raises:
        ValueError: there is none of that name; the message lists those that there are.

    Examples:
        >>> parts_of(np.array([[1, 2], [3, 4]]), {1: "standard"}, "birds")
        {1: array([2, 4])}
    """
    if isinstance(column, dict):
        there: Mapping[Part, Any] = column
    elif isinstance(column, tuple):
        there = dict(enumerate(column))
    elif column.ndim == 2:
        there = {number: column[:, number] for number in range(column.shape[1])}
    else:
        raise ValueError(
            f"samples of {name!r} have no columns, only values of {column.dtype} and shape {column.shape[1:]}: "
            "give one encoder for all, not a mapping"
        )
    missing = [key for key in keys if key not in there]
    if missing:
        listed = ", ".join(map(repr, list(there)[:20]))
        raise ValueError(f"samples of {name!r} have no column {missing[0]!r}; they have {listed}")
    return {key: there[key] for key in keys}


@contextmanager
def naming(what: str, name: str) -> Iterator[None]:
    """Says of which column of which dataset an error is."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{what} of {name!r} can't be encoded: {error}") from error


def _named(key: Part) -> str:
    return f"column {key!r}"


def _vector(columns: Any) -> npt.NDArray[Any]:
    """Columns side by side, as one row of numbers for each sample."""
    return np.concatenate([np.reshape(column, (len(column), -1)) for column in columns], axis=1)


def _maybe(given: Given | None) -> Encoder | None:
    return None if given is None else _encoder(given)


def _encoder(given: Given) -> Encoder:
    if isinstance(given, Encoder):
        return given.unfitted()
    if isinstance(given, str) and given in ENCODERS:
        return ENCODERS[given]()
    names = ", ".join(map(repr, ENCODERS))
    raise ValueError(f"{given!r:.80} is no encoder: {names}, or one of datastack_fs.iterators.encoding")
