"""A filesystem and a root path in it, as one process uses them."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final
from urllib.parse import quote, unquote

import fsspec.core
from fsspec.asyn import AsyncFileSystem
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem
from fsspec.spec import AbstractFileSystem

from datastack_fs.connectors.fsspec_loop import gather_ranges, run_on_loop
from datastack_fs.credentials import expand, redact
from datastack_fs.errors import MissingDependencyError, UnknownPluginError
from datastack_fs.processes import PerProcess
from datastack_fs.reading import collection_paused
from datastack_fs.resource import Range

CONCURRENCY: Final = 16
"""Fewer than where the store is known: there may be one connection, or one disk, behind them."""

COPY_SECONDS: Final = 24 * 3600.0
"""Bound of an asynchronous copy: how long one takes can't be known, nor whether it goes on."""

_UNUSUAL = "#?*[]{}@:;,&=+ %!$'()~^|<>"

_memory_lock = PerProcess(threading.Lock)

# The filesystems that a child inherited, kept for ever: to collect one could end connections of the parent.
_inherited: list[AbstractFileSystem] = []


class Place:
    """Asks a filesystem for what is below the root: on the I/O thread if it is asynchronous, else under a lock.

    Few synchronous filesystems are safe to use from several threads: a connection has one conversation, and all
    readers of a file in fsspec's memory share its position.

    Args:
        fs: this process's own instance.
        root: the folder in it.
        deadline: seconds after which an asynchronous call is given up (copying a file may take longer).
    """

    def __init__(self, fs: AbstractFileSystem, root: str, deadline: float) -> None:
        while isinstance(fs, DirFileSystem):  # which says of a synchronous filesystem, too, that it is asynchronous
            fs, root = fs.fs, fs._join(root)
        self.fs = fs
        self.is_local = isinstance(fs, LocalFileSystem)
        self.is_memory = isinstance(fs, MemoryFileSystem)
        self._root = fs._strip_protocol(root).rstrip("/")
        self._is_async = isinstance(fs, AsyncFileSystem)
        find, general = ("_find", AsyncFileSystem) if self._is_async else ("find", AbstractFileSystem)
        self._finds = getattr(type(fs), find) is not getattr(general, find)  # a listing of its own, as stores have it
        self._deadline = deadline
        self._lock = threading.Lock()
        weakref.finalize(self, _let_go, os.getpid(), fs)
        self._encoded = self._find_encoded()

    def _find_encoded(self) -> str:
        """The characters to percent-encode: those that this filesystem would take for something else in a path."""
        versions = "#?" if getattr(self.fs, "version_aware", False) or "http" in self.fs.protocol else ""
        paths = {character: f"{self._root}/a{character}b" for character in _UNUSUAL}
        taken = "".join(character for character, path in paths.items() if self.fs._strip_protocol(path) != path)
        return f"%{versions}{taken}" if versions or taken else ""

    def path(self, name: str) -> str:
        """The filesystem's path of a name."""
        if self._encoded:
            name = "".join(quote(character, safe="") if character in self._encoded else character for character in name)
        return f"{self._root}/{name}" if self._root or self.fs.root_marker else name

    def call(self, method: str, *arguments: Any, timeout: float | None = None, **options: Any) -> Any:
        """Calls a method of the filesystem."""
        if self._is_async:
            coroutine = getattr(self.fs, f"_{method}")(*arguments, **options)
            return run_on_loop(self.fs.loop, asyncio.wait_for(coroutine, timeout or self._deadline))
        with collection_paused(), self._lock:
            return getattr(self.fs, method)(*arguments, **options)

    def info(self, name: str) -> dict[str, Any]:
        """What the filesystem tells of a file, never from a cache."""
        self.fs.invalidate_cache()
        try:
            found: dict[str, Any] = self.call("info", self.path(name))
        except NotADirectoryError as error:
            raise FileNotFoundError(name) from error  # a part of the path is a file
        return found

    def read(self, name: str, ranges: Sequence[Range]) -> Sequence[bytes | Exception]:
        """The bytes of ranges, or what went wrong with each."""
        path = self.path(name)
        if self._is_async:

            async def read_one(start: int, stop: int) -> bytes:
                content: bytes = await self.fs._cat_file(path, start=start, end=stop)
                return content

            return gather_ranges(self.fs.loop, read_one, ranges, concurrency=CONCURRENCY, timeout=self._deadline)
        starts, stops = [start for start, _ in ranges], [stop for _, stop in ranges]
        answers = self.call("cat_ranges", [path] * len(ranges), starts, stops, on_error="return")
        return [
            self._read_file(path, *wanted) if isinstance(answer, Exception) else answer
            for wanted, answer in zip(ranges, answers, strict=True)
        ]

    def _read_file(self, path: str, start: int, stop: int) -> bytes | Exception:
        """Reads a range in the plainest way: pyarrow's filesystems can't otherwise read one that begins at 0."""
        try:
            with collection_paused(), self._lock, self.fs.open(path, "rb") as file:
                file.seek(start)
                content: bytes = file.read(stop - start)
                return content
        except Exception as error:  # noqa: BLE001 (the caller translates it)
            return error

    def names(self, folder: str) -> Iterator[str]:
        """The names of all files below a folder, sorted; none if it is not there."""
        self.fs.invalidate_cache()
        top = self.path(folder).rstrip("/")
        start = f"{self._root}/" if self._root else ""
        paths = iter(self._flat(top)) if self._finds else self._walk(top)
        names = (path[len(start) :].lstrip("/") for path in paths if path.startswith(start))
        return iter(sorted(map(unquote, names))) if self._encoded else names

    def _flat(self, top: str) -> list[str]:
        try:
            return sorted(self.call("find", top))
        except FileNotFoundError:
            return []

    def _walk(self, folder: str) -> Iterator[str]:
        # Not fsspec's own walk: whatever error it meets below the top, it goes on as if the folder were empty.
        try:
            entries = self.call("ls", folder, detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return
        found = [(entry["name"].rstrip("/"), entry["type"]) for entry in entries]
        # A folder sorts with its slash: "a-b" comes before "a/b", which comes before "a0".
        for path in sorted(f"{path}/" if kind == "directory" else path for path, kind in found if path != folder):
            if path.endswith("/"):
                yield from self._walk(path.rstrip("/"))
            else:
                yield path

    def put(self, source: str, name: str) -> None:
        """Copies a local file there, not atomically."""
        self.call("put_file", source, self.path(name), timeout=COPY_SECONDS)

    def keep(self, name: str, content: bytes, overwrite: bool) -> None:
        """Stores bytes in fsspec's memory: one assignment, which other threads see before or after."""
        path = self.path(name)
        with _memory_lock.get():
            try:
                self.fs.pipe_file(path, content, mode="overwrite" if overwrite else "create")
            except FileExistsError as error:
                if overwrite or path not in self.fs.store:
                    raise NotADirectoryError(name) from error  # a part of the path is a file
                raise

    def move(self, source: str, target: str, overwrite: bool) -> None:
        """Moves a file onto another as atomically as the filesystem can; not overwriting is for local files only."""
        before, after = self.path(source), self.path(target)
        if self.is_local and overwrite:
            os.replace(before, after)
        elif self.is_local:
            os.link(before, after)
            os.unlink(before)
        elif not self._is_async and type(self.fs).mv is not AbstractFileSystem.mv:
            self.call("mv", before, after)
        else:  # fsspec's general mv would expand wildcards in the names
            self.call("cp_file", before, after, timeout=COPY_SECONDS)
            self.call("rm_file", before)

    def make_folders(self, name: str) -> None:
        """Makes the folders that lead to a name, but no bucket."""
        if self.is_local:
            os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
            return
        *folders, _ = self.path(name).split("/")
        for depth in range(1 if self.fs.root_marker == "/" else 2, len(folders) + 1):
            folder = "/".join(folders[:depth])
            if folder.strip("/") and not self.call("isdir", folder):
                with suppress(FileExistsError):
                    self.call("mkdir", folder, create_parents=False)

    def prune(self, name: str) -> None:
        """Removes the folders that a deleted name leaves empty, on this machine.

        Elsewhere ``rmdir`` may remove a folder with all that is in it, as pyarrow's does, or a bucket.
        """
        if self.is_local:
            *folders, _ = name.split("/")
            for depth in range(len(folders), 0, -1):
                try:
                    os.rmdir(self.path("/".join(folders[:depth])))
                except OSError:
                    return


def _let_go(pid: int, fs: AbstractFileSystem) -> None:
    if os.getpid() != pid:
        _inherited.append(fs)


def open_url(url: str, root: str, options: dict[str, Any], deadline: float) -> Place:
    """The filesystem of a URL; what the URL and the options take from the environment is read here."""
    with explained(url):
        fs, path = fsspec.core.url_to_fs(expand(url), skip_instance_cache=True, **expand(options))
    return Place(without_listings(fs), f"{path.rstrip('/')}/{root}" if root else path, deadline)


def open_given(fs: AbstractFileSystem, root: str, pid: int, deadline: float) -> Place:
    """A filesystem that a user made in the process ``pid``.

    An asynchronous one is made again in every process, its own included: for its cache of listings, and because a
    forked child can't use it. A synchronous one may hold a connection, and is made again in other processes.
    """
    keep = pid == os.getpid() and not isinstance(fs, AsyncFileSystem)
    return Place(fs if keep else without_listings(_again(fs)), root, deadline)


class MemoryPlace:
    """Makes a place in fsspec's memory; pickles with the files there, so that a spawned worker has them.

    Where there are files already, as in the process it came from, those are kept.
    """

    def __init__(self, fs: MemoryFileSystem, root: str, deadline: float) -> None:
        self._fs = fs
        self._root = root
        self._deadline = deadline

    def __call__(self) -> Place:
        """The place, for this process."""
        return Place(self._fs, self._root, self._deadline)

    def __getstate__(self) -> dict[str, Any]:
        with _memory_lock.get():
            files = {path: (self._fs.store[path].getvalue(), self._fs.store[path].created) for path in self._paths()}
        return {**self.__dict__, "files": files}

    def __setstate__(self, state: dict[str, Any]) -> None:
        files = state.pop("files")
        self.__dict__.update(state)
        with _memory_lock.get():
            if not self._paths():
                for path, (content, created) in files.items():
                    self._fs.store[path] = file = MemoryFile(self._fs, path, content)
                    file.created = created

    def _paths(self) -> list[str]:
        start = self._fs._strip_protocol(self._root) + "/"
        return [path for path in self._fs.store if path.startswith(start)]


def _again(fs: AbstractFileSystem) -> AbstractFileSystem:
    if isinstance(fs, MemoryFileSystem):
        return fs
    arguments = [_again(value) if isinstance(value, AbstractFileSystem) else value for value in fs.storage_args]
    options = {
        name: _again(value) if isinstance(value, AbstractFileSystem) else value
        for name, value in fs.storage_options.items()
        if name not in ("asynchronous", "loop")
    }
    return type(fs)(*arguments, skip_instance_cache=True, **options)


def without_listings(fs: AbstractFileSystem) -> AbstractFileSystem:
    """The filesystem with its cache of listings off; as a constructor's argument not every filesystem takes that."""
    inner: Any = fs
    while isinstance(inner, AbstractFileSystem):
        inner.dircache.use_listings_cache = False
        inner.dircache.clear()
        inner = getattr(inner, "fs", None)
    return fs


@contextmanager
def explained(url: str) -> Iterator[None]:
    """What fsspec says of a URL that it can't open, in this library's terms."""
    try:
        yield
    except ImportError as error:
        raise MissingDependencyError(f"{redact(url)} is read through fsspec, which says: {error}") from error
    except ValueError as error:
        if "rotocol" not in str(error):
            raise
        known = ", ".join(fsspec.available_protocols())
        raise UnknownPluginError(f"{redact(url)}: {error}; fsspec knows {known}") from error
