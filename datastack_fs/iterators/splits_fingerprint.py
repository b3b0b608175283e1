"""What tells one dataset from another, from its labels and from what its store says; no sample is read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from datastack_fs.iterators.base import DatasetIterator, leaves_of

_DIGEST_BYTES: Final = 16
_SHOWN_DIGITS: Final = 20


@dataclass(frozen=True)
class StoredPart:
    """What a store says of the resource of one leaf."""

    identifier: str
    size: int | None = None
    checksum: str | None = None

    def may_be(self, other: StoredPart) -> bool:
        """Whether nothing that both stores know tells them apart; names do not count."""
        same_algorithm = (self.checksum or "").partition(":")[0] == (other.checksum or "").partition(":")[0]
        if self.checksum and other.checksum and same_algorithm:
            return self.checksum == other.checksum
        return self.size is None or other.size is None or self.size == other.size

    def __str__(self) -> str:
        known = self.checksum and self.checksum[:_SHOWN_DIGITS]
        size = "unknown size" if self.size is None else f"{self.size:,} bytes"
        return f"{self.identifier} ({known or size})"


@dataclass(frozen=True)
class Fingerprint:
    """Length, a digest of all targets, and the stored resources of the leaves where they are known.

    It stays the same when a dataset is copied to another store, read through another format, or renamed.

    Examples:
        >>> from datastack_fs.iterators import SequenceDatasetIterator
        >>> print(Fingerprint.of(SequenceDatasetIterator(["a", "b", "c"], [0, 1, 2])))
        3 samples, targets blake2b:a35f0926afa5
    """

    length: int
    targets: str
    resources: tuple[StoredPart, ...] = ()

    @classmethod
    def of(cls, iterator: DatasetIterator[Any]) -> Fingerprint:
        """The fingerprint of an iterator; reads its labels."""
        origins = [leaf.origin for leaf in leaves_of(iterator)]
        parts = [
            StoredPart(origin.identifier, origin.size, origin.checksum)
            for origin in origins
            if origin is not None and origin.identifier is not None
        ]
        complete = len(parts) == len(origins)
        return cls(len(iterator), digest(iterator.targets()), tuple(parts) if complete else ())

    def matches(self, other: Fingerprint) -> bool:
        """Whether nothing that both know tells them apart."""
        if (self.length, self.targets) != (other.length, other.targets):
            return False
        if len(self.resources) != len(other.resources):  # the same samples may lie in other files
            return True
        return all(one.may_be(another) for one, another in zip(self.resources, other.resources, strict=True))

    def __str__(self) -> str:
        parts = [f"{self.length:,} samples", f"targets {self.targets[:_SHOWN_DIGITS]}", *map(str, self.resources)]
        return ", ".join(parts)


def digest(labels: npt.NDArray[Any]) -> str:
    """A digest of labels that is the same whatever array they are in: of another width, or of objects.

    Examples:
        >>> digest(np.array([1, 2], dtype=np.uint8)) == digest(np.array([1, 2], dtype=object))
        True
    """
    hasher = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    if labels.dtype.kind in "bi" or (labels.dtype.kind == "u" and labels.max(initial=0) < 2**63):
        _feed_integers(hasher, labels)
    elif labels.dtype.kind == "O" and labels.ndim == 1 and len(labels) and all(map(_is_small_integer, labels)):
        _feed_integers(hasher, labels.astype(np.int64))
    else:
        for label in labels:
            hasher.update(_canonical(label))
    return f"blake2b:{hasher.hexdigest()}"


def _feed_integers(hasher: Any, labels: npt.NDArray[Any]) -> None:
    hasher.update(f"integers {labels.shape[1:]};".encode())
    hasher.update(np.ascontiguousarray(labels, dtype="<i8").data)


def _is_small_integer(label: Any) -> bool:
    return isinstance(label, (int, np.integer, np.bool_)) and -(2**63) <= int(label) < 2**63


def _canonical(label: Any) -> bytes:
    """A label as bytes that no other label has: its kind, its length, its content."""
    if isinstance(label, (np.ndarray, np.generic)) and label.dtype.kind != "O":
        label = label.tolist()
    if isinstance(label, str):
        kind, content = b"s", label.encode("utf-8", "surrogatepass")
    elif isinstance(label, (bytes, bytearray)):
        kind, content = b"b", bytes(label)
    elif isinstance(label, int):
        kind, content = b"i", b"%d" % label
    elif isinstance(label, (float, complex)) or label is None:
        kind, content = b"v", repr(label).encode()
    elif isinstance(label, dict):
        kind, content = b"d", _joined(part for pair in label.items() for part in pair)
    elif isinstance(label, (list, tuple, np.ndarray)):
        kind, content = b"l", _joined(label)
    else:
        kind, content = b"o", f"{type(label).__name__} {label}".encode("utf-8", "surrogatepass")
    return kind + b"%d:" % len(content) + content


def _joined(parts: Iterable[Any]) -> bytes:
    return b"".join(map(_canonical, parts))
