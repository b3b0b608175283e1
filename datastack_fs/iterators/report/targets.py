"""How targets are distributed: counts of classes, or a histogram of numbers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from datastack_fs.iterators.contents import one_line
from datastack_fs.iterators.labels import label_array
from datastack_fs.iterators.report.model import ClassCount, Histogram, Plain, TargetReport
from datastack_fs.iterators.report.summary import is_missing

SHOWN_CLASSES: Final = 50
BINS: Final = 20
_MOST_INTEGER_CLASSES: Final = 100
_MOST_FLOAT_CLASSES: Final = 20
_PLAIN = (bool, int, float, str)


def target_report(labels: npt.NDArray[Any], of: int, class_names: Sequence[str] | None = None) -> TargetReport:
    """The distribution of some labels, which are all or some of those of ``of`` samples.

    Whole numbers are classes if they have names or at most 100 values occur; other numbers are if they are whole and
    have at most 20 values. Text and other plain values are always classes.

    Examples:
        >>> found = target_report(np.array([0, 1, 1, 1]), of=4, class_names=["owl", "wren"])
        >>> [(each.label, each.count) for each in found.classes], found.imbalance
        ([('owl', 1), ('wren', 3)], 3.0)
        >>> target_report(np.linspace(0, 1, 1000), of=1000).histogram.counts[:3]
        (50, 50, 50)
    """
    looked_at = len(labels)
    if labels.ndim > 1 or labels.dtype.kind == "V":
        return TargetReport("other" if looked_at else "none", looked_at, of)
    present, missing = _present(labels)
    if not len(present):
        return TargetReport("none", looked_at, of, missing)
    if present.dtype.kind in "biuf":
        values, counts = np.unique(present, return_counts=True)
        if not _are_classes(values, class_names):
            return _numbers(present, len(values), looked_at, of, missing)
        counted = dict(zip(map(_plain, values.tolist()), counts.tolist(), strict=True))
    elif all(isinstance(label, (*_PLAIN, bytes, np.generic)) for label in present.tolist()):
        counted = Counter(map(_plain, present.tolist()))
    else:
        return TargetReport("other", looked_at, of, missing)
    return _classes(counted, class_names, looked_at, of, missing)


def _present(labels: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], int]:
    """The labels that are there, as numbers where all of them are, and how many aren't."""
    kind = labels.dtype.kind
    if kind in "biu":
        return labels, 0
    if kind == "f":
        present = labels[~np.isnan(labels)]
        return present, len(labels) - len(present)
    found = [label for label in (labels.astype(str) if kind in "mM" else labels) if not _is_missing_label(label)]
    numbers = label_array(found) if all(isinstance(label, (int, float, np.number)) for label in found) else None
    if numbers is None or numbers.dtype.kind not in "biuf":
        numbers = np.empty(len(found), dtype=object)
        numbers[:] = found
    return numbers, len(labels) - len(found)


def _is_missing_label(label: Any) -> bool:
    return is_missing(label) or (isinstance(label, str) and label == "NaT")


def _are_classes(values: npt.NDArray[Any], class_names: Sequence[str] | None) -> bool:
    if values.dtype.kind != "f":
        return class_names is not None or len(values) <= _MOST_INTEGER_CLASSES
    return len(values) <= _MOST_FLOAT_CLASSES and bool(
        np.all(np.isfinite(values)) and np.all(values == np.rint(values))
    )


def _numbers(present: npt.NDArray[Any], distinct: int, looked_at: int, of: int, missing: int) -> TargetReport:
    numbers = present.astype(np.float64)
    numbers = numbers[np.isfinite(numbers)]
    if not len(numbers):
        return TargetReport("numbers", looked_at, of, missing, distinct=distinct)
    low, high = float(numbers.min()), float(numbers.max())
    with np.errstate(over="ignore"):
        mean = float(numbers.mean())
    return TargetReport(
        "numbers",
        looked_at,
        of,
        missing,
        distinct=distinct,
        histogram=_histogram(numbers, low, high),
        low=low,
        high=high,
        mean=mean if math.isfinite(mean) else None,
    )


def _histogram(numbers: npt.NDArray[np.float64], low: float, high: float) -> Histogram | None:
    try:
        counts, edges = np.histogram(numbers, bins=BINS if high > low else 1, range=(low, high))
    except ValueError:  # numbers too far apart, or too close, for bins between them
        return None
    if not np.all(np.isfinite(edges)):
        return None
    return Histogram(tuple(edges.tolist()), tuple(counts.tolist()))


def _classes(
    counted: dict[Plain, int], class_names: Sequence[str] | None, looked_at: int, of: int, missing: int
) -> TargetReport:
    distinct = len(counted)
    unnamed = 0
    everything = dict(counted)
    names: dict[Plain, str] = {}
    if class_names is not None:
        names = {number: one_line(name, 60) for number, name in enumerate(class_names)}
        unnamed = sum(count for value, count in counted.items() if value not in names)
        everything = {**dict.fromkeys(names, 0), **counted}
    largest = sorted(everything, key=lambda value: -everything[value])[:SHOWN_CLASSES]
    shown = sorted(largest, key=_order)
    return TargetReport(
        "classes",
        looked_at,
        of,
        missing,
        tuple(ClassCount(value, everything[value], names.get(value)) for value in shown),
        distinct,
        len(everything) - len(shown),
        sum(everything.values()) - sum(everything[value] for value in shown),
        unnamed,
        max(counted.values()) / min(counted.values()),
    )


def _order(value: Plain) -> tuple[bool, float, str]:
    if isinstance(value, str):
        return True, 0.0, value
    return False, float(value or 0), ""


def _plain(label: Any) -> Plain:
    """A label as JSON has it."""
    if isinstance(label, np.generic):
        label = label.item()
    if isinstance(label, float) and not math.isfinite(label):
        return str(label)
    if isinstance(label, int) and abs(label) >= 2**1000:
        return "a huge int"
    return label if isinstance(label, (bool, int, float)) else one_line(label, 60)
