"""256 MiB sequential from S3 in 1 MiB reads, +20 ms and 64 MiB/s a connection."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.case import Case
from benchmarks.setting import Setting
from benchmarks.workloads.sequential_s3 import MIB, case_on

RATE = 64 * MIB


def cases(setting: Setting) -> Iterator[Case]:
    """What one connection to S3 gives."""
    yield case_on(setting, setting.s3(rate=RATE), "64 MiB/s a connection", (1.3, 2.0), (16,))
