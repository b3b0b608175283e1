"""``import datastack_fs`` in a new interpreter."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import partial

from benchmarks.case import Case, Run
from benchmarks.setting import Setting

STARTS = 20


def cases(setting: Setting) -> Iterator[Case]:
    """The start of the interpreter counts in both."""
    case = Case("a new interpreter", unit="start", units=setting.scaled(STARTS))
    case.limit("bare interpreter", partial(started, "pass"))
    case.ours("import datastack_fs", partial(started, "import datastack_fs"), 3.0)
    case.ours("connect('memory://x')", partial(started, "import datastack_fs; datastack_fs.connect('memory://x')"))
    for name in ("fsspec", "numpy", "h5py", "s3fs", "torch"):
        case.peer(f"import {name}", partial(started, f"import {name}"), 3)
    yield case


def started(code: str, count: int) -> Run:
    """So many, one after the other."""
    yield
    codes = [subprocess.run([sys.executable, "-c", code], check=True).returncode for _ in range(count)]
    yield
    return codes
