"""Datasets that the library knows by name.

>>> from datastack_fs.datasets import MNISTFactory
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datastack_fs.datasets.digits import DigitsFactory
    from datastack_fs.datasets.mnist import FashionMNISTFactory, MNISTFactory

__all__ = ["DigitsFactory", "FashionMNISTFactory", "MNISTFactory"]

_MODULES = {"DigitsFactory": "digits", "FashionMNISTFactory": "mnist", "MNISTFactory": "mnist"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
