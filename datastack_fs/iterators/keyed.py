"""A permutation that is computed where it is asked for: of any length, without a list of it."""

from __future__ import annotations

import hashlib
import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from datastack_fs.iterators.indices import IndexArray
from datastack_fs.iterators.orders import permutation
from datastack_fs.iterators.selections import Computed, Selection

MOST_SAMPLES: Final = 1 << 62

_MOST_LISTED: Final = 1 << 16
"""Up to here a list takes 256 KiB, and each permutation is as likely as any other."""

_ROUNDS: Final = 8  # even: each half ends on its own side
_MIX: Final = 0x9FB21C651E98DF25  # an odd constant that spreads low bits over high ones (Pelle Evensen's rrxmrrxmsx_0)
_MASK: Final = (1 << 64) - 1
_HALF: Final = np.uint64(32)


class KeyedPermutation(Computed):
    """A permutation of ``range(length)`` that a seed and an epoch decide, the same on every machine.

    It is a cipher over these numbers (the generalized Feistel network of Black and Rogaway, "Ciphers with arbitrary
    finite domains", 2002, with cycle walking): any place is computed by itself, so that it takes no memory and is as
    quick at 10^10 samples as at 10^5. About 30 ns a place in batches, 3 us one by one.

    Args:
        length: how many numbers, at most 2^62.
        seed: which permutation; not negative.
        epoch: which permutation of that seed.

    Examples:
        >>> order = KeyedPermutation(10_000_000_000, seed=1, epoch=0)
        >>> len(order), order.at(np.array([0, 1])).tolist() == [order[0], order[1]]
        (10000000000, True)
        >>> sorted(KeyedPermutation(5, seed=1, epoch=0))
        [0, 1, 2, 3, 4]
    """

    __slots__ = ("_columns", "_keys", "_length", "_rows")

    def __init__(self, length: int, seed: int, epoch: int) -> None:
        if not 0 <= length <= MOST_SAMPLES:
            raise ValueError(f"a permutation is of 0 to 2^62 numbers, not of {length:,}")
        self._length = length
        self._rows = math.isqrt(max(length - 1, 0)) + 1
        self._columns = max(1, -(-length // self._rows))
        bits = hashlib.shake_256(b"datastack-fs order 1: %d %d %d" % (length, seed, epoch)).digest(_ROUNDS * 16)
        numbers = [int.from_bytes(bits[start : start + 8], "little") for start in range(0, len(bits), 8)]
        self._keys = [(factor | 1, summand) for factor, summand in zip(numbers[::2], numbers[1::2], strict=True)]

    def __len__(self) -> int:
        return self._length

    def _one(self, place: int) -> int:
        number = place
        while True:
            number = self._enciphered(number)
            if number < self._length:
                return number

    def at(self, places: npt.NDArray[np.signedinteger[Any]]) -> IndexArray:
        """The numbers at many places, which must be places of it, as a new array."""
        numbers = self._all_enciphered(places.astype(np.uint64))
        beyond = np.flatnonzero(numbers >= np.uint64(self._length))
        while len(beyond):  # at most one in the square root of the length
            numbers[beyond] = self._all_enciphered(numbers[beyond])
            beyond = beyond[numbers[beyond] >= np.uint64(self._length)]
        return numbers.view(np.int64)

    def _enciphered(self, number: int) -> int:
        """``_all_enciphered`` of one number."""
        left, right = divmod(number, self._columns)
        modulus, other = self._rows, self._columns
        for factor, summand in self._keys:
            mixed = (right * factor + summand) & _MASK
            mixed = ((mixed ^ mixed >> 32) * _MIX) & _MASK
            moved = left + ((mixed >> 32) * modulus >> 32)
            left, right = right, moved if moved < modulus else moved - modulus
            modulus, other = other, modulus
        return left * self._columns + right

    def _all_enciphered(self, numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        """Numbers below rows times columns, each to another: two halves, of which each round moves one by the other."""
        columns = np.uint64(self._columns)
        left, right = np.divmod(numbers, columns)
        modulus, other = np.uint64(self._rows), columns
        for factor, summand in self._keys:
            moved = right * np.uint64(factor)
            moved += np.uint64(summand)
            moved ^= moved >> _HALF
            moved *= np.uint64(_MIX)
            moved >>= _HALF
            moved *= modulus
            moved >>= _HALF
            moved += left
            left, right = right, np.minimum(moved, moved - modulus)  # below the modulus, the difference wraps around
            modulus, other = other, modulus
        left *= columns
        left += right
        return left


def order_of(length: int, seed: int, epoch: int) -> Selection:
    """Returns the order of (seed, epoch): up to 65,536 samples as a list, beyond as a permutation that is computed.

    Examples:
        >>> order_of(4, seed=1, epoch=0).tolist(), len(order_of(10**12, seed=1, epoch=0))
        ([2, 0, 3, 1], 1000000000000)
    """
    return permutation(length, seed, epoch) if length <= _MOST_LISTED else KeyedPermutation(length, seed, epoch)
