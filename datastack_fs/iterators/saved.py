"""Small JSON files that say what they are: written all or nothing, and checked when they are read."""

from __future__ import annotations

import json
import os
from typing import IO, Any

from datastack_fs.errors import DatasetFileCorruptError
from datastack_fs.iterators.whole_file import write_whole


def write_json(file: str | os.PathLike[str] | IO[str], kind: str, version: int, content: dict[str, Any]) -> None:
    """Writes content as a file of a kind ("split") and a version; at a path the file is there whole, or not at all."""
    document = {"format": f"datastack-fs {kind}", "version": version, **content}
    text = json.dumps(document, indent=1, allow_nan=False)
    if isinstance(file, (str, os.PathLike)):
        write_whole(os.fspath(file), text)
    else:
        file.write(text)


def read_json(file: str | os.PathLike[str] | IO[Any], kind: str, version: int) -> tuple[str, dict[str, Any]]:
    """Returns the name of a file, for messages, and its content.

    Raises:
        DatasetFileCorruptError: it is no file of that kind and version.
    """
    if not isinstance(file, (str, os.PathLike)):
        return _parsed(file, str(getattr(file, "name", kind)), kind, version)
    with open(file, encoding="utf-8") as stream:
        return _parsed(stream, os.fspath(file), kind, version)


def _parsed(file: IO[Any], name: str, kind: str, version: int) -> tuple[str, dict[str, Any]]:
    try:
        document = json.loads(file.read())
    except (ValueError, RecursionError) as error:
        raise DatasetFileCorruptError(f"{name} is no {kind} file: {error}") from error
    if not isinstance(document, dict) or document.get("format") != f"datastack-fs {kind}":
        raise DatasetFileCorruptError(f"{name} is no {kind} file: save_{kind} writes them")
    if document.get("version") != version:
        found = document.get("version")
        raise DatasetFileCorruptError(f"{name} is a {kind} file of version {found!r}; this release reads {version}")
    return name, document
