"""What a saved state says of its data, so that it never goes on with other samples than those it was made on."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from datastack_fs.iterators.base import DatasetIterator
from datastack_fs.iterators.index_map import IndexMapDatasetIterator
from datastack_fs.iterators.selections import Selection, looked_up
from datastack_fs.iterators.splits_fingerprint import StoredPart, digest

_PROBED_LEAVES: Final = 8
_DIGEST_BYTES: Final = 16
_SHOWN_DIGITS: Final = 20
_BLOCK: Final = 1 << 20


@dataclass(frozen=True)
class DataFingerprint:
    """What tells the samples of a stack from others, wherever they are stored.

    Attributes:
        length: how many samples there are.
        stack: a digest of what stands on the leaves: kinds, indices of views, names of functions.
        samples: a digest of a few samples of the leaves.
        resources: what the stores know of the leaves, if all of them are stored.

    Examples:
        >>> from datastack_fs.iterators import SequenceDatasetIterator
        >>> letters = SequenceDatasetIterator(["a", "b", "c"])
        >>> DataFingerprint.of(letters[1:]).matches(DataFingerprint.of(letters[:2]))
        False
    """

    length: int
    stack: str
    samples: str
    resources: tuple[StoredPart, ...] = ()

    @classmethod
    def of(cls, iterator: DatasetIterator[Any]) -> DataFingerprint:
        """The fingerprint of a stack; of up to eight leaves three samples each are read."""
        hasher = hashlib.blake2b(digest_size=_DIGEST_BYTES)
        leaves: list[DatasetIterator[Any]] = []
        _feed(hasher, iterator, leaves)
        parts = [
            StoredPart(leaf.origin.identifier, leaf.origin.size, leaf.origin.checksum)
            for leaf in leaves
            if leaf.origin is not None and leaf.origin.identifier is not None
        ]
        resources = tuple(parts) if len(parts) == len(leaves) else ()
        return cls(len(iterator), f"blake2b:{hasher.hexdigest()}", _probed(leaves), resources)

    def matches(self, other: DataFingerprint) -> bool:
        """Whether nothing that both know tells them apart."""
        if (self.length, self.stack, self.samples) != (other.length, other.stack, other.samples):
            return False
        if len(self.resources) != len(other.resources):
            return True
        return all(one.may_be(another) for one, another in zip(self.resources, other.resources, strict=True))

    def as_dict(self) -> dict[str, Any]:
        """It, of values that JSON has."""
        return asdict(self) | {"resources": [asdict(part) for part in self.resources]}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> DataFingerprint:
        """What ``as_dict`` gave."""
        parts = tuple(StoredPart(**part) for part in fields["resources"])
        return cls(int(fields["length"]), str(fields["stack"]), str(fields["samples"]), parts)

    def __str__(self) -> str:
        shown = [f"{self.length:,} samples", f"stack {self.stack[:_SHOWN_DIGITS]}"]
        shown += [f"read as {self.samples[:_SHOWN_DIGITS]}", *map(str, self.resources[:_PROBED_LEAVES])]
        return ", ".join(shown)


def _feed(hasher: Any, iterator: DatasetIterator[Any], leaves: list[DatasetIterator[Any]]) -> None:
    below = iterator.underlying_iterators
    if not below:
        leaves.append(iterator)
        hasher.update(b"leaf of %d;" % len(iterator))
        return
    if isinstance(iterator, IndexMapDatasetIterator):
        hasher.update(b"map of %d;" % len(iterator))
        _feed_selection(hasher, iterator._indices)
    else:
        hasher.update(f"{type(iterator).__name__} {iterator._details()};".encode())
    hasher.update(b"on %d;" % len(below))
    for part in below:
        _feed(hasher, part, leaves)


def _feed_selection(hasher: Any, selection: Selection) -> None:
    """The same for the same indices, be they a range, an array or computed."""
    length = len(selection)
    every = max(1, length // _BLOCK)  # of more than a million, evenly spread ones
    for start in range(0, length, every * _BLOCK):
        places = np.arange(start, min(start + every * _BLOCK, length), every, dtype=np.int64)
        hasher.update(looked_up(selection, places).astype("<i8").data)


def _probed(leaves: list[DatasetIterator[Any]]) -> str:
    hasher = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    full = [leaf for leaf in leaves if len(leaf)]
    numbers = np.unique(np.linspace(0, len(full) - 1, min(_PROBED_LEAVES, len(full))).astype(int))
    for leaf in (full[number] for number in numbers.tolist()):
        samples = leaf.__getitems__([0, len(leaf) // 2, len(leaf) - 1])
        values = np.empty(len(samples), dtype=object)
        values[:] = samples
        hasher.update(digest(values).encode())
    return f"blake2b:{hasher.hexdigest()}"
