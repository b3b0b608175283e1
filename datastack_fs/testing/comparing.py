"""Comparing samples exactly, as the contract of iterators does."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np

Samples = list[Any]


def shuffled(indices: Sequence[int], seed: int = 0) -> list[int]:
    """The indices in a random order, the same for the same seed."""
    return random.Random(seed).sample(indices, len(indices))


def assert_all_same(actual: Sequence[Any] | np.ndarray[Any, Any], expected: Sequence[Any]) -> None:
    """As many, and each the same."""
    assert len(actual) == len(expected), f"{len(actual)} samples instead of {len(expected)}"
    for position, (one, other) in enumerate(zip(actual, expected, strict=True)):
        assert_same(one, other, f"sample at position {position}")


def assert_same(actual: Any, expected: Any, what: str = "sample") -> None:
    """Equal through tuples, lists and mappings; arrays in type, shape and elements; NaN equals NaN.

    Examples:
        >>> assert_same((np.array([1.0, np.nan]), "a"), (np.array([1.0, np.nan]), "a"))
        >>> assert_same((np.array([1, 2]),), (np.array([1, 3]),))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        AssertionError: sample[0] is array([1, 2]), not array([1, 3])...
    """
    message = f"{what} is {actual!r:.200}, not {expected!r:.200}"
    if isinstance(expected, (tuple, list)):
        assert type(actual) is type(expected), message
        assert len(actual) == len(expected), message
        for position, (one, other) in enumerate(zip(actual, expected, strict=True)):
            assert_same(one, other, f"{what}[{position}]")
    elif isinstance(expected, dict):
        assert isinstance(actual, dict), message
        assert actual.keys() == expected.keys(), message
        for key, other in expected.items():
            assert_same(actual[key], other, f"{what}[{key!r}]")
    elif isinstance(expected, np.ndarray) or hasattr(expected, "__array__"):
        one, other = np.asarray(actual), np.asarray(expected)
        if isinstance(expected, np.ndarray):
            assert isinstance(actual, np.ndarray), message
            assert one.dtype == other.dtype, f"{message}: {one.dtype} instead of {other.dtype}"
        assert one.shape == other.shape, f"{message}: shape {one.shape} instead of {other.shape}"
        if other.dtype.hasobject or other.dtype.fields:
            assert_same(one.tolist(), other.tolist(), what)
        else:
            may_lack = other.dtype.kind in "fcmM"
            assert np.array_equal(one, other, equal_nan=may_lack), message
    else:
        assert not isinstance(actual, np.ndarray), message
        assert actual == expected or (actual != actual and expected != expected), message
