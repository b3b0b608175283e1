"""Bar charts as SVG to stand in a page: colours come from the page's style."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Final

from datastack_fs.iterators.report import facts
from datastack_fs.iterators.report.model import Histogram, TargetReport

_ROW: Final = 22
_BARS: Final = 420
_COUNTS: Final = 110
_WIDTH: Final = 640
_LETTER: Final = 7.5
_HIGH: Final = 160
_LETTERS: Final = 24


def class_bars(targets: TargetReport) -> str:
    """A bar for each class, with its count and share."""
    rows = facts.class_rows(targets)
    counts = [each.count for each in targets.classes]
    largest = max([*counts, 1])
    if targets.other_classes:
        counts.append(targets.other_count)
    cuts = [label if len(label) <= _LETTERS else label[: _LETTERS - 1] + "…" for label, _, _ in rows]
    left = round(max(map(len, cuts)) * _LETTER) + 16
    parts = []
    for number, ((label, count, share), value) in enumerate(zip(rows, counts, strict=True)):
        top, width = number * _ROW, min(value / largest, 1) * _BARS
        kind = "bar other" if number == len(targets.classes) else "bar"
        parts.append(
            f'<g><title>{html.escape(label)}: {count}</title><text x="{left - 8}" y="{top + 15}" '
            f'text-anchor="end">{html.escape(cuts[number])}</text>'
            f'<rect class="{kind}" x="{left}" y="{top + 3}" width="{width:.1f}" height="{_ROW - 6}" rx="2"/>'
            f'<text class="count" x="{left + width + 6:.1f}" y="{top + 15}">{count} · {share}</text></g>'
        )
    return _svg(left + _BARS + _COUNTS, len(rows) * _ROW, "Counts of the classes", parts)


def histogram_bars(histogram: Histogram) -> str:
    """A bar for each bin, from the lowest number to the highest."""
    largest, count = max([*histogram.counts, 1]), len(histogram.counts)
    width = _WIDTH / count
    parts = [
        f"<g><title>{facts.number(histogram.edges[number])} to {facts.number(histogram.edges[number + 1])}: "
        f'{value:,}</title><rect class="bar" x="{number * width + 1:.1f}" y="{_HIGH * (1 - value / largest):.1f}" '
        f'width="{width - 2:.1f}" height="{_HIGH * value / largest:.1f}"/></g>'
        for number, value in enumerate(histogram.counts)
    ]
    parts.append(f'<text x="0" y="{_HIGH + 16}">{facts.number(histogram.edges[0])}</text>')
    parts.append(f'<text x="{_WIDTH}" y="{_HIGH + 16}" text-anchor="end">{facts.number(histogram.edges[-1])}</text>')
    return _svg(_WIDTH, _HIGH + 22, "Histogram of the targets", parts)


def _svg(width: int, height: int, label: str, parts: Sequence[str]) -> str:
    return (
        f'<svg role="img" aria-label="{label}" viewBox="0 0 {width} {height}" width="{width}" '
        f'preserveAspectRatio="xMinYMin">{"".join(parts)}</svg>'
    )
