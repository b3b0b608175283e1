"""A cache of blocks of remote resources on this machine's disk, shared by all its processes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, TypeAlias

import numpy as np

from datastack_fs.cache.blocks import BlockPlan, Keys, Part, Request
from datastack_fs.cache.claims import LONGEST_WAIT
from datastack_fs.cache.folder import CacheFolder, OpenCache
from datastack_fs.cache.records import read_part, record_bytes, record_of
from datastack_fs.cache.reuse import note_rejected
from datastack_fs.cache.settings import CacheSettings
from datastack_fs.cache.table import (
    CLOCK,
    DAMAGED_BLOCKS,
    FETCHED_BLOCKS,
    FETCHED_BYTES,
    FOUND_BLOCKS,
    FOUND_BYTES,
    SEGMENTS,
)
from datastack_fs.resource import Content, ResourceInfo

logger = logging.getLogger(__name__)

Fetch: TypeAlias = Callable[[Sequence[Request]], Sequence[Sequence[Content]]]

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.001, 0.02
_WRITTEN_AT_ONCE: Final = 512
_PAUSE_AFTER_FAILURE: Final = 60.0
"""Seconds for which nothing is written after a write failed."""


class BlockCache:
    """Serves ranges out of blocks that are kept, and keeps what it has to fetch, as far as there is room.

    While there is room every block is kept. After that a block is kept only in place of data that nobody has asked
    for during more than an epoch, so that an epoch over more than the cache holds finds what fits of it each time.
    Whatever is wrong with the folder costs time, and is logged once: the bytes are then fetched.

    Args:
        settings: where, and how large.

    Examples:
        >>> import tempfile
        >>> from datastack_fs.resource import ResourceInfo
        >>> cache, info = BlockCache(CacheSettings(tempfile.mkdtemp(), free=0, size=10**7)), ResourceInfo("a", 4, "1")
        >>> def fetch(wanted): return [[b"abcd"[start:stop] for start, stop in ranges] for _, ranges in wanted]
        >>> def read(): return bytes(cache.read("s3://lab", [(info, [(1, 3)])], lambda info: 1024, fetch)[0][0])
        >>> def never(wanted): raise AssertionError
        >>> read(), bytes(cache.read("s3://lab", [(info, [(0, 4)])], lambda info: 1024, never)[0][0])
        (b'bc', b'abcd')
    """

    def __init__(self, settings: CacheSettings) -> None:
        self.settings = settings
        self._folder = CacheFolder(settings)
        self._has_warned = False
        self._no_writes_before = 0.0

    def read(
        self,
        store: str,
        wanted: Sequence[Request],
        block_bytes: Callable[[ResourceInfo], int],
        fetch: Fetch,
        note: Callable[[str, int, int], None] | None = None,
    ) -> list[Sequence[Content]]:
        """The ranges of each version, from the cache as far as they are there.

        Args:
            store: tells apart stores whose resources have the same names and versions.
            wanted: versions, with ranges of each.
            block_bytes: the size of the blocks of a version; 0 for one that is not cached.
            fetch: reads ranges from the store. What it raises is passed on.
            note: is told, by identifier, how many blocks were there, and their bytes.
        """
        opened = self._opened()
        if opened is None:
            return list(fetch(wanted))
        plan = BlockPlan(store, wanted, block_bytes)
        contents: list[Part | None] = [None] * len(plan.spans)
        missing = self._load(opened, plan, contents, range(len(contents)))
        if note is not None:
            for owner, sizes in plan.found(contents).items():
                note(wanted[owner][0].identifier, len(sizes), sum(sizes))
        if missing:
            self._fetch(opened, plan, contents, missing, fetch)
        return plan.answers(contents, fetch)

    # Reading.

    def _load(
        self, opened: OpenCache, plan: BlockPlan, contents: list[Part | None], numbers: Sequence[int]
    ) -> list[int]:
        """Reads those blocks that are there; gives the others."""
        if not numbers:
            return []
        opened.segments.close_removed()
        keys = plan.keys[list(numbers)]
        missing, damaged = [], []
        places = opened.table.find(keys)
        there, *columns = (column.tolist() for column in places)
        for number, key, is_there, segment, length, offset, checksum in zip(
            numbers, keys, there, *columns, strict=True
        ):
            part = None
            if is_there:
                record = partial(opened.segments.read, segment, offset)
                try:
                    part = read_part(record, key, length, checksum, plan.hulls[number])
                except OSError as error:
                    self._warn("can't be read", error)
                else:
                    if part is None:
                        damaged.append(number)
            contents[number] = part
            if part is None:
                missing.append(number)
        if damaged:
            self._drop(opened, plan, damaged)
        used = np.unique(places.segments[places.is_there]) % np.uint64(SEGMENTS)
        self._note_found(opened, used, [contents[number] for number in numbers])
        return missing

    def _note_found(self, opened: OpenCache, used: Keys, contents: Sequence[Part | None]) -> None:
        if not opened.is_writable:
            return
        head = opened.table.head
        sizes = [len(part.content) for part in contents if part is not None]
        head[CLOCK] += sum(sizes)
        head[FOUND_BLOCKS] += len(sizes)
        head[FOUND_BYTES] += sum(sizes)
        opened.table.segments[used, 1] = head[CLOCK]

    def _drop(self, opened: OpenCache, plan: BlockPlan, numbers: Sequence[int]) -> None:
        """Forgets blocks that are not as they were written; not those that are being replaced just now."""
        if not opened.is_writable:
            return
        with opened.locked() as is_ours:
            if not is_ours:
                return
            for number in numbers:
                key = plan.keys[number]
                place = opened.table.find(key[None])
                if not place.is_there[0]:
                    continue
                if not opened.is_intact(key, place, 0):
                    opened.table.drop((int(key[0]), int(key[1])))
                    opened.table.head[DAMAGED_BLOCKS] += 1
                    logger.warning("a block in %s is damaged: it is fetched again", self.settings.folder)

    # Fetching.

    def _fetch(
        self, opened: OpenCache, plan: BlockPlan, contents: list[Part | None], missing: list[int], fetch: Fetch
    ) -> None:
        """Fetches those of the missing blocks that can be kept, each once on this machine, and keeps them."""
        mine, others = self._claim(opened, plan, missing)
        if mine:
            try:
                for number, content in zip(mine, fetched_blocks(plan, mine, fetch), strict=True):
                    contents[number] = Part(0, content)
                self._keep(opened, plan, mine, contents)
            finally:
                self._release(opened, plan, mine)
        if others:
            self._wait(opened, plan, contents, others)

    def _claim(self, opened: OpenCache, plan: BlockPlan, missing: list[int]) -> tuple[list[int], list[int]]:
        """Which of the missing blocks to fetch whole and keep, and which ones others are fetching."""
        mine: list[int] = []
        others: list[int] = []
        if not opened.is_writable:
            return mine, others
        try:
            with opened.locked() as is_ours:
                if not is_ours:
                    return mine, others
                # Others may have kept some since these were looked for.
                there = opened.table.find(plan.keys[missing]).is_there.tolist()
                others += [number for number, is_there in zip(missing, there, strict=True) if is_there]
                missing = [number for number, is_there in zip(missing, there, strict=True) if not is_there]
                lengths = [record_bytes(length) for length in plan.lengths]
                head = opened.table.head
                head[CLOCK] += sum(lengths[number] for number in missing)
                room = 0
                if time.monotonic() >= self._no_writes_before:
                    room = opened.segments.room(sum(lengths[number] for number in missing))
                fitting: list[int] = []
                for number in missing:
                    room -= lengths[number]
                    if room < 0:
                        break
                    fitting.append(number)
                note_rejected(opened.table, plan.keys[missing[len(fitting) :]])
                free = opened.claims.claim(plan.keys[fitting, 0].tolist())
                for number, is_mine in zip(fitting, free, strict=True):
                    (mine if is_mine else others).append(number)
        except OSError as error:
            self._fail(error)
        return mine, others

    def _keep(
        self, opened: OpenCache, plan: BlockPlan, numbers: Sequence[int], contents: Sequence[Part | None], pin: int = 0
    ) -> int:
        """Writes blocks, as many as there is room for; gives how many."""
        kept = 0
        for first in range(0, len(numbers), _WRITTEN_AT_ONCE):
            some = numbers[first : first + _WRITTEN_AT_ONCE]
            written = self._write(opened, plan, some, contents, pin)
            kept += written
            if written < len(some):
                break
        return kept

    def _write(
        self, opened: OpenCache, plan: BlockPlan, numbers: Sequence[int], contents: Sequence[Part | None], pin: int
    ) -> int:
        blocks = [part.content for number in numbers if (part := contents[number]) is not None]
        records = [record_of(plan.keys[number], content) for number, content in zip(numbers, blocks, strict=True)]
        try:
            with opened.locked() as is_ours:
                if not is_ours:
                    return 0
                places = opened.segments.append([record for record, _ in records], pin)
                for number, content, (_, checksum), (segment, offset) in zip(
                    numbers, blocks, records, places, strict=False
                ):
                    key = plan.keys[number]
                    opened.table.put((int(key[0]), int(key[1])), segment, len(content), offset, checksum)
                opened.table.head[FETCHED_BLOCKS] += len(places)
                opened.table.head[FETCHED_BYTES] += sum(len(content) for content in blocks[: len(places)])
        except OSError as error:
            self._fail(error)
            return 0
        return len(places)

    def _release(self, opened: OpenCache, plan: BlockPlan, numbers: Sequence[int]) -> None:
        with suppress(OSError), opened.locked() as is_ours:
            if is_ours:
                opened.claims.release(plan.keys[list(numbers), 0].tolist())

    def _wait(self, opened: OpenCache, plan: BlockPlan, contents: list[Part | None], numbers: list[int]) -> None:
        """Waits for what others fetch; what does not come, or not in time, stays missing."""
        until = time.monotonic() + LONGEST_WAIT
        pause = _SHORTEST_PAUSE
        while True:
            claimed = [number for number in numbers if opened.claims.is_claimed(int(plan.keys[number, 0]))]
            if len(claimed) < len(numbers) or not claimed:
                self._load(opened, plan, contents, [number for number in numbers if number not in set(claimed)])
                numbers = claimed
            if not numbers or time.monotonic() >= until:
                return
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    # What goes wrong.

    def _opened(self) -> OpenCache | None:
        try:
            return self._folder.open()
        except (OSError, ValueError) as error:
            self._warn("can't be used", error)
            return None

    def _fail(self, error: OSError) -> None:
        self._no_writes_before = time.monotonic() + _PAUSE_AFTER_FAILURE
        self._warn("can't be written to", error)

    def _warn(self, what: str, error: Exception) -> None:
        if not self._has_warned:
            self._has_warned = True
            logger.warning("the cache in %s %s, so blocks are fetched: %s", self.settings.folder, what, error)


def fetched_blocks(plan: BlockPlan, numbers: Sequence[int], fetch: Fetch) -> list[Content]:
    """Whole blocks, in order: those of one version in one request."""
    of_version: dict[int, list[int]] = {}
    for number in numbers:
        of_version.setdefault(plan.spans[number][0], []).append(number)
    answers = fetch(
        [(plan.wanted[owner][0], [plan.spans[each][1:] for each in mine]) for owner, mine in of_version.items()]
    )
    found: dict[int, Content] = {}
    for mine, contents in zip(of_version.values(), answers, strict=True):
        found.update(zip(mine, contents, strict=True))
    return [found[number] for number in numbers]
