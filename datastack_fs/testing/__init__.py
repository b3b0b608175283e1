"""The contracts as test classes, to be inherited for a connector or a format of your own (with pytest, hypothesis)."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datastack_fs.testing.iterators import DatasetIteratorTests
    from datastack_fs.testing.reading import StorageReadingTests
    from datastack_fs.testing.writing import StorageConnectorTests

__all__ = ["DatasetIteratorTests", "StorageConnectorTests", "StorageReadingTests"]

# Lazy: a child process of a test needs its function alone, not pytest and hypothesis.
_MODULES = {"DatasetIteratorTests": "iterators", "StorageReadingTests": "reading", "StorageConnectorTests": "writing"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
