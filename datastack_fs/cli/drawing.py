"""A sample as text for the terminal, or as a picture."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from datastack_fs.errors import ConfigError, MissingDependencyError
from datastack_fs.iterators.report.pictures import Pixels, as_pixels, fit

_SHADES: Final = " ░▒▓█"
_ASCII_SHADES: Final = " .:-=+*#%@"
_UPPER_HALF: Final = "▀"


def draw(sample: Any, *, columns: int = 80, colors: bool = False, encoding: str = "utf-8") -> str:
    """An image (height by width, with or without colour channels) as text; any other array as numpy prints it.

    Args:
        sample: the array.
        columns: of the terminal; wider images are scaled down.
        colors: two pixels a character, in 24-bit colours; else shades, two characters a pixel.
        encoding: of the terminal; where it has no block characters, letters stand for shades.

    Examples:
        >>> print(draw(np.array([[0, 8], [16, 4]]), columns=4))
          ▒▒
        ██░░
    """
    pixels = as_pixels(sample)
    if pixels is None:
        return np.array2string(np.asarray(sample), threshold=200)
    if colors and _can_encode(_UPPER_HALF, encoding):
        return _half_blocks(fit(pixels, columns))
    shades = _SHADES if _can_encode(_SHADES, encoding) else _ASCII_SHADES
    levels = np.rint(fit(pixels, columns // 2).mean(axis=2) * (len(shades) - 1)).astype(int)
    return "\n".join("".join(shades[level] * 2 for level in row) for row in levels)


def save_picture(sample: Any, title: str, file: str) -> None:
    """Writes an image, or the curve of a 1-D array, as a picture; the ending of the file says which kind.

    Raises:
        MissingDependencyError: matplotlib is not installed.
        ConfigError: the array is neither, or matplotlib does not know the ending.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingDependencyError("--out needs matplotlib: pip install 'datastack-fs[plot]'") from error

    figure = Figure(figsize=(4, 4), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    ending = file.rpartition(".")[2].lower()
    if ending not in canvas.get_supported_filetypes():
        raise ConfigError(f"{file}: a picture ends in one of {', '.join(sorted(canvas.get_supported_filetypes()))}")
    axes = figure.add_subplot(title=title)
    pixels = as_pixels(sample)
    if pixels is not None:
        axes.imshow(pixels if pixels.shape[2] == 3 else pixels[:, :, 0], cmap="gray", vmin=0, vmax=1)
        axes.set_axis_off()
    elif np.ndim(sample) == 1:
        axes.plot(sample)
    else:
        raise ConfigError(f"a sample of shape {np.shape(sample)} is no image and no curve: show it without --out")
    figure.savefig(file)


def _half_blocks(pixels: Pixels) -> str:
    channels = np.rint(np.broadcast_to(pixels, (*pixels.shape[:2], 3)) * 255).astype(int).tolist()
    lines = []
    for above in range(0, len(channels), 2):
        line = []
        for column, upper in enumerate(channels[above]):
            lower = channels[above + 1][column] if above + 1 < len(channels) else None
            ground = f"\x1b[48;2;{lower[0]};{lower[1]};{lower[2]}m" if lower else ""
            line.append(f"\x1b[38;2;{upper[0]};{upper[1]};{upper[2]}m{ground}{_UPPER_HALF}\x1b[0m")
        lines.append("".join(line))
    return "\n".join(lines)


def _can_encode(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True
