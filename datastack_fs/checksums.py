"""Checksums as text, ``sha256:<hex>``, and hashing in one pass.

sha256 is what the library stores with a resource; sha512, sha1 and md5 are read because published datasets give them.
"""

import hashlib
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, BinaryIO, Final

from datastack_fs.errors import DatasetFileCorruptError

if TYPE_CHECKING:
    from hashlib import _Hash

BLOCK_BYTES: Final = 1 << 20

_HEX_DIGITS = {"sha256": 64, "sha512": 128, "sha1": 40, "md5": 32}


def parse_checksum(text: str) -> tuple[str, str]:
    """Splits a checksum into algorithm and lower-case hex digits.

    Raises:
        ValueError: it is not ``sha256:``, ``sha512:``, ``sha1:`` or ``md5:`` with the right number of hex digits.

    Examples:
        >>> parse_checksum("md5:D41D8CD98F00B204E9800998ECF8427E")
        ('md5', 'd41d8cd98f00b204e9800998ecf8427e')
    """
    algorithm, _, digits = text.partition(":")
    expected = _HEX_DIGITS.get(algorithm)
    if expected is None or len(digits) != expected or not re.fullmatch(r"[0-9a-fA-F]+", digits):
        known = " or ".join(f"'{name}:<{length} hex digits>'" for name, length in _HEX_DIGITS.items())
        raise ValueError(f"checksum {text!r}: expected {known}")
    return algorithm, digits.lower()


def checksum(stream: BinaryIO, algorithm: str = "sha256") -> str:
    """Reads a stream to its end, from where it stands, and returns the checksum.

    Examples:
        >>> import io
        >>> checksum(io.BytesIO(b""), "md5")
        'md5:d41d8cd98f00b204e9800998ecf8427e'
    """
    hashing = Hashing(algorithm)
    hashing.drain(iter(lambda: stream.read(BLOCK_BYTES), b""))
    return hashing.checksum()


class Hashing:
    """Size, sha256 and any further checksum of blocks that pass by.

    Examples:
        >>> hashing = Hashing()
        >>> hashing.update(b"abc")
        >>> hashing.size, hashing.checksum()[:12]
        (3, 'sha256:ba781')
    """

    def __init__(self, *algorithms: str) -> None:
        self.size = 0
        self._hashes: dict[str, _Hash] = {
            name: hashlib.new(name, usedforsecurity=False) for name in (algorithms or ("sha256",))
        }

    def update(self, block: bytes | bytearray | memoryview) -> None:
        """Takes the next block."""
        self.size += len(block)
        for state in self._hashes.values():
            state.update(block)

    def drain(self, blocks: Iterable[bytes]) -> None:
        """Takes all blocks to the end."""
        for block in blocks:
            self.update(block)

    def checksum(self, algorithm: str | None = None) -> str:
        """The checksum so far, by default of the first algorithm."""
        name = algorithm or next(iter(self._hashes))
        return f"{name}:{self._hashes[name].hexdigest()}"

    def verify(self, expected: str, what: str) -> None:
        """Compares with an expected checksum of one of the algorithms.

        Raises:
            DatasetFileCorruptError: they differ; the message names both.
        """
        algorithm, digits = parse_checksum(expected)
        found = self.checksum(algorithm)
        if found != f"{algorithm}:{digits}":
            raise DatasetFileCorruptError(f"{what}: expected {algorithm}:{digits}, found {found} ({self.size:,} bytes)")
