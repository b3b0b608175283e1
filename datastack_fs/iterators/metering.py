"""Where a leaf's bytes are counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from datastack_fs.metrics import Metrics


@dataclass(frozen=True)
class LeafMeter:
    """The numbers of what a leaf reads from: a resource, or all of a store.

    Attributes:
        connector: of the store.
        identifier: of the resource; None for a leaf of many.
    """

    connector: Any
    identifier: str | None

    def read(self) -> Metrics:
        """The numbers of this process."""
        meter = self.connector.meter
        found: Metrics = meter.total if self.identifier is None else meter.of(self.identifier)
        return found


def meter_of(source: Any) -> LeafMeter | None:
    """Where the reads of a format's iterator are counted, by the first argument it is made with.

    Examples:
        >>> meter_of([1, 2, 3]) is None
        True
    """
    info, connector = getattr(source, "info", None), getattr(source, "connector", source)
    if not hasattr(connector, "meter"):
        return None
    return LeafMeter(connector, None if info is None else info.identifier)
