"""Samples as plain values, for comparing them between processes."""

from __future__ import annotations

import pickle
from typing import Any

from datastack_fs.iterators import DatasetIterator

Plain = list[tuple[bytes, int, str]]


def samples_of(iterator: DatasetIterator[Any]) -> Plain:
    """All samples of images with a class, in one batch."""
    batch = iterator.__getitems__(list(range(len(iterator))))
    return [(image.tobytes(), int(target), tag) for image, target, tag in batch]


def samples_of_pickled(pickled: bytes) -> Plain:
    """The same of a pickled iterator; for a child process."""
    return samples_of(pickle.loads(pickled))
