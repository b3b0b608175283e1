"""Small datasets in every format, with the samples that must come out: one module a format, found by its name."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class FormatCase:
    """A dataset of some ten samples.

    Attributes:
        name: what is special about it: "csv, quoted newlines".
        identifier: what ``open_dataset`` is given.
        contents: the resources of the store, by identifier.
        expected: every sample.
        options: of ``open_dataset``.
        format: its name, for a damaged file whose first bytes no longer tell.
        is_text: rows of text, of which the first ones are a whole file, too.
        slack: how many bytes at its end nobody misses.
        needs_listing: the store must be one that can be listed.
    """

    name: str
    identifier: str
    contents: Mapping[str, bytes]
    expected: list[Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    format: str | None = None
    is_text: bool = False
    slack: int = 0
    needs_listing: bool = False


def all_cases() -> list[FormatCase]:
    """Those of each module here: its function ``cases``."""
    found: list[FormatCase] = []
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        make: Callable[[], list[FormatCase]] = importlib.import_module(module.name).cases
        found += make()
    return found
