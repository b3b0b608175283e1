"""What this library reaches beside its peers and beside the best that anyone could do: ``python -m benchmarks``."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

if str(ROOT / "tests") not in sys.path:
    sys.path.insert(0, str(ROOT / "tests"))  # where the harness is, which starts the servers
