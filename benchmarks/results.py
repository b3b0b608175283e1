"""RESULTS.md: what a run found, as tables."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence

from benchmarks import machine
from benchmarks.case import Case, Contender, duration

Results = Mapping[str, Sequence[Case]]
"""The cases of each workload, by its name."""

_HEAD = """\
# Benchmarks

Written by `python -m benchmarks{arguments}` on {date}; [docs/benchmarks.md](../docs/benchmarks.md) says how to read it.

{machine}; {rounds} interleaved rounds (more of what is short), medians; load before the run {load:.1f}.

Ratios are the median over the rounds of a contender's time by that of the limit in the same round (or of what the mark
names); "best" is the ratio of both contenders' shortest runs. "CPU" is of the client's process, its threads included,
its child processes not.
"""


def written(results: Results, titles: Mapping[str, str], *, rounds: int, load: float, arguments: str) -> str:
    """The page."""
    date = time.strftime("%Y-%m-%d", time.gmtime())
    head = _HEAD.format(arguments=arguments, date=date, machine=machine.described(), rounds=rounds, load=load)
    parts = [head, "![Ratios to the limit](RESULTS.svg)\n", "## Marks\n", *_marks(results)]
    for name, cases in results.items():
        parts.append(f"\n## {titles[name]}\n")
        for case in cases:
            parts += [f"**{case.title}** (`{name}`)\n", *_table(case), ""]
    parts += ["\n## Versions\n", ", ".join(f"{name} {version}" for name, version in machine.packages()) + "."]
    return "\n".join(parts) + "\n"


def verdict(case: Case, contender: Contender) -> str:
    """Whether a mark is met."""
    ratio = case.ratio(contender)
    if contender.mark is None or ratio is None:
        return ""
    return "met" if round(ratio, 2) <= contender.mark else "**missed**"


def _marks(results: Results) -> Iterator[str]:
    yield "| workload | case | this library | ratio | best | mark | |"
    yield "| --- | --- | --- | ---: | ---: | ---: | --- |"
    for name, cases in results.items():
        for case in cases:
            for each in case.contenders:
                if each.mark is not None:
                    ratios = f"{_shown(case.ratio(each))} | {_shown(case.best_ratio(each))} | {each.mark:g}"
                    state = each.failure or verdict(case, each)
                    yield f"| `{name}` | {case.title} | {each.name} | {ratios} | {state} |"


def _table(case: Case) -> Iterator[str]:
    yield f"| contender | a {case.unit} | x limit | CPU | notes |"
    yield "| --- | ---: | ---: | ---: | --- |"
    for each in case.contenders:
        name = {"limit": f"LIMIT: {each.name}", "ours": f"**{each.name}**", "peer": each.name}[each.role]
        if each.median is None:
            yield f"| {name} | - | - | - | {each.failure} |"
            continue
        ratio, cpu = case.ratio(each, case.quickest_limit()), statistics.median(each.cpu)
        notes = "; ".join(_notes(case, each))
        yield f"| {name} | {duration(each.median)} | {_shown(ratio)} | {duration(cpu)} | {notes} |"


def _shown(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}"


def _notes(case: Case, contender: Contender) -> Iterator[str]:
    if contender.wrong:
        yield "**read something else than the limit**"
    if contender.failure:
        yield contender.failure
    if contender.units < case.units:
        yield f"{contender.units} of {case.units}"
    if len(contender.seconds) == 1:
        yield "one round"
    if contender.mark is not None and (ratio := case.ratio(contender)) is not None:
        over = f" {contender.over}" if contender.over else ""
        yield f"{ratio:.2f} of{over or ' the limit'}, mark {contender.mark:g}: {verdict(case, contender)}"
