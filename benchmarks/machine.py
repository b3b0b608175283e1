"""The machine and the versions that figures belong to."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from benchmarks import ROOT

REQUIREMENTS = Path(__file__).parent / "requirements.txt"


def packages() -> Iterator[tuple[str, str]]:
    """The peers and what they stand on, with the versions that are installed."""
    for line in REQUIREMENTS.read_text().splitlines():
        name = line.partition("#")[0].partition("=")[0].strip()
        if name:
            try:
                yield name, metadata.version(name)
            except metadata.PackageNotFoundError:
                yield name, "not installed"
    for name in ("curl", "aria2c"):
        path = shutil.which(name)
        yield (
            name,
            _first_line(path, "--version").split(" ")[-1 if name == "aria2c" else 1] if path else "not installed",
        )


def described() -> str:
    """Processor, cores, memory, system, Python and the commit, in a line."""
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    commit = _first_line("git", "-C", str(ROOT), "describe", "--always", "--dirty") or "unknown"
    return (
        f"{_processor()}, {cores} cores, {memory:.0f} GiB, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, commit {commit}"
    )


def load() -> float:
    """How many processes were running, on average over the last minute."""
    return os.getloadavg()[0]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _first_line(*command: str | None) -> str:
    try:
        done = subprocess.run([part or "" for part in command], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.partition("\n")[0]
