"""Many whole resources before they are read: what to fetch for them, and how to make their bytes of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from datastack_fs.resource import Range, ResourceInfo, ResourceOpener


@dataclass(frozen=True, slots=True)
class ResourcesPlan:
    """What to fetch for many whole resources, and what makes their bytes of it.

    Attributes:
        requests: a store, the version of a resource in it, and ranges of that.
        contents: the bytes of each resource, from the answers to each request.
    """

    requests: Sequence[tuple[ResourceOpener, ResourceInfo, Sequence[Range]]]
    contents: Callable[[Sequence[Sequence[bytes | memoryview]]], list[bytes]]

    @classmethod
    def of_wholes(cls, connector: ResourceOpener, wanted: Sequence[ResourceInfo]) -> ResourcesPlan:
        """Each resource as one range of itself."""
        requests = [(connector, info, [(0, info.size)]) for info in wanted]
        return cls(requests, lambda answers: [bytes(content) for (content,) in answers])
