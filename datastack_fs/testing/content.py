"""Contents that prove themselves: from any part of one, a test can tell which version it belongs to."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from typing import Any

from datastack_fs.storage import StorageConnector

MIB = 1 << 20
_WORD = 8


def noise(size: int, seed: int = 0) -> bytes:
    """Pseudo-random bytes, the same for the same seed."""
    return random.Random(seed).randbytes(size)


def stamped(version: int, size: int) -> bytes:
    """Bytes in which every aligned word of 8 is ``version``, so that a mix of two versions shows.

    Examples:
        >>> versions_in(stamped(3, 20)), versions_in(stamped(3, 16) + stamped(4, 16))
        ({3}, {3, 4})
    """
    return (version.to_bytes(_WORD, "big") * (size // _WORD + 1))[:size]


def versions_in(content: bytes, offset: int = 0) -> set[int]:
    """The versions whose stamps are in a piece of content that begins at ``offset``."""
    start = -offset % _WORD
    whole = content[start : start + (len(content) - start) // _WORD * _WORD]
    if whole == whole[:_WORD] * (len(whole) // _WORD):  # as nearly always, and found at the speed of memory
        return {int.from_bytes(whole[:_WORD], "big")} if whole else set()
    words = {whole[at : at + _WORD] for at in range(0, len(whole), _WORD)}
    return {int.from_bytes(word, "big") for word in words}


def stamped_blocks(version: int, size: int, block: int = 1 << 20) -> Iterator[bytes]:
    """The same as ``stamped``, as an iterable of blocks."""
    for start in range(0, size, block):
        yield stamped(version, min(block, size - start))


def failing(content: bytes, after: int, error: BaseException, block: int = 1 << 18) -> Iterator[bytes]:
    """A source that gives ``after`` bytes of the content and then raises."""
    for start in range(0, after, block):
        yield content[start : min(start + block, after)]
    raise error


def difference(found: Any, expected: Any) -> str:
    """Where bytes, or lists or mappings of bytes, differ; "" if they don't. Quick also where pytest's own diff is not.

    Examples:
        >>> difference(b"abc", b"abd")
        '3 bytes, not 3; the first other one is number 2'
    """
    if found == expected:
        return ""
    if not isinstance(found, bytes):
        pairs = found.items() if isinstance(found, dict) else enumerate(found)
        return "; ".join(f"{key!r}: {text}" for key, each in pairs if (text := difference(each, expected[key])))
    shared = min(len(found), len(expected))
    first = next((at for at in range(shared) if found[at] != expected[at]), shared)
    return f"{len(found):,} bytes, not {len(expected):,}; the first other one is number {first:,}"


def digest(content: bytes) -> str:
    """The checksum of content, as the library writes it."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def read_all(connector: StorageConnector, identifier: str) -> bytes:
    """The whole resource, closed afterwards."""
    with connector.get_resource(identifier) as resource:
        return resource.read()
