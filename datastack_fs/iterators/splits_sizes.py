"""How large the parts of a split are, and what they are called."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from fractions import Fraction
from typing import Final

_TOLERANCE: Final = 1e-9
_USUAL_TAGS: Final = {2: ("train", "test"), 3: ("train", "validation", "test")}


def part_sizes(parts: Sequence[float], length: int) -> list[int]:
    """The exact sizes of the parts: they sum to the length, and none is empty.

    Integers are sizes. Otherwise they are fractions: each part gets the whole samples of its share, and those that
    are left over go to the parts with the largest remainders, the earlier first.

    Raises:
        ValueError: they don't sum to the length, or to 1; or a part would be empty.

    Examples:
        >>> part_sizes([0.8, 0.1, 0.1], 14), part_sizes([4, 3], 7)
        ([11, 2, 1], [4, 3])
    """
    if _are_integers(parts):
        sizes = [int(part) for part in parts]
        if min(sizes) < 1:
            raise ValueError(f"sizes {sizes}: each part needs at least one sample (fractions are written 1.0, not 1)")
        if sum(sizes) != length:
            raise ValueError(f"sizes {sizes} sum to {sum(sizes):,}, but there are {length:,} samples")
        return sizes
    shares = [fraction * length for fraction in exact_fractions(parts)]
    sizes = [math.floor(share) for share in shares]
    by_remainder = sorted(range(len(sizes)), key=lambda part: sizes[part] - shares[part])  # stable: the earlier first
    for part in by_remainder[: length - sum(sizes)]:
        sizes[part] += 1
    if min(sizes) < 1:
        raise ValueError(f"fractions {list(parts)} of {length:,} samples are {sizes}: a part would be empty")
    return sizes


def exact_fractions(parts: Sequence[float]) -> list[Fraction]:
    """Fractions as they are written (0.1 is a tenth), so that no machine rounds them differently.

    Raises:
        ValueError: they don't sum to 1, or one is not above 0.

    Examples:
        >>> exact_fractions([0.9, 0.1])
        [Fraction(9, 10), Fraction(1, 10)]
    """
    if not _are_integers(parts) and all(math.isfinite(part) and part > 0 for part in parts):
        fractions = [Fraction(repr(float(part))) for part in parts]
        total = sum(fractions)
        if abs(float(total) - 1) <= _TOLERANCE:
            return [fraction / total for fraction in fractions]
    raise ValueError(f"fractions must be above 0 and sum to 1, not {list(parts)}")


def part_tags(count: int, tags: Sequence[str] | None) -> Sequence[str]:
    """What the parts are called: ``train test``, ``train validation test``, else their numbers.

    Examples:
        >>> part_tags(3, None), part_tags(4, None)
        (('train', 'validation', 'test'), ('0', '1', '2', '3'))
    """
    if tags is None:
        return _USUAL_TAGS.get(count) or tuple(map(str, range(count)))
    if isinstance(tags, str) or len(tags) != count or len(set(tags)) != count:
        raise ValueError(f"tags must be {count} different words, one for each part, not {tags!r}")
    return tags


def fold_count(what: str, count: int) -> int:
    """A number of folds, checked."""
    if isinstance(count, bool) or not isinstance(count, numbers.Integral):
        raise TypeError(f"{what} must be an integer, not {count!r}")
    if count < 2:
        raise ValueError(f"{what} must be at least 2, not {count}")
    return int(count)


def _are_integers(parts: Sequence[float]) -> bool:
    if isinstance(parts, (str, bytes)) or not all(
        isinstance(part, numbers.Real) and not isinstance(part, bool) for part in parts
    ):
        raise TypeError(f"the parts of a split are fractions like [0.8, 0.2], or sizes like [800, 200], not {parts!r}")
    if len(parts) < 2:
        raise ValueError(f"a split has at least two parts, not {list(parts)}")
    kinds = {isinstance(part, numbers.Integral) for part in parts}
    if len(kinds) > 1:
        raise ValueError(f"either all parts are fractions or all are sizes, not {list(parts)}")
    return kinds == {True}
