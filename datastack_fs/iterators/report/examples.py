"""Some samples to look at: pictures, or their parts in a few words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

from datastack_fs.iterators.contents import described, one_line
from datastack_fs.iterators.meta import DatasetMeta
from datastack_fs.iterators.report.model import Example
from datastack_fs.iterators.report.pictures import picture

MOST_EXAMPLES: Final = 24
MOST_PICTURES: Final = 4
MOST_PARTS: Final = 12
_MOST_NUMBERS: Final = 8
_MOST_LETTERS: Final = 60
_MOST_DEPTH: Final = 3


def example(index: int, sample: tuple[Any, ...], meta: DatasetMeta) -> Example:
    """A sample with its parts in words.

    Examples:
        >>> meta = DatasetMeta("birds", "birds", class_names=("owl", "wren"))
        >>> found = example(7, ({"wing": np.float32(2.5), "sound": np.zeros(9)}, 1, None), meta)
        >>> found.parts["sample.wing"], found.parts["sample.sound"], found.target
        ('2.5', 'float64 (9,)', 'wren')
    """
    named = dict(zip(meta.positions, ("sample", "target", "tag"), strict=True))
    parts = [found for place, value in enumerate(sample) for found in _parts(named.get(place, f"[{place}]"), value, 0)]
    pictures = [found for _, value in parts for found in [picture(value)] if found is not None]
    return Example(
        index,
        {name: shown(value) for name, value in parts[:MOST_PARTS]},
        target_name(sample[meta.target_pos], meta.class_names),
        tuple(pictures[:MOST_PICTURES]),
    )


def target_name(target: Any, class_names: Sequence[str] | None) -> str:
    """The class of a target, or the target itself."""
    if class_names is not None and isinstance(target, (int, np.integer)) and 0 <= target < len(class_names):
        return one_line(class_names[int(target)], _MOST_LETTERS)
    return shown(target)


def shown(value: Any) -> str:
    """A value in a few words: numbers and text as they are, larger arrays by type and shape.

    Examples:
        >>> shown(0.1 + 0.2), shown(np.array([1, 2])), shown("owl"), shown(np.zeros((3, 3)))
        ('0.3', '[1, 2]', 'owl', 'float64 (3, 3)')
    """
    if isinstance(value, (bool, np.bool_, int, np.integer)):
        return described(value) if isinstance(value, int) and value.bit_length() > 1000 else str(value)
    if isinstance(value, (float, np.floating)):
        return f"{value:.6g}"
    if value is None or isinstance(value, (str, bytes, np.datetime64, np.timedelta64)):
        return one_line(value, _MOST_LETTERS)
    if isinstance(value, np.ndarray) and value.ndim == 1 and value.size <= _MOST_NUMBERS and value.dtype.kind in "biuf":
        return f"[{', '.join(shown(number) for number in value)}]"
    if (
        isinstance(value, list)
        and len(value) <= _MOST_NUMBERS
        and all(isinstance(each, (int, float)) for each in value)
    ):
        return f"[{', '.join(map(shown, value))}]"
    return described(value)


def _parts(name: str, value: Any, depth: int) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value and depth < _MOST_DEPTH:
        for key, part in value.items():
            yield from _parts(f"{name}.{one_line(key, 40)}", part, depth + 1)
    elif isinstance(value, tuple) and value and depth < _MOST_DEPTH:
        for place, part in enumerate(value):
            yield from _parts(f"{name}[{place}]", part, depth + 1)
    elif isinstance(value, np.void) and value.dtype.names is not None:
        for field in value.dtype.names:
            yield from _parts(f"{name}.{one_line(field, 40)}", value[field], depth + 1)
    else:
        yield name, value
