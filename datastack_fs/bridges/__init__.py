"""Iterators handed to other libraries: torch, Ray, dask, Hugging Face datasets; names load when used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datastack_fs.bridges.dask_ import to_dask
    from datastack_fs.bridges.huggingface_ import to_hf
    from datastack_fs.bridges.ray_ import preprocess_on_ray, to_ray
    from datastack_fs.bridges.ray_writing import write_to
    from datastack_fs.bridges.torch_ import collate_columns, to_torch

__all__ = ["collate_columns", "preprocess_on_ray", "to_dask", "to_hf", "to_ray", "to_torch", "write_to"]

_MODULES = {
    "collate_columns": "torch_",
    "preprocess_on_ray": "ray_",
    "to_dask": "dask_",
    "to_hf": "huggingface_",
    "to_ray": "ray_",
    "to_torch": "torch_",
    "write_to": "ray_writing",
}


if not TYPE_CHECKING:  # a type checker would take any name for one of ours

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
