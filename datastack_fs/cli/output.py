"""What commands print: tables for people, JSON for programs, progress on a terminal."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

import click

from datastack_fs.resource import ResourceInfo
from datastack_fs.storage import StorageConnector


def print_json(value: Any) -> None:
    """Prints one JSON document."""
    click.echo(json.dumps(value, indent=2))


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints columns that are as wide as their longest cell; a heading that begins with ``>`` stands to the right."""
    right = [heading.startswith(">") for heading in headings]
    cells = [[heading.lstrip(">") for heading in headings], *rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headings))]
    for row in cells:
        padded = (
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        )
        click.echo("  ".join(padded).rstrip())


def info_table(infos: Sequence[ResourceInfo]) -> None:
    """Prints identifier, size and checksum of resources."""
    rows = [[info.identifier, f"{info.size:,}", info.checksum or "-"] for info in infos]
    print_table(["identifier", ">bytes", "checksum"], rows)


def kind_of(value: Any) -> str:
    """What a sample is, in a few words.

    Examples:
        >>> import numpy as np
        >>> kind_of(np.zeros((8, 8))), kind_of({"wing": 3.5, "legs": 2}), kind_of("owl")
        ('shape (8, 8), float64', 'wing, legs', 'str')
    """
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"shape {tuple(value.shape)}, {value.dtype}"
    return ", ".join(map(str, value)) if isinstance(value, Mapping) else type(value).__name__


def info_fields(info: ResourceInfo, connector: StorageConnector | None = None) -> dict[str, Any]:
    """What is known of a resource, as JSON has it."""
    fields: dict[str, Any] = {
        "identifier": info.identifier,
        "size": info.size,
        "checksum": info.checksum,
        "modified": info.modified.isoformat(timespec="seconds") if info.modified else None,
        "version": info.version,
    }
    return fields if connector is None else {"storage": connector.url, **fields}


class Counted(io.RawIOBase):
    """A file that moves a progress bar as it is read; where it is read twice, the bar begins anew."""

    def __init__(self, file: BinaryIO, bar: Any) -> None:
        self._file = file
        self._bar = bar
        self.local_path = getattr(file, "local_path", "")

    def readable(self) -> bool:  # noqa: D102
        return True

    def seekable(self) -> bool:  # noqa: D102
        return self._file.seekable()

    def tell(self) -> int:  # noqa: D102
        return self._file.tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:  # noqa: D102
        position = self._file.seek(offset, whence)
        self._bar.n = position
        self._bar.refresh()
        return position

    def read(self, size: int = -1, /) -> bytes:  # noqa: D102
        block = self._file.read(size)
        self._bar.update(len(block))
        return block


@contextmanager
def reading_progress(file: BinaryIO, label: str, size: int | None) -> Iterator[BinaryIO]:
    """The file, with a bar on stderr while it is read; without one where stderr is no terminal."""
    with progress_bar(label, size) as bar:
        yield cast(BinaryIO, Counted(file, bar))


@contextmanager
def progress_bar(label: str, total: int | None, unit: str = "B") -> Iterator[Any]:
    """A tqdm bar on stderr, where that is a terminal; it goes when the work is done."""
    from tqdm import tqdm

    with tqdm(
        total=total, desc=label, unit=unit, unit_scale=unit == "B", unit_divisor=1000, leave=False, disable=None
    ) as bar:
        yield bar
