"""What a report says, as headings and rows of text: Markdown and the page show the same."""

from __future__ import annotations

from typing import Final

from datastack_fs.iterators.report.model import ClassCount, ColumnReport, Report, SpeedReport, TargetReport

COLUMN_HEADINGS: Final = ("part", "type", "range", "mean", "missing")
SPEED_HEADINGS: Final = ("order", "samples/s", "MB/s", "samples timed", "seconds", "batch")
CLASS_HEADINGS: Final = ("class", "count", "share")

_UNITS: Final = ("bytes", "kB", "MB", "GB", "TB", "PB")


def header(report: Report) -> list[tuple[str, str]]:
    """What is known of the whole."""
    places = ", ".join(f"{name} {place}" for name, place in report.positions.items())
    facts = [
        ("samples", f"{report.length:,}"),
        ("class", report.kind),
        ("identifier", report.identifier),
        ("store", report.store),
        ("resource", report.resource if report.resource != report.identifier else None),
        ("format", report.format),
        ("size", None if report.size is None else byte_count(report.size)),
        ("checksum", report.checksum),
        ("positions", places),
        ("classes", None if report.class_names is None else f"{len(report.class_names):,}"),
        ("looked at", looked_at(report)),
    ]
    return [(name, value) for name, value in facts if value]


def looked_at(report: Report) -> str:
    """How many of the samples were looked at."""
    if report.looked_at == report.length:
        return "all samples"
    return f"{report.looked_at:,} of {report.length:,} samples"


def column_rows(report: Report) -> list[tuple[str, ...]]:
    """A row for each part of samples, under ``COLUMN_HEADINGS``."""
    return [
        (
            column.name if column.samples == report.looked_at else f"{column.name} (in {column.samples:,})",
            " or ".join(column.types),
            _range(column),
            "" if column.mean is None else number(column.mean),
            _missing(column),
        )
        for column in report.columns
    ]


def speed_rows(speed: tuple[SpeedReport, ...]) -> list[tuple[str, ...]]:
    """A row for each order, under ``SPEED_HEADINGS``."""
    return [
        (
            each.order,
            f"{each.samples_per_second:,.0f}" if each.samples_per_second >= 10 else f"{each.samples_per_second:.2g}",
            f"{each.bytes_per_second / 1e6:,.1f}",
            f"{each.samples:,}",
            f"{each.seconds:.3g}",
            f"{each.batch_size:,}",
        )
        for each in speed
    ]


def class_rows(targets: TargetReport) -> list[tuple[str, str, str]]:
    """A row for each class, under ``CLASS_HEADINGS``, and one for those that are left out."""
    rows = [(class_label(each), f"{each.count:,}", share(each.count, targets)) for each in targets.classes]
    if targets.other_classes:
        others = f"{targets.other_classes:,} others"
        rows.append((others, f"{targets.other_count:,}", share(targets.other_count, targets)))
    return rows


def class_label(found: ClassCount) -> str:
    """A class by its name and, where the name isn't the number, its number."""
    return found.label if found.name in (None, str(found.value)) else f"{found.name} ({found.value})"


def share(count: int, targets: TargetReport) -> str:
    """How much of the counted labels it is."""
    present = targets.looked_at - targets.missing
    return f"{100 * count / present:.1f} %" if present else ""


def target_sentence(targets: TargetReport | None) -> str:
    """What is said of the targets beside their distribution."""
    if targets is None:
        return "The targets could not be read."
    of = "all" if targets.looked_at == targets.of else f"{targets.looked_at:,} of {targets.of:,}"
    words = [f"{of} labels counted"]
    if targets.missing:
        words.append(f"{targets.missing:,} missing")
    if targets.kind == "none":
        return f"There are no targets ({of} labels looked at)."
    if targets.kind == "other":
        return f"Targets are neither classes nor numbers ({of} labels looked at)."
    words.append(f"{targets.distinct:,} different")
    if targets.imbalance is not None:
        words.append(f"the largest class is {targets.imbalance:.3g} times the smallest")
    if targets.low is not None and targets.high is not None:
        words.append(f"from {number(targets.low)} to {number(targets.high)}")
    if targets.mean is not None:
        words.append(f"mean {number(targets.mean)}")
    sentence = ", ".join(words)
    return sentence[0].upper() + sentence[1:] + "."


def number(value: float | str) -> str:
    """A number with six digits at most, whole ones in full."""
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return f"{value:,}" if abs(value) < 10**15 else f"{value:.6g}"
    return f"{value:.6g}"


def byte_count(size: float) -> str:
    """A number of bytes for people.

    Examples:
        >>> byte_count(999), byte_count(144_616), byte_count(5e9)
        ('999 bytes', '145 kB', '5 GB')
    """
    for unit in _UNITS[:-1]:
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} {_UNITS[-1]}"


def _range(column: ColumnReport) -> str:
    if column.low is None or column.high is None:
        return ""
    unit = f" {column.unit}" if column.unit else ""
    low, high = number(column.low), number(column.high)
    return f"{low}{unit}" if low == high else f"{low} to {high}{unit}"


def _missing(column: ColumnReport) -> str:
    words = []
    if column.missing_samples == column.samples:
        words.append("all")
    elif column.missing_samples:
        words.append(f"in {column.missing_samples:,} of {column.samples:,}")
        if column.missing_values != column.missing_samples:
            words.append(f"{column.missing_values:,} values")
    if column.infinite_values:
        words.append(f"{column.infinite_values:,} infinite")
    return ", ".join(words) or "none"
