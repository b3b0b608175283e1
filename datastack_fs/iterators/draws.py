"""Samples drawn at random by weight, of raw bits and exact arithmetic: the same on every machine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from datastack_fs.iterators.orders import Keys, Places, first_ranked, ranked, raw_keys
from datastack_fs.iterators.selections import narrowest
from datastack_fs.iterators.weights import Weights

_POINTS_AT_ONCE: Final = 1 << 18
_LAST: Final = np.uint64(2**64 - 1)
_LN2: Final = 0.6931471805599453
_TERMS: Final = 12  # of the series below: the next is under 1e-19


def drawn_again(count: int, length: int, weights: Weights | None, seed: int, epoch: int) -> Places:
    """Returns ``count`` places, each drawn from all samples, so that one may come several times.

    Examples:
        >>> drawn_again(6, 3, Weights.of([0, 1, 1]), seed=1, epoch=0).tolist()
        [2, 2, 1, 2, 1, 1]
    """
    order = np.empty(count, narrowest(length))
    if weights is None:
        start = 0
        for keys in raw_keys(count, seed, epoch):
            order[start : start + len(keys)] = np.minimum(_unit(keys) * length, length - 1)
            start += len(keys)
        return order
    for keys, places in ranked(count, lambda: raw_keys(count, seed, epoch)):
        for start in range(0, len(keys), _POINTS_AT_ONCE):
            few = slice(start, start + _POINTS_AT_ONCE)
            order[places[few]] = weights.places(_unit(keys[few]) * weights.total)
        del keys, places  # else they stay in memory while the next are sorted
    return order


def drawn_once(count: int, length: int, weights: Weights | None, seed: int, epoch: int) -> Places:
    """Returns ``count`` different places, each drawn from those that are left.

    Sorting by exponential random numbers over the weights (Efraimidis and Spirakis, 2006) is drawing one after the
    other.

    Examples:
        >>> drawn_once(2, 3, Weights.of([0, 1, 1]), seed=1, epoch=0).tolist()
        [1, 2]
    """
    if weights is None:
        return first_ranked(count, length, lambda: raw_keys(length, seed, epoch))
    return first_ranked(count, length, lambda: _waits(length, weights, seed, epoch))


def _waits(length: int, weights: Weights, seed: int, epoch: int) -> Iterator[Keys]:
    """Exponential random numbers over the weights, as integers of the same order; samples of weight 0 come last."""
    for keys, block in zip(raw_keys(length, seed, epoch), weights, strict=True):
        wait = -_log((keys >> np.uint64(12)).astype(np.float64) * 2.0**-52 + 2.0**-53)
        with np.errstate(divide="ignore", over="ignore"):
            bits = (wait / block).view(np.uint64)  # numbers that are not negative stand in the order of their bits
        bits[block == 0] = _LAST
        yield bits


def _unit(keys: Keys) -> npt.NDArray[np.float64]:
    """Numbers from 0 to below 1, of the first 53 bits."""
    return np.asarray(keys >> np.uint64(11), dtype=np.float64) * 2.0**-53


def _log(numbers: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The natural logarithm by additions, multiplications and divisions, which IEEE 754 rounds alike everywhere.

    numpy's own differs by a bit between processors, and so would the order of two samples, now and then.
    """
    fractions, exponents = np.frexp(numbers)
    low = fractions < np.sqrt(0.5)
    fractions[low] *= 2
    # log(f) = 2 artanh(s) = 2 (s + s^3/3 + s^5/5 + …)
    s = (fractions - 1) / (fractions + 1)
    square = s * s
    series = np.zeros_like(s)
    for term in range(_TERMS, -1, -1):
        series = series * square + 1 / (2 * term + 1)
    logs: npt.NDArray[np.float64] = (exponents - low) * _LN2 + 2 * s * series
    return logs
