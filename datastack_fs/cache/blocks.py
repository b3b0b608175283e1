"""The blocks that ranges of resources lie in, and the keys that these are kept by."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from datastack_fs.resource import Content, Range, ResourceInfo

Keys = npt.NDArray[np.uint64]
"""One row of two numbers for each block."""

Request = tuple[ResourceInfo, Sequence[Range]]

_MASK: Final = (1 << 64) - 1
_STEPS: Final = 0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F  # odd, so that the blocks of a resource spread evenly


def resource_key(store: str, info: ResourceInfo, block_bytes: int) -> tuple[int, int]:
    """The key that those of a version's blocks are counted from."""
    parts = "\0".join((store, info.identifier, info.version, str(info.size), str(block_bytes)))
    digest = hashlib.blake2b(parts.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")


def name_key(store: str, identifier: str) -> int:
    """What stands for a resource of any version; never 0."""
    digest = hashlib.blake2b(f"{store}\0{identifier}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little") | 1


class Part(NamedTuple):
    """A run of bytes of a block, from an offset in it."""

    offset: int
    content: Content


class BlockPlan:
    """The blocks that requests touch, each once, and what is made of them.

    Args:
        store: tells apart stores whose resources have the same names and versions.
        wanted: versions, with ranges of each.
        block_bytes: the size of the blocks of a version; 0 for one that is not cached.

    Examples:
        >>> info = ResourceInfo("a", 200_000, "1")
        >>> plan = BlockPlan("s3://lab", [(info, [(65_000, 66_000), (10, 20)])], lambda info: 65_536)
        >>> plan.spans, plan.keys.shape
        ([(0, 0, 65536), (0, 65536, 131072)], (2, 2))
    """

    def __init__(self, store: str, wanted: Sequence[Request], block_bytes: Callable[[ResourceInfo], int]) -> None:
        self.wanted = wanted
        self.spans: list[tuple[int, int, int]] = []
        """Of each block: the request that it belongs to, its start and its stop."""
        self.hulls: list[tuple[int, int]] = []
        """Of each block: the start and the stop, in the block, of all that is wanted of it."""
        self._sizes: list[int] = []
        self._places: list[dict[int, int]] = []
        keys: list[tuple[int, int]] = []
        known: dict[tuple[int, int], tuple[int, dict[int, int]]] = {}
        for number, (info, ranges) in enumerate(wanted):
            size = block_bytes(info)
            self._sizes.append(size)
            if not size:
                self._places.append({})
                continue
            base = resource_key(store, info, size)
            owner, places = known.setdefault(base, (number, {}))  # a version may be asked for by several requests
            self._places.append(places)
            for start, stop in ranges:
                for block in range(start // size, -(-stop // size) if stop > start else 0):
                    low, high = max(start - block * size, 0), min(stop - block * size, size)
                    known_place = places.get(block)
                    if known_place is not None:
                        before = self.hulls[known_place]
                        self.hulls[known_place] = min(low, before[0]), max(high, before[1])
                    else:
                        self.hulls.append((low, high))
                        places[block] = len(keys)
                        keys.append(((base[0] + block * _STEPS[0]) & _MASK or 1, (base[1] + block * _STEPS[1]) & _MASK))
                        self.spans.append((owner, block * size, min((block + 1) * size, info.size)))
        self.keys: Keys = np.array(keys, np.uint64).reshape(-1, 2)

    @property
    def lengths(self) -> list[int]:
        """The bytes of each block."""
        return [stop - start for _, start, stop in self.spans]

    def found(self, contents: Sequence[Part | None]) -> dict[int, list[int]]:
        """The sizes of what was read of blocks that are there, by the request that they belong to."""
        sizes: dict[int, list[int]] = {}
        for (owner, _, _), part in zip(self.spans, contents, strict=True):
            if part is not None:
                sizes.setdefault(owner, []).append(len(part.content))
        return sizes

    def answers(
        self, contents: Sequence[Part | None], fetch: Callable[[Sequence[Request]], Sequence[Sequence[Content]]]
    ) -> list[Sequence[Content]]:
        """The ranges, out of the blocks that are there; of the others no more is fetched than is wanted."""
        missing: list[list[Range]] = []
        layouts = []
        for (_, ranges), size, places in zip(self.wanted, self._sizes, self._places, strict=True):
            rest: list[Range] = []
            layouts.append([_layout(wanted, size, places, contents, rest) for wanted in ranges])
            missing.append(rest)
        asked = [number for number, ranges in enumerate(missing) if ranges]
        found = fetch([(self.wanted[number][0], missing[number]) for number in asked]) if asked else []
        fetched = dict(zip(asked, found, strict=True))
        return [
            [_joined(pieces, fetched.get(number, ())) for pieces in layout] for number, layout in enumerate(layouts)
        ]


def _layout(
    wanted: Range, size: int, places: dict[int, int], contents: Sequence[Part | None], missing: list[Range]
) -> list[Content | int]:
    start, stop = wanted
    if not size:
        missing.append(wanted)
        return [len(missing) - 1]
    pieces: list[Content | int] = []
    open_start = -1  # of a run of blocks that are not there
    for block in range(start // size, -(-stop // size) if stop > start else 0):
        first = block * size
        part = contents[places[block]]
        if part is None:
            open_start = max(start, first) if open_start < 0 else open_start
            continue
        if open_start >= 0:
            pieces.append(len(missing))
            missing.append((open_start, first))
            open_start = -1
        first += part.offset
        whole = start <= first and stop - first >= len(part.content)
        pieces.append(part.content if whole else memoryview(part.content)[max(start - first, 0) : stop - first])
    if open_start >= 0:
        pieces.append(len(missing))
        missing.append((open_start, stop))
    return pieces


def _joined(pieces: Sequence[Content | int], fetched: Sequence[Content]) -> Content:
    parts = [fetched[piece] if isinstance(piece, int) else piece for piece in pieces]
    return parts[0] if len(parts) == 1 else b"".join(parts)
