"""Text within the values of an HDF5 dataset: h5py gives the bytes of it."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
import numpy.typing as npt


def holds_text(dtype: np.dtype[Any]) -> bool:
    """Whether values of a compound or variable-length type have text of variable length in them."""
    return _is_text_inside(dtype) and h5py.check_string_dtype(dtype) is None


def decode_text(values: npt.NDArray[Any], dtype: np.dtype[Any]) -> None:
    """Makes ``str`` of such text, in place.

    Args:
        values: as h5py reads them.
        dtype: that of the dataset; what it says of text is lost from the type of an array here and there.
    """
    if dtype.subdtype is not None:
        decode_text(values, dtype.base)
    elif dtype.names is not None:
        for name in dtype.names:
            if _is_text_inside(dtype[name]):
                decode_text(values[name], dtype[name])
    elif h5py.check_string_dtype(dtype) is not None:
        for place in np.ndindex(values.shape):
            if isinstance(values[place], bytes):
                values[place] = values[place].decode()
    else:
        element = h5py.check_vlen_dtype(dtype)
        for place in np.ndindex(values.shape):
            decode_text(values[place], element)


def _is_text_inside(dtype: np.dtype[Any]) -> bool:
    if dtype.subdtype is not None:
        return _is_text_inside(dtype.base)
    if dtype.names is not None:
        return any(_is_text_inside(dtype[name]) for name in dtype.names)
    if h5py.check_string_dtype(dtype) is not None:
        return dtype.hasobject
    element = h5py.check_vlen_dtype(dtype)
    return isinstance(element, np.dtype) and _is_text_inside(element)
