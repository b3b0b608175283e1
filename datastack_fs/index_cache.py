"""Small files kept in the user's cache folder: indexes of resources that take a pass over all bytes to make.

The folder is ``$DATASTACK_CACHE``, else ``$XDG_CACHE_HOME/datastack-fs``, else ``~/.cache/datastack-fs``. Whatever is
wrong with it costs time, and never correctness: a damaged file is passed over, and a folder that can't be written to
means that an index is made anew each time.
"""

from __future__ import annotations

import hashlib
import json
import logging
import mmap
import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from datastack_fs.resource import ResourceInfo, StreamedResource

logger = logging.getLogger(__name__)

CACHE_VARIABLE: Final = "DATASTACK_CACHE"
MAX_BYTES: Final = 2 << 30
"""Of all files together; the ones that were used longest ago go first."""

_SEAL: Final = b"dsindex1"
_SEAL_BYTES: Final = len(_SEAL) + hashlib.sha256().digest_size
_ENDING: Final = ".dsindex"
_UNFINISHED: Final = ".part"
_FORGOTTEN: Final = 86400.0
"""Seconds after which an unfinished file was left behind by a killed process."""


@dataclass(frozen=True)
class IndexKey:
    """Which index of which version of which resource: equal keys are equal indexes.

    Attributes:
        store: the URL of the store, without secrets.
        info: the version of the resource.
        kind: of the index, and the version of its layout: ``"rows-1"``.
        parameters: what else it depends on; values that JSON has.

    Examples:
        >>> info = ResourceInfo("birds.csv", 120, "etag-1")
        >>> key = IndexKey("s3://lab", info, "rows-1", {"delimiter": ","})
        >>> key == IndexKey("s3://lab", info, "rows-1", {"delimiter": ","}), len(key.digest())
        (True, 64)
    """

    store: str
    info: ResourceInfo
    kind: str
    parameters: Any = None

    @classmethod
    def of(cls, resource: StreamedResource, kind: str, parameters: Any = None) -> IndexKey:
        """The key of an index of an open resource."""
        return cls(resource.connector.url, resource.info, kind, parameters)

    @property
    def lasts(self) -> bool:
        """Whether it means the same in another process: the versions of a store in memory do not."""
        return self.info.checksum is not None or "memory:" not in self.store

    def digest(self) -> str:
        """The name of the file that keeps it."""
        info = self.info
        parts = [self.store, info.identifier, info.version, info.size, info.checksum, self.kind, self.parameters]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class IndexCache:
    """The files of one cache folder; processes share it, and it holds no state.

    Args:
        folder: where; by default the user's.
        max_bytes: of all files together. A larger one is made, and not kept.

    Examples:
        >>> import tempfile
        >>> cache, key = IndexCache(tempfile.mkdtemp()), IndexKey("s3://lab", ResourceInfo("a.csv", 9, "1"), "rows-1")
        >>> cache.load(key) is None
        True
        >>> bytes(cache.store(key, [b"0 4", b" 8"])), bytes(cache.load(key))
        (b'0 4 8', b'0 4 8')
    """

    def __init__(self, folder: str | os.PathLike[str] | None = None, max_bytes: int = MAX_BYTES) -> None:
        self.folder = cache_folder() if folder is None else Path(folder)
        self._max_bytes = max_bytes

    def load(self, key: IndexKey) -> memoryview | None:
        """What was stored under a key, mapped into memory; None if there is nothing, or it is damaged."""
        if not key.lasts:
            return None
        path = self._path(key)
        try:
            with path.open("rb") as file:
                found = unsealed(_mapped(file))
            if found is None:
                logger.warning("%s is damaged: it is made anew", path)
            else:
                os.utime(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            logger.warning("the cache can't be read: %s", error)
            return None
        return found

    def store(self, key: IndexKey, parts: Iterable[bytes | memoryview]) -> memoryview | None:
        """Keeps the parts, one after the other, under a key, and gives them mapped into memory.

        Returns:
            the whole, also where it can't be kept because it is too large; None if the folder can't be written to, or
            the key doesn't last. What the parts themselves raise is passed on, and nothing is kept.
        """
        if not key.lasts:
            return None
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(_UNFINISHED, "", self.folder)
        except OSError as error:
            _warn_unwritable(error)
            return None
        unfinished, file = Path(name), os.fdopen(handle, "w+b")
        try:
            for piece in sealed(parts):
                # Only the file's own errors are the cache's: those of the parts may be OSErrors, too.
                if not _written(file, piece):
                    return None
            return self._finished(file, unfinished, key)
        finally:
            for leave in (file.close, unfinished.unlink):
                with suppress(OSError):
                    leave()

    def _finished(self, file: IO[bytes], unfinished: Path, key: IndexKey) -> memoryview | None:
        try:
            file.flush()
            content = memoryview(_mapped(file))[:-_SEAL_BYTES]
            if len(content) <= self._max_bytes:
                os.replace(unfinished, self._path(key))
                self._make_room()
        except OSError as error:
            _warn_unwritable(error)
            return None
        return content

    def _make_room(self) -> None:
        found = []
        now = time.time()
        for path in self.folder.iterdir():
            with suppress(OSError):  # another process removed it
                status = path.stat()
                if path.suffix == _UNFINISHED and now - status.st_mtime > _FORGOTTEN:
                    path.unlink()
                elif path.suffix == _ENDING:
                    found.append((status.st_mtime_ns, status.st_size, path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= self._max_bytes:
                break
            with suppress(OSError):
                path.unlink()
            total -= size

    def _path(self, key: IndexKey) -> Path:
        return self.folder / f"{key.digest()}{_ENDING}"


@contextmanager
def empty_cache() -> Iterator[None]:
    """For a time, this process has a new and empty cache folder: what is opened is opened as for the first time."""
    before = os.environ.get(CACHE_VARIABLE)
    with tempfile.TemporaryDirectory(prefix="datastack-", ignore_cleanup_errors=True) as folder:
        os.environ[CACHE_VARIABLE] = folder
        try:
            yield
        finally:
            os.environ.pop(CACHE_VARIABLE)
            os.environ.update({} if before is None else {CACHE_VARIABLE: before})


def cache_folder() -> Path:
    """The user's cache folder, which need not exist."""
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(named).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "datastack-fs"


def sealed(parts: Iterable[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    """The parts, and after them a seal by which a change to any byte is noticed.

    Examples:
        >>> content = b"".join(sealed([b"0 4", b" 8"]))
        >>> bytes(unsealed(content)), unsealed(content[1:]) is None
        (b'0 4 8', True)
    """
    hashing = hashlib.sha256()
    for part in parts:
        hashing.update(part)
        yield part
    yield _SEAL + hashing.digest()


def unsealed(content: bytes | memoryview | mmap.mmap) -> memoryview | None:
    """What was sealed; None if it was changed since."""
    view = memoryview(content)
    payload, seal = view[:-_SEAL_BYTES], view[-_SEAL_BYTES:]
    return payload if seal == _SEAL + hashlib.sha256(payload).digest() else None


def _mapped(file: IO[bytes]) -> mmap.mmap | bytes:
    empty = os.fstat(file.fileno()).st_size == 0
    return b"" if empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _written(file: IO[bytes], piece: bytes | memoryview) -> bool:
    try:
        file.write(piece)
    except OSError as error:
        _warn_unwritable(error)
        return False
    return True


def _warn_unwritable(error: OSError) -> None:
    logger.warning("the cache can't be written to, so what it would keep is made anew each time: %s", error)
