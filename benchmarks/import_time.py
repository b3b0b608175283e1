"""How long ``import datastack_fs`` takes, as a multiple of starting a bare interpreter.

    python benchmarks/import_time.py

The two are run in turn, and the medians are compared, so that the load of the machine touches both alike.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Mapping

ROUNDS = 40
PROGRAMS: Mapping[str, str] = {
    "bare interpreter": "pass",
    "import datastack_fs": "import datastack_fs",
    "connect('memory://x')": "import datastack_fs; datastack_fs.connect('memory://x')",
    "import numpy": "import numpy",
}


def seconds(program: str) -> float:
    """How long a new interpreter takes for a program."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], check=True)
    return time.perf_counter() - began


def main() -> None:
    """Prints a table: milliseconds, and the multiple of the bare interpreter."""
    times: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for _ in range(ROUNDS):
        for name, program in PROGRAMS.items():
            times[name].append(seconds(program))
    medians = {name: statistics.median(values) for name, values in times.items()}
    bare = medians["bare interpreter"]
    print(f"{'':24} {'ms':>7} {'x bare':>7}")
    for name, median in medians.items():
        print(f"{name:24} {1000 * median:7.1f} {median / bare:7.2f}")


if __name__ == "__main__":
    main()
