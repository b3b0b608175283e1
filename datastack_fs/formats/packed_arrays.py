"""Arrays of one axis and a description, as bytes that are read without a copy."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

_HEAD: Final = 16
"""Bytes before the description: its length, padded. All that follows stands at multiples of it."""


def packed(description: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Iterator[bytes | memoryview]:
    """The description, whose values JSON has, then the arrays.

    Examples:
        >>> content = b"".join(packed({"end": 9}, {"starts": np.array([0, 4])}))
        >>> unpacked(memoryview(content))
        ({'end': 9}, {'starts': array([0, 4])})
    """
    listed = {name: [array.dtype.str, len(array)] for name, array in arrays.items()}
    text = json.dumps({"arrays": listed, **description}).encode()
    yield len(text).to_bytes(_HEAD, "little")
    yield _padded(text)
    for array in arrays.values():
        yield _padded(array.tobytes())


def unpacked(content: memoryview) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """What ``packed`` gave, without a copy of the arrays.

    Raises:
        ValueError: it is nothing of the kind.
    """
    length = int.from_bytes(content[:_HEAD], "little")
    described = json.loads(bytes(content[_HEAD : _HEAD + length]))
    place = _HEAD + _round_up(length)
    arrays = {}
    for name, (dtype, count) in described.pop("arrays").items():
        size = np.dtype(dtype).itemsize * count
        arrays[name] = np.frombuffer(content[place : place + size], np.dtype(dtype))
        place += _round_up(size)
    return described, arrays


def _padded(content: bytes) -> bytes:
    return content.ljust(_round_up(len(content)), b"\0")


def _round_up(size: int) -> int:
    return -(-size // _HEAD) * _HEAD
