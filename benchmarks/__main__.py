"""Runs workloads: python -m benchmarks --all, or NAME ...; --list says which there are."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

from benchmarks import machine, plot, results, workloads
from benchmarks.case import Case
from benchmarks.setting import Setting

FOLDER = Path(__file__).parent
ROUNDS = 3
SECONDS = 10.0
"""A case of short runs has more rounds, for so long."""
_FREED = 31 << 20
"""Once so much was freed, glibc keeps memory for the next batch: the system's zeroing of pages is not what is timed."""


def found() -> dict[str, ModuleType]:
    """The workloads by name: each module in ``workloads`` that has ``cases``."""
    names = sorted(module.name for module in pkgutil.iter_modules(workloads.__path__))
    modules = {name: importlib.import_module(f"{workloads.__name__}.{name}") for name in names}
    return {name: module for name, module in modules.items() if hasattr(module, "cases")}


def title(module: ModuleType) -> str:
    """The first line of its docstring."""
    return (module.__doc__ or "").partition("\n")[0].rstrip(".")


def run(modules: dict[str, ModuleType], *, rounds: int, quick: bool) -> Iterator[tuple[str, list[Case]]]:
    """Runs workload after workload, and prints what is reached."""
    bytearray(_FREED)
    with Setting(quick) as setting:
        for name, module in modules.items():
            cases = []
            for case in module.cases(setting):
                print(f"{time.strftime('%H:%M:%S')} {name}: {case.title} (a {case.unit})", flush=True)
                case.run(rounds, lambda line: print(line, flush=True), seconds=0.0 if quick else SECONDS)
                cases.append(case)
            yield name, cases


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 1 where someone read wrong bytes, or the limit or this library failed; a missed mark is no failure."""
    modules = found()
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="which workloads to run")
    parser.add_argument("--all", action="store_true", help="run all of them")
    parser.add_argument("--list", action="store_true", help="say which there are")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"how often (default {ROUNDS})")
    parser.add_argument("--quick", action="store_true", help="a sixteenth of the data: to see that all runs")
    parser.add_argument("--output", type=Path, help="folder of RESULTS.md; with --all: here, else nothing is written")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in modules]
    if unknown:
        parser.error(f"no workload {', '.join(unknown)}; there are {', '.join(modules)}")
    if options.list or not (options.names or options.all):
        for name, module in modules.items():
            print(f"{name:24} {title(module)}")
        return 0
    chosen = modules if options.all else {name: modules[name] for name in options.names}
    load = machine.load()
    done = dict(run(chosen, rounds=options.rounds, quick=options.quick))
    output = options.output or (FOLDER if options.all and not options.quick else None)
    given = " ".join(sys.argv[1:] if arguments is None else arguments)
    titles = {name: title(module) for name, module in chosen.items()}
    page = results.written(done, titles, rounds=options.rounds, load=load, arguments=f" {given}" if given else "")
    if output is None:
        print(page)
    else:
        output.mkdir(parents=True, exist_ok=True)
        (output / "RESULTS.md").write_text(page)
        plot.draw(done, output / "RESULTS.svg")
    return int(any(case.failed for cases in done.values() for case in cases))


if __name__ == "__main__":
    sys.exit(main())
