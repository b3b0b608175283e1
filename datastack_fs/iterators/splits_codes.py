"""Labels as small numbers, one for each kind, from blocks of labels: they are never all in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from datastack_fs.iterators.selections import narrowest

_KINDS: Final = frozenset("biuUSM")
_TYPES: Final = (str, bytes, int, np.integer, np.bool_)
_COUNTED: Final = 1 << 16

Codes = npt.NDArray[np.integer[Any]]


def coded(
    blocks: Iterable[npt.NDArray[Any]], length: int, what: str, way_out: str
) -> tuple[Codes, Sequence[Any], npt.NDArray[np.int64]]:
    """A number for each label, in the order of the labels' own values, these values, and how often each comes.

    Args:
        blocks: the labels in order.
        length: how many there are.
        what: what a label is called in messages.
        way_out: what to do about labels of which there are no kinds.

    Raises:
        ValueError: a label is missing, or neither text nor an integer.

    Examples:
        >>> codes, values, counts = coded([np.array([7, 3]), np.array([7])], 3, "label", "give integers")
        >>> codes.tolist(), codes.dtype, values, counts.tolist()
        ([1, 0, 1], dtype('uint8'), [3, 7], [1, 2])
    """
    numbers: dict[Any, int] = {}
    codes: Codes = np.empty(length, np.uint8)
    start = 0
    for labels in blocks:
        found, places = _distinct(labels, start, what, way_out)
        met = np.array([numbers.setdefault(value, len(numbers)) for value in found], dtype=np.int64)
        codes = codes.astype(np.promote_types(codes.dtype, np.min_scalar_type(max(0, len(numbers) - 1))), copy=False)
        codes[start : start + len(labels)] = met[places]
        start += len(labels)
    values = sorted(numbers, key=_rank)
    ranks = np.empty(len(values), codes.dtype)
    ranks[[numbers[value] for value in values]] = np.arange(len(values))
    counts = np.zeros(len(values), np.int64)
    for first in range(0, length, 1 << 20):
        block = ranks[codes[first : first + (1 << 20)]]
        codes[first : first + len(block)] = block
        counts += np.bincount(block, minlength=len(values))
    return codes, values, counts


def _rank(value: Any) -> tuple[str, Any]:
    """Its place among values that don't compare; True is 1 among integers, as a block that holds both makes of it."""
    return "int" if isinstance(value, int) else type(value).__name__, value


def _distinct(labels: npt.NDArray[Any], start: int, what: str, way_out: str) -> tuple[list[Any], npt.NDArray[Any]]:
    """The distinct labels of a block, and which of them stands at each place."""
    if labels.dtype.kind in _KINDS:
        return _counted(labels) if labels.dtype.kind in "iu" else _sorted(labels)
    if labels.dtype.kind != "O":
        raise ValueError(f"a {what} is {labels.dtype}, which has no classes: {way_out}")
    places = np.empty(len(labels), narrowest(len(labels)))
    numbers: dict[Any, int] = {}
    for position, label in enumerate(labels):
        if not isinstance(label, _TYPES):
            problem = "is missing" if label is None else f"is of type {type(label).__name__}"
            raise ValueError(f"the {what} at index {start + position} {problem}: {way_out}")
        plain = label.item() if isinstance(label, np.generic) else label
        places[position] = numbers.setdefault(plain, len(numbers))
    return list(numbers), places


def _counted(labels: npt.NDArray[Any]) -> tuple[list[Any], npt.NDArray[Any]]:
    """Integers that lie close together are counted, which is many times quicker than sorting them."""
    lowest, highest = (int(labels.min()), int(labels.max())) if len(labels) else (0, 0)
    if highest - lowest >= _COUNTED:
        return _sorted(labels)
    # Modulo 2^64 the difference is right for signed and unsigned ones.
    above = (labels.astype(np.uint64) - np.uint64(lowest % 2**64)).astype(np.int64)
    present = np.flatnonzero(np.bincount(above))
    places = np.empty(highest - lowest + 1, np.int64)
    places[present] = np.arange(len(present))
    return [lowest + number for number in present.tolist()], places[above]


def _sorted(labels: npt.NDArray[Any]) -> tuple[list[Any], npt.NDArray[Any]]:
    found, places = np.unique(labels, return_inverse=True)
    return found.tolist(), places.reshape(-1)
