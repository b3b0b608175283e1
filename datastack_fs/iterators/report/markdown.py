"""A report as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from datastack_fs.iterators.report import facts
from datastack_fs.iterators.report.model import Report

_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+!|~$-])")
_SHOWN_ROWS = 10


def markdown(report: Report) -> str:
    """The whole page; text from the data stays text."""
    return "\n".join(_lines(report, 1)) + "\n"


def escaped(text: str) -> str:
    r"""Text that Markdown shows as it is.

    Examples:
        >>> print(escaped("<b> *a* | [x](y)"))
        &lt;b&gt; \*a\* \| \[x\]\(y\)
    """
    safe = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(r"\\\1", safe.replace("\n", " "))


def _lines(report: Report, level: int) -> Iterator[str]:
    yield from (f"{'#' * min(level, 6)} {escaped(report.title)}", "")
    yield from (f"- **{name}**: {escaped(value)}" for name, value in facts.header(report))
    yield ""
    if report.problems:
        yield from ("**Problems**", "", *(f"- {escaped(problem)}" for problem in report.problems), "")
    if level == 1:
        yield from ("**Stack**", "", *(f"    {line}" for line in report.tree), "")
    if report.columns:
        yield from ("**Samples**", "", *_table(facts.COLUMN_HEADINGS, facts.column_rows(report)))
    if report.columns_left_out:
        yield from (f"{report.columns_left_out:,} more parts are left out.", "")
    yield from _targets(report)
    if report.speed:
        yield from ("**Speed**", "", *_table(facts.SPEED_HEADINGS, facts.speed_rows(report.speed)))
    if level == 1 and report.examples:
        names = list(dict.fromkeys(name for each in report.examples[:_SHOWN_ROWS] for name in each.parts))
        rows = [(str(each.index), *(each.parts.get(name, "") for name in names)) for each in report.examples]
        yield from ("**Examples**", "", *_table(["index", *names], rows[:_SHOWN_ROWS]))
    for part in report.parts:
        yield from _lines(part, level + 1)
    if level == 1 and report.parts_left_out:
        yield from (f"{report.parts_left_out:,} more iterators have no report of their own.", "")


def _targets(report: Report) -> Iterator[str]:
    targets = report.targets
    if targets is None and not report.length:
        return
    yield from ("**Targets**", "", escaped(facts.target_sentence(targets)), "")
    if targets is None:
        return
    if targets.classes:
        yield from _table(facts.CLASS_HEADINGS, facts.class_rows(targets))
    if targets.histogram is not None:
        edges, counts = targets.histogram.edges, targets.histogram.counts
        rows = [
            (f"{facts.number(low)} to {facts.number(high)}", f"{count:,}")
            for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
        ]
        yield from _table(("numbers", "count"), rows)


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(map(escaped, headings))} |"
    yield f"|{' --- |' * len(headings)}"
    yield from (f"| {' | '.join(map(escaped, row))} |" for row in rows)
    yield ""
