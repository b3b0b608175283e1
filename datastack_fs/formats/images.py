"""Images as arrays, decoded by Pillow."""

from __future__ import annotations

import io
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from datastack_fs.errors import DatasetFileCorruptError
from datastack_fs.plugins import Plugin

ENDINGS: Final = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm")

MAX_PIXELS: Final = 89_478_485
"""Pillow's own limit: ``PIL.Image.MAX_IMAGE_PIXELS``, a quarter of a gibibyte at three bytes a pixel."""

_FORMATS: Final = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
"""Of Pillow's many, those that are pictures alone: EPS, for one, is a program that another program runs."""

_WIDE: Final = ("I", "F")
"""Beginnings of modes with numbers of more than 8 bits: Pillow's conversion to others cuts them off at 255."""

_PILLOW: Final = Plugin("images", "PIL.Image:open", "PIL", "images")


def check_pillow() -> None:
    """Refuses to go on without Pillow.

    Raises:
        MissingDependencyError: it is not installed; the message says how to.
    """
    _PILLOW.load("reading images")


def check_mode(mode: str | None) -> None:
    """Refuses a mode that Pillow does not have."""
    from PIL import Image

    if mode is not None and mode not in Image.MODES:
        raise ValueError(f"mode={mode!r}: Pillow knows {', '.join(Image.MODES)}")


def decode_image(
    content: bytes, what: str, *, mode: str | None = None, max_pixels: int = MAX_PIXELS
) -> npt.NDArray[Any]:
    """The pixels of an image: shape (height, width) or (height, width, channels), uint8 for most.

    It stands upright, as the orientation in its EXIF data says and as viewers show it. Of several frames it is the
    first.

    Args:
        content: the file.
        what: names it in messages.
        mode: what Pillow converts to ("RGB", "L", …); None leaves it as it is, palette indices of a palette image, too.
        max_pixels: more are refused before they are decoded. Above twice ``MAX_PIXELS``, Pillow's own limit,
            ``PIL.Image.MAX_IMAGE_PIXELS``, must be raised as well.

    Raises:
        DatasetFileCorruptError: it is no image, a damaged one, or has too many pixels.

    Examples:
        >>> decode_image(b"P5 3 2 255 abcdef", "owl.pgm").tolist()
        [[97, 98, 99], [100, 101, 102]]
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
            if image.width * image.height > max_pixels:
                raise DatasetFileCorruptError(
                    f"{what} has {image.width:,} x {image.height:,} pixels, more than max_pixels={max_pixels:,}"
                )
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            if mode is None or mode == image.mode:
                return np.array(image)
            if image.mode.startswith(_WIDE) and not mode.startswith(_WIDE):
                raise DatasetFileCorruptError(
                    f"{what} has numbers of more than 8 bits (mode {image.mode}), which a conversion to {mode} would "
                    "cut off: mode=None gives them as they are"
                )
            return np.array(image.convert(mode))
    except DatasetFileCorruptError:
        raise
    except UnidentifiedImageError as error:
        start = content[:8].hex(" ") or "nothing"
        raise DatasetFileCorruptError(
            f"{what} is no image of a known kind ({' '.join(_FORMATS)}): it begins with {start}"
        ) from error
    except Exception as error:  # the translating edge: Pillow raises anything on a damaged image
        raise DatasetFileCorruptError(f"{what} is a damaged image: {type(error).__name__}: {error}") from error
