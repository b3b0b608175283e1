"""Rows of an array of ``bfloat16``, a type that numpy has not, as float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from datastack_fs.formats.stored_array import StoredArray


def widened(bits: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Returns the numbers of which these are the bits: a ``bfloat16`` is the first half of a float32.

    Examples:
        >>> widened(np.array([0x3FC0, 0xC000], dtype=np.uint16)).tolist()
        [1.5, -2.0]
    """
    wide: npt.NDArray[np.uint32] = np.left_shift(bits, 16, dtype=np.uint32)
    return wide.view(np.float32)


class BFloat16Array(StoredArray):
    """The rows of an array whose elements, in the file, are the bits of ``bfloat16`` (of type ``uint16``)."""

    def _decoded(self, rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return widened(rows)
