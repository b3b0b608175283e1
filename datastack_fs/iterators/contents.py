"""Values in a few words: what a sample is made of, and text from anywhere in one printable line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

_MOST_LETTERS: Final = 80
_MOST_PARTS: Final = 6
_MOST_DEPTH: Final = 3


def described(value: Any, depth: int = 0) -> str:
    """The type of a value and, where it has one, its shape; of a mapping, tuple or list those of its parts.

    Examples:
        >>> import numpy as np
        >>> described(np.zeros((8, 8), dtype=np.uint8)), described(np.int64(3)), described("owl"), described(None)
        ('uint8 (8, 8)', 'int64', 'text', 'None')
        >>> described({"left": np.zeros((4, 4)), "names": ("a", 1)})
        '{left: float64 (4, 4), names: (text, int)}'
    """
    if isinstance(value, (Mapping, tuple, list)):
        if depth >= _MOST_DEPTH:
            return "…"
        if isinstance(value, Mapping):
            shown = list(value.items())[:_MOST_PARTS]
            parts = [f"{one_line(key, 30)}: {described(part, depth + 1)}" for key, part in shown]
            return "{" + listed(parts, len(value)) + "}"
        parts = [described(part, depth + 1) for part in value[:_MOST_PARTS]]
        return "(" + listed(parts, len(value)) + ")"
    if value is None:
        return "None"
    if isinstance(value, str):
        return "text"
    return array_type(value) or one_line(type(value).__name__, 30)


def array_type(value: Any) -> str | None:
    """Element type and shape of whatever has both, as arrays and tensors do; None for anything else.

    Examples:
        >>> import numpy as np
        >>> array_type(np.zeros(3)), array_type(np.zeros(3)[0]), array_type([0, 0, 0]) is None
        ('float64 (3,)', 'float64', True)
    """
    dtype, shape = getattr(value, "dtype", None), getattr(value, "shape", None)
    if dtype is None or not isinstance(shape, tuple):
        return None
    return element_type(dtype, shape)


def element_type(dtype: Any, shape: tuple[int, ...]) -> str:
    """A type and a shape in words.

    Examples:
        >>> import numpy as np
        >>> element_type(np.dtype("u1"), (8, 8)), element_type(np.dtype("f4"), ())
        ('uint8 (8, 8)', 'float32')
    """
    name = one_line(dtype, 60)
    return f"{name} {tuple(shape)}" if shape else name


def placed(places: tuple[int, int, int], contents: tuple[str | None, ...]) -> str:
    """What stands at which position, as far as it is known.

    Examples:
        >>> placed((0, 1, 2), ("uint8 (8, 8)", "int64", None))
        'sample uint8 (8, 8), target int64'
    """
    names = dict(zip(places, ("sample", "target", "tag"), strict=True))
    known = [(names.get(place, f"[{place}]"), words) for place, words in enumerate(contents) if words is not None]
    return ", ".join(f"{name} {words}" for name, words in known)


def one_line(value: Any, most: int = _MOST_LETTERS) -> str:
    r"""The text of a value on one line, cut, without letters that a terminal or an editor would act on.

    Examples:
        >>> one_line("a\nb\x1b[2J"), one_line("x" * 200, most=10)
        ('a\\nb\\x1b[2J', 'xxxxxxxxx…')
    """
    text = value if isinstance(value, str) else str(value)
    if len(text) > most:
        text = text[: most - 1] + "…"
    return text if text.isprintable() else "".join(map(_printable, text))


def sample_contents(sample: Any) -> tuple[str | None, ...]:
    """What stands at each position of a sample.

    Examples:
        >>> import numpy as np
        >>> sample_contents((np.zeros((8, 8)), 3, None))
        ('float64 (8, 8)', 'int', 'None')
    """
    return tuple(map(described, sample))


def listed(parts: Sequence[str], count: int) -> str:
    """Some words with commas, and how many more there are."""
    shown = list(parts[:_MOST_PARTS])
    return ", ".join(shown if count <= _MOST_PARTS else [*shown, f"… {count - _MOST_PARTS} more"])


def _printable(letter: str) -> str:
    return letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii")
