"""Arrays as images, and images as PNG files."""

from __future__ import annotations

import struct
import zlib
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.float64]

LARGEST_SIDE: Final = 128
"""Larger pictures are scaled down before they are put into a page."""

_SMALLEST_SIDE: Final = 4
_MOST_STRETCHED: Final = 8


def as_pixels(sample: Any) -> Pixels | None:
    """An image as height by width by channels (1 or 3) from 0 to 1; None for what is no image.

    Bytes and truth values have a range of their own; other numbers are spread from the smallest to the largest.
    """
    array = np.asarray(sample)
    if array.ndim == 3 and array.shape[2] not in (1, 3, 4) and array.shape[0] in (1, 3, 4):
        array = np.moveaxis(array, 0, 2)
    if array.ndim == 2:
        array = array[:, :, np.newaxis]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or 0 in array.shape or array.dtype.kind not in "biuf":
        return None
    array = array[:, :, :3]
    values: Pixels = np.nan_to_num(array.astype(np.float64))
    low, high = (0.0, 255.0) if array.dtype == np.uint8 and values.max() > 16 else (values.min(), values.max())
    spread: Pixels = (values - low) / ((high - low) or 1.0)
    return spread


def fit(pixels: Pixels, columns: int) -> Pixels:
    """The image no wider than so many columns: each pixel the mean of those it stands for."""
    step = -(-pixels.shape[1] // max(columns, 1))
    if step == 1:
        return pixels
    height, width = (-(-length // step) for length in pixels.shape[:2])
    padding = [(0, height * step - pixels.shape[0]), (0, width * step - pixels.shape[1]), (0, 0)]
    padded = np.pad(pixels, padding, mode="edge")
    scaled: Pixels = padded.reshape(height, step, width, step, -1).mean(axis=(1, 3))
    return scaled


def picture(value: Any) -> bytes | None:
    """What looks like an image, as a PNG file of at most 128 by 128 pixels; None for anything else.

    An array looks like one if both sides have at least four pixels and neither is more than eight times the other.

    Examples:
        >>> picture(np.zeros((8, 8)))[1:4], picture(np.zeros((2, 100))), picture("owl")
        (b'PNG', None, None)
    """
    if not isinstance(value, np.ndarray) or value.ndim not in (2, 3) or value.dtype.kind not in "biuf":
        return None
    pixels = as_pixels(value)
    if pixels is None:
        return None
    height, width = pixels.shape[:2]
    if min(height, width) < _SMALLEST_SIDE or max(height, width) > _MOST_STRETCHED * min(height, width):
        return None
    return png(fit(pixels, max(1, LARGEST_SIDE * width // max(height, width))))


def png(pixels: Pixels) -> bytes:
    """A PNG file of 8 bits a channel (https://www.w3.org/TR/png-3/).

    Args:
        pixels: height by width by 1 (grey) or 3 (red, green, blue), from 0 to 1.
    """
    height, width, channels = pixels.shape
    if channels == 2:
        raise ValueError("an image has one channel or three, not two")
    rows = np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8).reshape(height, -1)
    filtered = np.pad(rows, [(0, 0), (1, 0)])  # each row begins with the number of its filter: none
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if channels == 1 else 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(filtered.tobytes(), 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, content) for name, content in chunks)


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
