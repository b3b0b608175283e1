"""Labels of files: from their folders, a mapping, or a table beside them."""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from datastack_fs.errors import DatasetFileCorruptError, DatasetNotFoundError
from datastack_fs.iterators.labels import label_array
from datastack_fs.iterators.tabular import TARGET_NAMES
from datastack_fs.storage import StorageConnector

FILE_COLUMNS: Final = ("file_name", "filename", "file", "path", "image", "name", "id")
LABEL_COLUMNS: Final = (*TARGET_NAMES, "class", "category")
KEYWORDS: Final = ("auto", "folder")
TABLE_ENDINGS: Final = (".csv", ".tsv", ".jsonl", ".ndjson")

_WHOLE = re.compile(r"-?(?:0|[1-9][0-9]*)")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_MOST_SHOWN = 10


def label_values(
    labels: object, named: Mapping[str, Any] | None, names: Sequence[str], what: str
) -> Sequence[Any] | None:
    """The label of each sample: from ``named`` if that is given, else the topmost folder that it lies in; or None.

    Examples:
        >>> label_values("auto", None, ["owl/1.png", "wren/old/2.png"], "birds")
        ['owl', 'wren']
        >>> label_values("auto", None, ["owl/1.png", "2.png"], "birds") is None
        True
    """
    if named is not None:
        return [named[name] for name in names]
    loose = [name for name in names if "/" not in name]
    if labels not in KEYWORDS or (loose and labels == "auto"):
        return None
    if loose:
        raise DatasetNotFoundError(
            f"{what}: {len(loose):,} of {len(names):,} files lie in no folder that would be their class, "
            f"{_listing(loose)} among them; labels=None reads them without labels"
        )
    return [name.partition("/")[0] for name in names]


def named_labels(
    connector: StorageConnector, prefix: str, labels: object, columns: tuple[str, str] | None
) -> Mapping[str, Any] | None:
    """The labels of files by their names, where ``labels`` is a mapping, or a table below the prefix; else None."""
    if isinstance(labels, Mapping):
        return labels
    if not isinstance(labels, str) or labels in KEYWORDS:
        return None
    if not labels.lower().endswith(TABLE_ENDINGS):
        raise ValueError(
            f"labels={labels!r}: it is {', '.join(map(repr, KEYWORDS))}, None, a mapping, or the name of a table "
            f"({' '.join(TABLE_ENDINGS)})"
        )
    identifier = f"{prefix}{labels}"
    (content,) = connector.read_resources([identifier])
    return table_labels(content, labels, f"{identifier} in {connector.url}", columns)


def as_targets(
    labels: Sequence[Any] | None, classes: Sequence[str] | None, what: str
) -> tuple[npt.NDArray[Any] | None, tuple[str, ...] | None]:
    """Targets and the names of classes: text becomes the numbers of classes, numbers stay as they are.

    With ``classes``, whole numbers that are not among these names are numbers of them already.

    Examples:
        >>> targets, names = as_targets(["wren", "owl", "wren"], None, "birds")
        >>> targets.tolist(), names
        ([1, 0, 1], ('owl', 'wren'))
        >>> as_targets([0.5, 1.5], None, "birds")
        (array([0.5, 1.5]), None)
    """
    if labels is None:
        return None, None
    if classes is None and not any(isinstance(label, str) for label in labels):
        return label_array(labels), None
    found = {str(label): None for label in labels}
    names = tuple(sorted(found) if classes is None else classes)
    numbers = {name: number for number, name in enumerate(names)}
    if len(numbers) < len(names):
        raise ValueError(f"classes={list(names)}: a name is there twice")
    unknown = [name for name in found if name not in numbers]
    if not unknown:
        return np.array([numbers[str(label)] for label in labels], dtype=np.int64), names
    targets = label_array(labels)
    if targets.dtype.kind in "iu" and targets.min() >= 0 and targets.max() < len(names):
        return targets, names
    raise DatasetNotFoundError(f"{what} has {_listing(unknown)}, not among classes={list(names)}")


def table_labels(content: bytes, name: str, what: str, columns: tuple[str, str] | None) -> dict[str, Any]:
    r"""The label of each file in a table, in its order.

    Args:
        content: CSV with a header, the same with tabs (``.tsv``), or JSON Lines (``.jsonl``, ``.ndjson``), in UTF-8.
        name: the table's, whose ending tells which of these it is.
        what: names it in messages.
        columns: those of file and label; by default the first of ``FILE_COLUMNS`` and of ``LABEL_COLUMNS`` in it.

    Raises:
        DatasetFileCorruptError: it can't be read; the message names the line.
        DatasetNotFoundError: it lacks a column.

    Examples:
        >>> table_labels(b"file,label\nowl.png,3\nwren.png,4\n", "labels.csv", "labels.csv", None)
        {'owl.png': 3, 'wren.png': 4}
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetFileCorruptError(f"{what} is no UTF-8 at byte {error.start:,}") from error
    is_json = name.lower().endswith((".jsonl", ".ndjson"))
    rows = _json_rows(text, what) if is_json else _csv_rows(text, what, "\t" if name.lower().endswith(".tsv") else ",")
    labels: dict[str, Any] = {}
    for line, row in rows:
        columns = columns or _usual_columns(row, what)
        for column in columns:
            if column not in row:
                raise DatasetNotFoundError(f"{what}, line {line}: no column {column!r}; it has {_listing(row)}")
        file, label = row[columns[0]], row[columns[1]]
        if not isinstance(file, str) or not isinstance(label, (str, int, float)):
            raise DatasetFileCorruptError(f"{what}, line {line}: {file!r} with {label!r} is no file with its label")
        file = unicodedata.normalize("NFC", file).removeprefix("./")
        if file in labels:
            raise DatasetFileCorruptError(f"{what}, line {line}: {file} is there already, above")
        labels[file] = label
    if not labels:
        raise DatasetFileCorruptError(f"{what} has no rows")
    return labels if is_json else dict(zip(labels, _numbers_if_all(list(labels.values())), strict=True))


def _usual_columns(row: Mapping[str, Any], what: str) -> tuple[str, str]:
    chosen = [next((name for name in names if name in row), None) for names in (FILE_COLUMNS, LABEL_COLUMNS)]
    if chosen[0] is None or chosen[1] is None:
        raise DatasetNotFoundError(
            f"{what} has the columns {_listing(row)}: say columns=(that of the files, that of the labels)"
        )
    return chosen[0], chosen[1]


def _csv_rows(text: str, what: str, delimiter: str) -> Iterator[tuple[int, dict[str, str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = next(reader, [])
        for row in reader:
            if len(row) != len(header) and row:
                reason = f"{len(row)} values, and the header has {len(header)}"
                raise DatasetFileCorruptError(f"{what}, line {reader.line_num}: {reason}")
            if row:
                yield reader.line_num, dict(zip(header, row, strict=True))
    except csv.Error as error:
        raise DatasetFileCorruptError(f"{what}, line {reader.line_num}: {error}") from error


def _json_rows(text: str, what: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for line, row in enumerate(text.split("\n"), 1):
        if not row.strip():
            continue
        try:
            found = json.loads(row)
        except (ValueError, RecursionError) as error:
            raise DatasetFileCorruptError(f"{what}, line {line}: no JSON: {error}") from error
        if not isinstance(found, dict):
            raise DatasetFileCorruptError(f"{what}, line {line}: {row[:40]} is no object")
        yield line, found


def _numbers_if_all(values: list[str]) -> Sequence[Any]:
    """Text of CSV as integers or floats if all of it is; with a leading zero it is a name."""
    if all(map(_WHOLE.fullmatch, values)):
        return [int(value) for value in values]
    if all(map(_NUMBER.fullmatch, values)):
        return [float(value) for value in values]
    return values


def _listing(names: Sequence[str] | Mapping[str, Any]) -> str:
    shown = ", ".join(list(names)[:_MOST_SHOWN])
    return shown + (f" and {len(names) - _MOST_SHOWN:,} more" if len(names) > _MOST_SHOWN else "")
