"""A report as one HTML page that needs nothing else."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterator, Sequence
from typing import Final

from datastack_fs.iterators.report import facts
from datastack_fs.iterators.report.charts import class_bars, histogram_bars
from datastack_fs.iterators.report.model import Example, Report

_SHOWN_ROWS: Final = 10
_BRANCHES: Final = "│├└─ "

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1d2528; --soft: #5d6b70; --line: #dbe2e4; --ground: #fff; --panel: #f5f7f8;
  --bar: #00796b; --other: #9aa9ad; --warn: #a63d00; --warn-ground: #fff4ec; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4eaec; --soft: #9cabb0; --line: #344044; --ground: #14191b;
  --panel: #1c2326; --bar: #4db6ac; --other: #5d6b70; --warn: #ffb48a; --warn-ground: #33231a; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 60rem; background: var(--ground); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 1rem; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 2rem 0 .6rem; padding-bottom: .25rem; border-bottom: 1px solid var(--line); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.25rem; margin: 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
pre { background: var(--panel); padding: .8rem 1rem; border-radius: 6px; font-size: 13px; margin: 0; line-height: 1.45;
  white-space: pre-wrap; overflow-wrap: anywhere; }
pre span { display: block; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }

th, td { padding: .3rem .9rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top;
  overflow-wrap: anywhere; }
th { text-align: left; font-weight: 600; color: var(--soft); white-space: nowrap; }
.scroll { overflow-x: auto; } .scroll td { overflow-wrap: break-word; min-width: 4rem; }
svg { max-width: 100%; height: auto; display: block; } svg text { fill: var(--ink); font-size: 13px; }
svg .count { fill: var(--soft); } .bar { fill: var(--bar); } .other { fill: var(--other); }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(92px, 1fr)); gap: .8rem; }
figure { margin: 0; } figure img { width: 100%; display: block; image-rendering: pixelated; border-radius: 4px;
  border: 1px solid var(--line); }
figcaption { font-size: 12px; color: var(--soft); overflow-wrap: anywhere; }
figcaption b { color: var(--ink); font-weight: 600; }
.problems { background: var(--warn-ground); color: var(--warn); padding: .7rem 1rem; border-radius: 6px;
  margin: 1.2rem 0 0; }
.problems ul { margin: 0; padding-left: 1.2rem; } .problems li { overflow-wrap: anywhere; }
details { border-top: 1px solid var(--line); padding: .5rem 0; } summary { cursor: pointer; overflow-wrap: anywhere; }
details details, details .part { margin-left: 1rem; } .part { padding-top: .6rem; } .part h2 { font-size: .95rem;
  margin-top: 1rem; }
p { margin: 0 0 .8rem; } .soft, footer { color: var(--soft); } footer { margin-top: 3rem; font-size: 12px; }
@media print { body { max-width: none; padding: 0; } figure, tr, svg { break-inside: avoid; }
  .bar, .problems, pre { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""


def page(report: Report) -> str:
    """The page: no script, nothing loaded from elsewhere, all text from the data escaped."""
    body = "\n".join(_body(report))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">\n"
        f"<title>{html.escape(report.title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _body(report: Report) -> Iterator[str]:
    yield f"<h1>{html.escape(report.title)}</h1>"
    yield from _facts(report)
    yield f"<h2>Stack</h2><pre>{''.join(map(_tree_line, report.tree))}</pre>"
    yield from _measured(report)
    if report.examples:
        yield "<h2>Examples</h2>"
        yield _examples(report.examples)
    if report.parts:
        yield "<h2>What it stands on</h2>"
        yield from map(_part, report.parts)
    if report.parts_left_out:
        yield f'<p class="soft">{report.parts_left_out:,} more iterators have no report of their own.</p>'
    yield "<footer>datastack-fs report</footer>"


def _tree_line(line: str) -> str:
    """A line of the drawing; where it is too long for the page, it goes on under its own beginning."""
    indent = len(line) - len(line.lstrip(_BRANCHES)) + 2
    return f'<span style="padding-left:{indent}ch;text-indent:-{indent}ch">{html.escape(line)}</span>'


def _facts(report: Report) -> Iterator[str]:
    rows = "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>" for name, value in facts.header(report))
    yield f"<dl>{rows}</dl>"
    if report.problems:
        lines = "".join(f"<li>{html.escape(problem)}</li>" for problem in report.problems)
        yield f'<div class="problems"><b>Problems</b><ul>{lines}</ul></div>'


def _measured(report: Report) -> Iterator[str]:
    if report.columns:
        yield f"<h2>Samples</h2>{_table(facts.COLUMN_HEADINGS, facts.column_rows(report))}"
    if report.columns_left_out:
        yield f'<p class="soft">{report.columns_left_out:,} more parts are left out.</p>'
    targets = report.targets
    if targets is not None or report.length:
        yield f"<h2>Targets</h2><p>{html.escape(facts.target_sentence(targets))}</p>"
    if targets is not None and targets.classes:
        yield class_bars(targets)
    if targets is not None and targets.histogram is not None:
        yield histogram_bars(targets.histogram)
    if report.speed:
        yield f"<h2>Speed</h2>{_table(facts.SPEED_HEADINGS, facts.speed_rows(report.speed))}"


def _part(report: Report) -> str:
    inner = "\n".join([*_facts(report), *_measured(report), *map(_part, report.parts)])
    title = f"<b>{html.escape(report.kind)}</b> {html.escape(report.title)}: {report.length:,} samples"
    return f'<details><summary>{title}</summary><div class="part">{inner}</div></details>'


def _examples(examples: Sequence[Example]) -> str:
    if not any(each.pictures for each in examples):
        names = list(dict.fromkeys(name for each in examples[:_SHOWN_ROWS] for name in each.parts))
        rows = [(str(each.index), *(each.parts.get(name, "") for name in names)) for each in examples[:_SHOWN_ROWS]]
        return _table(["index", *names], rows)
    return f'<div class="grid">{"".join(map(_figure, examples))}</div>'


def _figure(example: Example) -> str:
    images = "".join(
        f'<img alt="sample {example.index}" src="data:image/png;base64,{base64.b64encode(picture).decode("ascii")}">'
        for picture in example.pictures
    )
    return f"<figure>{images}<figcaption><b>{html.escape(example.target)}</b> #{example.index}</figcaption></figure>"


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{html.escape(heading)}</th>" for heading in headings)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
