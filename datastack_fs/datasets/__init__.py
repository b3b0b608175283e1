"""Datasets that the library knows by name.

>>> from datastack_fs.datasets import MNISTFactory
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datastack_fs.datasets.digits import DigitsFactory
    from datastack_fs.datasets.mnist import FashionMNISTFactory, MNISTFactory
    from datastack_fs.datasets.tabular import BreastCancerFactory, IrisFactory, WineFactory

__all__ = [
    "BreastCancerFactory",
    "DigitsFactory",
    "FashionMNISTFactory",
    "IrisFactory",
    "MNISTFactory",
    "WineFactory",
]

_MODULES = {
    "BreastCancerFactory": "tabular",
    "DigitsFactory": "digits",
    "FashionMNISTFactory": "mnist",
    "IrisFactory": "tabular",
    "MNISTFactory": "mnist",
    "WineFactory": "tabular",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
