"""Encodings as small JSON files: statistics and categories, no code."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import IO, Any, Final

from datastack_fs.errors import DatasetFileCorruptError
from datastack_fs.iterators.encoders import Encoder
from datastack_fs.iterators.encoding import ENCODERS, Encoding
from datastack_fs.iterators.saved import read_json, write_json

_KIND: Final = "encoding"
_VERSION: Final = 1


def save_encoding(encoding: Encoding, file: str | os.PathLike[str] | IO[str]) -> None:
    """Saves an encoding as JSON: every bit of its statistics, and its categories with their types.

    Args:
        encoding: what ``fit_encoding`` gave.
        file: a path, which is written all or nothing, or an open text file.

    Raises:
        TypeError: it is no such encoding; a transformer of scikit-learn is none.

    Examples:
        >>> from datastack_fs.iterators import SequenceDatasetIterator
        >>> from datastack_fs.iterators.encoding import fit_encoding
        >>> encoding = fit_encoding(SequenceDatasetIterator([0.1, 0.2, 0.4]), "standard")
        >>> save_encoding(encoding, "encoding.json")
        >>> load_encoding("encoding.json") == encoding
        True
    """
    if not isinstance(encoding, Encoding):
        raise TypeError(
            f"a {type(encoding).__name__} isn't saved as JSON, only what fit_encoding gives is; scikit-learn's "
            "transformers are pickles, which joblib.dump keeps"
        )
    sample = encoding.sample
    if isinstance(sample, Mapping):
        written: Any = [[key, encoder.to_json()] for key, encoder in sample.items()]
    else:
        written = None if sample is None else sample.to_json()
    content = {
        "fitted_on": encoding.fitted_on,
        "sample": written,
        "target": None if encoding.target is None else encoding.target.to_json(),
        "vector": encoding.vector,
    }
    write_json(file, _KIND, _VERSION, content)


def load_encoding(file: str | os.PathLike[str] | IO[Any]) -> Encoding:
    """Loads a saved encoding, for ``iterator.encode``.

    Args:
        file: a path, or an open file, also one that a connector opened.

    Raises:
        DatasetFileCorruptError: it is no saved encoding.
    """
    name, content = read_json(file, _KIND, _VERSION)
    try:
        sample = content["sample"]
        if isinstance(sample, list):
            sample = {key: _read(fields) for key, fields in sample}
        elif sample is not None:
            sample = _read(sample)
        target = None if content["target"] is None else _read(content["target"])
        return Encoding(sample, target, bool(content["vector"]), int(content["fitted_on"]))
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DatasetFileCorruptError(f"{name} is a broken encoding file: {error!r:.200}") from error


def _read(fields: Mapping[str, Any]) -> Encoder:
    return ENCODERS[fields["kind"]].from_json(fields).fitted()
