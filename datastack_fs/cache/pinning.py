"""Resources that stay whole in a cache."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from datastack_fs.cache.block_cache import BlockCache, Fetch, fetched_blocks
from datastack_fs.cache.blocks import BlockPlan, Part, name_key
from datastack_fs.cache.folder import OpenCache
from datastack_fs.errors import ConfigError, StorageFullError
from datastack_fs.resource import ResourceInfo

_PINNED_AT_ONCE: Final = 32 << 20


class PinningCache(BlockCache):
    """A cache in which resources can be pinned: their blocks lie in segments of their own, which are never evicted."""

    def pin(self, store: str, info: ResourceInfo, block_bytes: Callable[[ResourceInfo], int], fetch: Fetch) -> None:
        """Keeps all blocks of a version until it is unpinned, in place of other versions of the resource.

        Raises:
            ConfigError: the versions of the store don't last, or the folder can't be used.
            StorageFullError: there is no room for it.
        """
        opened = self._opened()
        if opened is None or not opened.is_writable or not block_bytes(info):
            reason = "the versions of this store don't last" if opened else "the folder can't be used"
            raise ConfigError(f"{info.identifier} can't be pinned in the cache in {self.settings.folder}: {reason}")
        name = name_key(store, info.identifier)
        before = opened.segments.pinned(name)
        for start in range(0, info.size, _PINNED_AT_ONCE):
            wanted = [(info, [(start, min(start + _PINNED_AT_ONCE, info.size))])]
            plan = BlockPlan(store, wanted, block_bytes)
            numbers = range(len(plan.spans))
            contents: list[Part | None] = [Part(0, content) for content in fetched_blocks(plan, numbers, fetch)]
            if self._keep(opened, plan, numbers, contents, name) < len(numbers):
                self._remove(opened, set(opened.segments.pinned(name)) - set(before))
                raise StorageFullError(f"the cache in {self.settings.folder} has no room for all of {info.identifier}")
        self._remove(opened, before)

    def unpin(self, store: str, identifier: str) -> bool:
        """Lets a resource go that was pinned; whether it was."""
        opened = self._opened()
        pinned = opened.segments.pinned(name_key(store, identifier)) if opened else []
        if opened is not None and pinned:
            self._remove(opened, pinned)
        return bool(pinned)

    def _remove(self, opened: OpenCache, segments: Iterable[int]) -> None:
        with opened.locked() as is_ours:
            for segment in segments if is_ours else ():
                opened.segments.remove(segment)
