"""The picture of RESULTS.md: for each case, how many times the limit everyone takes."""

from __future__ import annotations

from pathlib import Path

from benchmarks.results import Results

_COLOURS = {"limit": "0.3", "peer": "tab:orange", "ours": "tab:blue"}


def draw(results: Results, path: Path) -> None:
    """Writes the picture; a point is a contender."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams["svg.hashsalt"] = "datastack-fs"
    cases = [(name, case) for name, found in results.items() for case in found if case.quickest_limit()]
    figure = Figure(figsize=(9, 0.9 + 0.32 * len(cases)), layout="constrained")
    axes = figure.subplots()
    shown: set[str] = set()
    for row, (_, case) in enumerate(cases):
        limit = case.quickest_limit()
        for each in case.contenders:
            if limit is None or limit.median is None or each.median is None:
                continue
            label = {"limit": "limit", "peer": "peers", "ours": "datastack-fs"}[each.role]
            place, size = (each.median / limit.median, 55 if each.role == "ours" else 28)
            axes.scatter(place, row, s=size, c=_COLOURS[each.role], alpha=0.8, label=None if label in shown else label)
            if each.mark is not None and each.over is None:
                axes.plot([each.mark] * 2, [row - 0.35, row + 0.35], color="tab:blue", linewidth=1)
            shown.add(label)
    axes.set_xscale("log")
    axes.set_xlabel("times the limit (left is better; a bar is the mark)")
    axes.set_yticks(range(len(cases)), [f"{name}: {case.title}"[:60] for name, case in cases], fontsize=7)
    axes.invert_yaxis()
    axes.grid(axis="x", which="both", alpha=0.25)
    if shown:
        axes.legend(loc="lower right", fontsize=8)
    figure.savefig(path, metadata={"Date": None})
