"""Orders that a seed and an epoch decide, the same on every machine and under every numpy."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, Final, SupportsIndex, TypeAlias

import numpy as np
import numpy.typing as npt

from datastack_fs.iterators.selections import narrowest

Keys: TypeAlias = npt.NDArray[np.uint64]
Places: TypeAlias = npt.NDArray[np.signedinteger[Any]]

CHUNK: Final = 1 << 16
"""How many keys come at once."""

_MOST_SORTED: Final = 1 << 22  # 4 million keys at once: sorting takes 130 MB, however many there are
_COARSE_BITS: Final = 16


def permutation(length: int, seed: int, epoch: int) -> Places:
    """Returns the order of (seed, epoch): a permutation of ``range(length)``, uniform among all.

    Samples are sorted by random 64-bit keys. numpy promises the raw bits of a bit generator for ever, but not what
    ``Generator.permutation`` makes of them; a resumed job must find its order again under another numpy.

    Examples:
        >>> permutation(8, seed=1, epoch=0).tolist()
        [2, 4, 7, 5, 0, 6, 3, 1]
    """
    return first_ranked(length, length, lambda: raw_keys(length, seed, epoch))


def first_ranked(count: int, length: int, keys: Callable[[], Iterator[Keys]]) -> Places:
    """Returns the places of the smallest keys, in the order of the keys; of equal keys the earlier stands first.

    Examples:
        >>> first_ranked(2, 4, lambda: iter([np.array([30, 10, 20, 10], dtype=np.uint64)])).tolist()
        [1, 3]
    """
    order = np.empty(count, narrowest(length))
    filled = 0
    for in_order, places in ranked(length, keys):
        taken = min(len(places), count - filled)
        order[filled : filled + taken] = places[:taken]
        filled += taken
        if filled == count:
            break
        del in_order, places  # else they stay in memory while the next are sorted
    return order


def ranked(length: int, keys: Callable[[], Iterator[Keys]]) -> Iterator[tuple[Keys, Places]]:
    """Yields keys in order with their places, some millions at a time: the keys are never all in memory.

    Args:
        length: how many keys there are.
        keys: gives the same keys in chunks each time it is called; that happens once for some millions of keys.
    """
    for count, first, last in _key_ranges(length, keys):
        yield _sorted(*_between(count, length, keys(), first, last))


def raw_keys(length: int, seed: int, epoch: int) -> Iterator[Keys]:
    """Yields the random bits of (seed, epoch), 64 for each sample, in chunks."""
    bits = np.random.PCG64(np.random.SeedSequence([seed, epoch]))
    for start in range(0, length, CHUNK):
        yield bits.random_raw(min(CHUNK, length - start))


def natural(what: str, number: SupportsIndex) -> int:
    """A seed or an epoch, checked.

    Raises:
        TypeError: it is no integer; None is refused too, since randomness is always an explicit argument.

    Examples:
        >>> natural("seed", np.uint8(7))
        7
    """
    if isinstance(number, (bool, np.bool_)) or not hasattr(type(number), "__index__"):
        raise TypeError(f"{what} must be an integer, given explicitly; not {number!r}")
    value = operator.index(number)
    if value < 0:
        raise ValueError(f"{what} must not be negative: {value}")
    return value


def _key_ranges(length: int, keys: Callable[[], Iterator[Keys]]) -> list[tuple[int, int, int]]:
    """Ranges of the keys' first bits, each after the number of keys in it, which are as many as are sorted at once."""
    if length <= _MOST_SORTED:
        return [(length, 0, 1 << _COARSE_BITS)]
    counts = np.zeros(1 << _COARSE_BITS, dtype=np.int64)
    for chunk in keys():
        counts += np.bincount((chunk >> np.uint64(64 - _COARSE_BITS)).astype(np.int64), minlength=len(counts))
    sums = np.cumsum(counts)
    cuts = [0, *(np.flatnonzero(np.diff(sums // _MOST_SORTED)) + 1).tolist(), len(counts)]
    return [(int(counts[first:last].sum()), first, last) for first, last in pairwise(cuts)]


def _between(count: int, length: int, chunks: Iterator[Keys], first: int, last: int) -> tuple[Keys, Places]:
    """The keys whose first bits lie in a range, ``count`` of them, and their places."""
    found, places = np.empty(count, np.uint64), np.empty(count, narrowest(length))
    shift = 64 - _COARSE_BITS
    lowest, span = np.uint64(first << shift), np.uint64(((last - first) << shift) - 1)
    filled = start = 0
    for chunk in chunks:
        here = np.flatnonzero(chunk - lowest <= span)  # a smaller key wraps around to a large difference
        found[filled : filled + len(here)] = chunk[here]
        places[filled : filled + len(here)] = here + start
        filled += len(here)
        start += len(chunk)
    return found, places


def _sorted(keys: Keys, places: Places) -> tuple[Keys, Places]:
    """Keys in order with their places; of equal ones the earlier stands first.

    numpy sorts numbers several times quicker than it tells their order, so each key's number takes its last bits.
    """
    last_bits = np.uint64((1 << len(keys).bit_length()) - 1)
    packed = keys & ~last_bits
    packed |= np.arange(len(keys), dtype=np.uint64)
    packed.sort()
    packed &= last_bits
    order = packed.view(np.int64)
    in_order = keys[order]
    if np.any(in_order[1:] < in_order[:-1]):  # some differ in their last bits alone: those are sorted again
        alike = (in_order[1:] ^ in_order[:-1]) <= last_bits
        where = np.flatnonzero(np.append(alike, False) | np.append(False, alike))
        few = order[where]
        order[where] = few[np.lexsort((few, keys[few]))]
        in_order = keys[order]
    return in_order, places[order]
