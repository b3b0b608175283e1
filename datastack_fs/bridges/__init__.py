"""Iterators handed to other libraries: Ray, dask, Hugging Face datasets; the names are loaded when they are used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datastack_fs.bridges.dask_ import to_dask
    from datastack_fs.bridges.huggingface_ import to_hf
    from datastack_fs.bridges.ray_ import preprocess_on_ray, to_ray
    from datastack_fs.bridges.ray_writing import write_to

__all__ = [
    "preprocess_on_ray",
    "to_dask",
    "to_hf",
    "to_ray",
    "write_to",
]

_MODULES = {
    "preprocess_on_ray": "ray_",
    "to_dask": "dask_",
    "to_hf": "huggingface_",
    "to_ray": "ray_",
    "write_to": "ray_writing",
}


if not TYPE_CHECKING:  # a type checker would take any name for one of ours

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
