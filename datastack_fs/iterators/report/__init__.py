"""What an iterator holds, measured and written down: as data, JSON, YAML, Markdown or a page.

``report`` looks at some samples, counts labels, and times reading; it makes no full pass over a remote store unless
asked to. The data is a ``Report``, which knows how to be written.
"""

from datastack_fs.iterators.report.making import report
from datastack_fs.iterators.report.model import (
    ClassCount,
    ColumnReport,
    Example,
    Histogram,
    Report,
    SpeedReport,
    TargetReport,
)

__all__ = [
    "ClassCount",
    "ColumnReport",
    "Example",
    "Histogram",
    "Report",
    "SpeedReport",
    "TargetReport",
    "report",
]
