"""A lock that a store holds: one process does some work, and the others wait for it."""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import threading
import time
from typing import TYPE_CHECKING, Final

from datastack_fs.errors import (
    DatastackError,
    ResourceChangedError,
    ResourceExistsError,
    ResourceNotFoundError,
    UnsupportedStorageError,
)

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from datastack_fs.storage import StorageConnector

logger = logging.getLogger(__name__)

STALE_SECONDS: Final = 30.0
_BEATS = 6
_SHORTEST_PAUSE = 0.05
_LONGEST_PAUSE = 1.0


class Lease:
    """A resource that is there while its holder works, rewritten ever again while the holder lives.

    A waiter takes it over when its version has stayed the same for ``stale_after`` seconds of the waiter's own clock:
    no clocks are compared. It saves work and guards nothing: two waiters may take over at once, and a holder that the
    network kept away may come back. What is done under it must be right when done twice. A store that can't create a
    resource atomically goes without.

    Args:
        connector: the store.
        identifier: the name of the resource.
        stale_after: seconds without a sign of life.

    Examples:
        >>> from datastack_fs.connectors.memory import MemoryStorageConnector
        >>> connector = MemoryStorageConnector("lease-example")
        >>> with Lease(connector, "birds/prepare.lock"):
        ...     connector.has_resource("birds/prepare.lock")
        True
        >>> connector.has_resource("birds/prepare.lock")
        False
    """

    def __init__(self, connector: StorageConnector, identifier: str, *, stale_after: float = STALE_SECONDS) -> None:
        self._connector = connector
        self._identifier = identifier
        self._stale_after = stale_after
        self._owner = secrets.token_hex(8)
        self._beats = 0
        self._ended = threading.Event()
        self._heart: threading.Thread | None = None

    def __enter__(self) -> Self:
        if self._acquire():
            self._heart = threading.Thread(target=self._beat, name=f"lease of {self._identifier}", daemon=True)
            self._heart.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._heart is None:
            return
        self._ended.set()
        self._heart.join()
        try:
            if self._look()[1] == self._owner:
                self._connector.delete_resource(self._identifier)
        except ResourceNotFoundError:
            pass
        except DatastackError as failure:  # the work is done, or has an error of its own: others wait a while longer
            logger.warning("%s stays behind: %s", self._identifier, failure)

    def _acquire(self) -> bool:
        """Waits until it is ours; False where the store has no such thing."""
        seen, since = "", time.monotonic()
        pause = _SHORTEST_PAUSE
        while True:
            try:
                self._connector.set_resource(self._identifier, self._content(), overwrite=False)
                return True
            except ResourceExistsError:
                version, owner = self._look()
            except UnsupportedStorageError:
                return False
            if owner == self._owner:  # it was created, but the store's answer got lost
                return True
            if version != seen:
                logger.info("waiting for %s, held by %s", self._identifier, owner or "nobody now")
                seen, since = version, time.monotonic()
            elif time.monotonic() - since >= self._stale_after:
                self._remove(version)
                continue
            time.sleep(min(pause, self._stale_after / _BEATS))
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _remove(self, version: str) -> None:
        logger.warning("%s shows no sign of life: it is taken over", self._identifier)
        try:
            if self._look()[0] == version:
                self._connector.delete_resource(self._identifier)
        except ResourceNotFoundError:
            pass

    def _beat(self) -> None:
        while not self._ended.wait(self._stale_after / _BEATS):
            try:
                if self._look()[1] != self._owner:
                    logger.warning("%s was taken over by another process", self._identifier)
                    return
                self._connector.set_resource(self._identifier, self._content())
            except DatastackError as error:
                logger.warning("no sign of life for %s: %s", self._identifier, error)

    def _content(self) -> bytes:
        self._beats += 1  # other bytes each time: S3 names versions by content
        facts = {"owner": self._owner, "host": socket.gethostname(), "pid": os.getpid(), "beat": self._beats}
        return json.dumps(facts).encode()

    def _look(self) -> tuple[str, str]:
        """Version and owner; empty if it is gone, or is being replaced just now."""
        try:
            with self._connector.get_resource(self._identifier) as resource:
                content, version = resource.read(), resource.info.version
        except (ResourceNotFoundError, ResourceChangedError):
            return "", ""
        try:
            return version, str(json.loads(content)["owner"])
        except (ValueError, KeyError, TypeError):
            return version, "an unknown owner"
