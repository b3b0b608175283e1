"""Splits as small JSON files, bound to the data that they were made on."""

from __future__ import annotations

import base64
import json
import os
import zlib
from collections.abc import Sequence
from dataclasses import asdict
from typing import IO, Any, Final

import numpy as np

from datastack_fs.errors import DatasetFileCorruptError
from datastack_fs.iterators.base import DatasetIterator
from datastack_fs.iterators.index_map import source_of
from datastack_fs.iterators.indices import IndexArray
from datastack_fs.iterators.splits_fingerprint import Fingerprint, StoredPart
from datastack_fs.iterators.view import DatasetIteratorView
from datastack_fs.iterators.whole_file import write_whole

_FORMAT: Final = "datastack-fs split"
_VERSION: Final = 1
_WIDTHS: Final = ("<i1", "<i2", "<i4", "<i8")


def save_split(views: Sequence[Any], file: str | os.PathLike[str] | IO[str]) -> None:
    """Saves the views of a split, or of folds, as JSON: indices, tags, and a fingerprint of the data.

    About a bit a sample and view; a path is written all or nothing. Of the data, the labels are read.

    Args:
        views: what a split or fold function gave: views, or folds of views, of one iterator.
        file: a path, or an open text file.

    Raises:
        ValueError: the views are not of one iterator.

    Examples:
        >>> from datastack_fs.iterators import SequenceDatasetIterator
        >>> from datastack_fs.iterators.splits import random_split
        >>> digits = SequenceDatasetIterator(range(100), [number % 10 for number in range(100)])
        >>> save_split(random_split(digits, [0.8, 0.2], seed=1), "split.json")
        >>> train, test = load_split(digits, "split.json")
        >>> len(train), test.meta.tag
        (80, 'test')
    """
    sources = {id(source_of(view)[0]): source_of(view)[0] for view in _flattened(views)}
    if len(sources) != 1:
        raise ValueError(f"a split is saved with all its views of one iterator; these are of {len(sources)}")
    (source,) = sources.values()
    document = {
        "format": _FORMAT,
        "version": _VERSION,
        "fingerprint": asdict(Fingerprint.of(source)),
        "views": _written(views),
    }
    text = json.dumps(document, indent=1)
    if isinstance(file, (str, os.PathLike)):
        write_whole(os.fspath(file), text)
    else:
        file.write(text)


def load_split(iterator: DatasetIterator[Any], file: str | os.PathLike[str] | IO[Any]) -> list[Any]:
    """The views of a saved split, on the same data: in the same store or another, under any name.

    Args:
        iterator: the dataset that was split, or a view or shuffle of it; its labels are read.
        file: a path, or an open file, also one that a connector opened.

    Returns:
        what was saved: a list of views, or of lists of views for folds.

    Raises:
        ValueError: it was made on other data; the message says how they differ.
        DatasetFileCorruptError: it is no saved split.
    """
    source = source_of(iterator)[0]
    if isinstance(file, (str, os.PathLike)):
        name = os.fspath(file)
        with open(name, encoding="utf-8") as stream:
            document = _parsed(stream, name)
    else:
        name = str(getattr(file, "name", "split"))
        document = _parsed(file, name)
    try:
        fields = document["fingerprint"]
        parts = tuple(StoredPart(**part) for part in fields["resources"])
        expected = Fingerprint(int(fields["length"]), str(fields["targets"]), parts)
        views = document["views"]
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetFileCorruptError(f"{name} is a broken split file: {error!r}") from error
    found = Fingerprint.of(source)
    if not expected.matches(found):
        raise ValueError(f"{name} is a split of other data: of [{expected}], and this is [{found}]")
    try:
        return [_read(view, source) for view in views]
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError, RecursionError, zlib.error) as error:
        raise DatasetFileCorruptError(f"{name} is a broken split file: {error!r:.200}") from error


def _flattened(views: Sequence[Any]) -> list[DatasetIteratorView[Any]]:
    found = []
    for view in views:
        if isinstance(view, DatasetIteratorView):
            found.append(view)
        elif isinstance(view, (list, tuple)):
            found += _flattened(view)
        else:
            raise TypeError(f"a split is made of views, not of {type(view).__name__}")
    return found


def _written(views: Sequence[Any]) -> list[Any]:
    return [
        {"tags": dict(view.view_tags), **_packed(source_of(view)[1])}
        if isinstance(view, DatasetIteratorView)
        else _written(view)
        for view in views
    ]


def _read(view: Any, source: DatasetIterator[Any]) -> Any:
    if isinstance(view, list):
        return [_read(part, source) for part in view]
    return DatasetIteratorView(source, _unpacked(view), dict(view["tags"]))


def _packed(indices: IndexArray | None) -> dict[str, Any]:
    """Indices as the steps from one to the next, in the narrowest integers, compressed."""
    if indices is None:
        raise TypeError("a view that reads in its own way has no indices to save")
    steps = np.diff(indices, prepend=0)
    widest = max(abs(int(steps.min(initial=0))), abs(int(steps.max(initial=0))))
    width = next(width for width in _WIDTHS if widest <= np.iinfo(width).max)
    packed = base64.b64encode(zlib.compress(steps.astype(width).tobytes(), 9)).decode()
    return {"length": len(indices), "steps": width, "indices": packed}


def _unpacked(view: dict[str, Any]) -> IndexArray:
    length, width = view["length"], view["steps"]
    if width not in _WIDTHS or not isinstance(length, int) or length < 0:
        raise ValueError(f"length {length!r}, steps {width!r}")
    packed = base64.b64decode(view["indices"], validate=True)
    expected = length * np.dtype(width).itemsize
    # No more than is expected, whatever the bytes would unpack to.
    steps = zlib.decompressobj().decompress(packed, expected + 1)
    if len(steps) != expected:
        raise ValueError(f"{length} indices are promised, and there are not as many")
    indices = np.cumsum(np.frombuffer(steps, dtype=width), dtype=np.int64)
    if length and indices.min() < 0:
        raise ValueError("an index is negative")
    return indices


def _parsed(file: IO[Any], name: str) -> Any:
    try:
        document = json.loads(file.read())
    except (ValueError, RecursionError) as error:
        raise DatasetFileCorruptError(f"{name} is no split file: {error}") from error
    if not isinstance(document, dict) or document.get("format") != _FORMAT:
        raise DatasetFileCorruptError(f"{name} is no split file: save_split writes them")
    if document.get("version") != _VERSION:
        raise DatasetFileCorruptError(
            f"{name} is a split file of version {document.get('version')!r}; this release reads {_VERSION}"
        )
    return document
