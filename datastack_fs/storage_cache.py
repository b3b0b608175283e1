"""What stands between a connector's verbs and its store: the requests that are made, and a cache of blocks, if any."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from datastack_fs.errors import ConfigError
from datastack_fs.identifiers import check_identifier
from datastack_fs.processes import PerProcess
from datastack_fs.reading import BLOCK_BYTES, RangePlan
from datastack_fs.resource import Content, Range, ResourceInfo
from datastack_fs.storage_access import StorageAccess
from datastack_fs.threads import map_in_threads

if TYPE_CHECKING:
    from datastack_fs.cache.pinning import PinningCache
    from datastack_fs.cache.settings import CacheSettings

Request = tuple[ResourceInfo, Sequence[Range]]


class StorageCache(StorageAccess):
    """The part of a connector that every read goes through; ``StorageConnector`` has it from here."""

    gap_bytes: int = 64 << 10
    """Ranges at most this far apart are fetched in one request."""

    part_bytes: int = 2 << 20
    """Longer ranges are fetched in several requests."""

    concurrency: ClassVar[int] = 32
    """Most resources that ``read_resources`` reads at once."""

    not_cached: ClassVar[str] = ""
    """Why a cache makes no sense for this kind of store; "" where it does."""

    _cache: PerProcess[PinningCache] | None = None

    @property
    def is_cached(self) -> bool:
        """Whether reads go through a cache on this machine's disk."""
        return self._cache is not None

    def use_cache(self, settings: CacheSettings) -> None:
        """Reads through a cache from now on, as ``connect(url, cache=…)`` has it.

        Raises:
            ConfigError: a cache makes no sense for this kind of store.
        """
        if self.not_cached:
            raise ConfigError(f"cache=… makes no sense for {self.url}: {self.not_cached}")
        from datastack_fs.cache.pinning import PinningCache

        self._cache = PerProcess(partial(PinningCache, settings))

    def pin(self, identifier: str) -> ResourceInfo:
        """Fetches a resource into the cache, where it stays whole until ``unpin``; another version of it goes.

        Returns:
            the version.

        Raises:
            ConfigError: there is no cache, or the versions of this store don't last.
            StorageFullError: the cache has no room for it.
        """
        info = self._described(check_identifier(identifier))
        self._pinning().pin(self._cache_identity(), info, self._block_bytes, self._read_many)
        return info

    def unpin(self, identifier: str) -> bool:
        """Lets the cache drop a resource again; whether it was pinned.

        Raises:
            ConfigError: there is no cache.
        """
        return self._pinning().unpin(self._cache_identity(), check_identifier(identifier))

    # Hooks.

    def _block_bytes(self, info: ResourceInfo) -> int:
        """The size of the blocks that a version is cached in; 0 if its name may come to stand for other bytes."""
        return BLOCK_BYTES

    def _cache_identity(self) -> str:
        """Tells the store apart from any other one whose resources have the same names and versions."""
        return self.url

    def _read_many(self, wanted: Sequence[Request]) -> list[Sequence[Content]]:
        """The ranges of each version, read from the store."""
        return map_in_threads(self._read_planned, wanted, self.concurrency)

    # What the verbs share.

    @abstractmethod
    def _described(self, wanted: str | ResourceInfo) -> ResourceInfo:
        """The version itself, or the present one of an identifier."""

    def _pinning(self) -> PinningCache:
        if self._cache is None:
            raise ConfigError(f"{self.url} has no cache to pin in: connect(url, cache=…)")
        return self._cache.get()

    def _read_all(self, wanted: Sequence[Request]) -> list[Sequence[Content]]:
        """The ranges of each version, from the cache as far as they are there."""
        if self._cache is None:
            return self._read_many(wanted)
        return self._cache.get().read(
            self._cache_identity(), wanted, self._block_bytes, self._read_many, self._note_found
        )

    def _read_planned(self, wanted: Request) -> Sequence[Content]:
        info, ranges = wanted
        plan = RangePlan(ranges, gap=self.gap_bytes, part=self.part_bytes)
        answers = self._fetch(info, plan.requests)
        self.meter.note(info.identifier, used_bytes=sum(stop - start for start, stop in ranges))
        return plan.views(answers)

    def _note_found(self, identifier: str, blocks: int, size: int) -> None:
        self.meter.note(identifier, cache_hits=blocks, cached_bytes=size)
