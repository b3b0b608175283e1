"""Which files of a folder count, kept in a form that is small in memory and in a pickle."""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from itertools import accumulate
from typing import Any, Final, TypeAlias

import numpy as np

from datastack_fs.errors import DatasetNotFoundError, ResourceNotFoundError, UnsupportedStorageError
from datastack_fs.resource import ResourceInfo
from datastack_fs.storage import StorageConnector

Found: TypeAlias = "list[tuple[str, ResourceInfo | None]]"
"""Names below the dataset's folder, and versions where the listing tells them."""

_PASSED_OVER: Final = frozenset({"Thumbs.db", "desktop.ini", "__MACOSX"})
_MOST_SHOWN: Final = 8
_UNKNOWN: Final = -1


class PackedTexts(Sequence[str]):
    """Many short texts in one piece of memory: a list of them takes twice the room, and ten times as long to pickle.

    Examples:
        >>> texts = PackedTexts(["owl", "", "naïve"])
        >>> texts[2], len(texts)
        ('naïve', 3)
    """

    def __init__(self, texts: Iterable[str]) -> None:
        encoded = [text.encode() for text in texts]
        self._bytes = b"".join(encoded)
        self._ends = array("q", accumulate(map(len, encoded)))  # quicker for one at a time than one of numpy

    def __len__(self) -> int:
        return len(self._ends)

    def digest(self) -> str:
        """A digest of them all, in their order."""
        hasher = hashlib.sha256(np.array(self._ends, dtype="<i8").tobytes())
        hasher.update(self._bytes)
        return hasher.hexdigest()

    def __getitem__(self, index: Any) -> Any:
        """One text; indices are not negative."""
        start = self._ends[index - 1] if index else 0
        return self._bytes[start : self._ends[index]].decode()


class FileList(Sequence["ResourceInfo | str"]):
    """Files below a prefix: the version of each where it is known, else its identifier.

    Args:
        prefix: what all identifiers begin with.
        found: the rest of each identifier, and its version.

    Examples:
        >>> files = FileList("birds/", [("owl.png", ResourceInfo("birds/owl.png", 3, "v1")), ("wren.png", None)])
        >>> files.identifier(1), files[0].size, files[1]
        ('birds/wren.png', 3, 'birds/wren.png')
    """

    def __init__(self, prefix: str, found: Sequence[tuple[str, ResourceInfo | None]]) -> None:
        self._prefix = prefix
        self.names = PackedTexts(name for name, _ in found)
        self._versions = PackedTexts(info.version if info else "" for _, info in found)
        self._sizes = np.array([info.size if info else _UNKNOWN for _, info in found], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: Any) -> Any:
        """What to read: the version, or the identifier where that is not known."""
        identifier, size = self.identifier(index), int(self._sizes[index])
        return identifier if size == _UNKNOWN else ResourceInfo(identifier, size, self._versions[index])

    def identifier(self, index: int) -> str:
        """The identifier of a file."""
        return f"{self._prefix}{self.names[index]}"


def find_files(
    connector: StorageConnector,
    prefix: str,
    what: str,
    *,
    named: Collection[str] | None = None,
    endings: str | Iterable[str] | None = None,
) -> Found:
    """Lists the files of a dataset, once.

    Args:
        connector: the store.
        prefix: of the identifiers; "" or with a slash at its end.
        what: names the dataset in messages.
        named: the files that it consists of, in their order; by default all of them, sorted.
        endings: of the files that count; by default all.

    Raises:
        ResourceNotFoundError: there is no file.
        DatasetNotFoundError: none that counts, or one that is named is not there.
    """
    try:
        found: Found = [
            (name, info)
            for name, info in ((each[len(prefix) :], info) for each, info in connector.scan_resources(prefix))
            if not is_hidden(name)
        ]
        if not found:
            raise ResourceNotFoundError(f"there is no file in {what}")
    except UnsupportedStorageError as error:
        if named is None:
            raise UnsupportedStorageError(f"{error}; labels= takes a table, or a mapping, of the files") from error
        found = [(name, None) for name in named]
    if named is not None:
        found = _only(found, named, what)
    wanted = _as_endings(endings)
    counting = [(name, info) for name, info in found if name.lower().endswith(wanted)]
    if not counting:
        raise DatasetNotFoundError(
            f"none of the {len(found):,} files in {what} ends with {' '.join(wanted)}; there are "
            f"{endings_found(name for name, _ in found)}"
        )
    return counting


def _only(found: Found, named: Collection[str], what: str) -> Found:
    versions = dict(found)
    if not named:
        raise DatasetNotFoundError(f"labels= names no file of {what}")
    missing = [name for name in named if name not in versions]
    if missing:
        shown = ", ".join(missing[:_MOST_SHOWN]) + (", …" if len(missing) > _MOST_SHOWN else "")
        raise DatasetNotFoundError(
            f"{len(missing):,} of {len(named):,} files that have a label are not in {what}: {shown}; there are "
            f"{len(versions):,} files, {next(iter(versions))} the first"
        )
    return [(name, versions[name]) for name in named]


def _as_endings(endings: str | Iterable[str] | None) -> tuple[str, ...]:
    if endings is None:
        return ("",)
    given = (endings,) if isinstance(endings, str) else tuple(endings)
    return tuple(f".{ending.lower().lstrip('.')}" for ending in given)


def is_hidden(name: str) -> bool:
    """Whether a file is what systems leave in folders: a hidden one, or one of a preview or a resource fork.

    Examples:
        >>> [is_hidden(name) for name in ("owl/1.png", ".git/x", "owl/.DS_Store", "__MACOSX/owl/1.png", "owl/Thumbs.db")]
        [False, True, True, True, True]
    """  # noqa: E501
    return name.startswith(".") or "/." in name or not _PASSED_OVER.isdisjoint(name.split("/"))


def ending_of(name: str) -> str:
    """What follows the last dot of a name, with it, in lower case; "" where there is none.

    Examples:
        >>> ending_of("v1.0/owl.seg.PNG"), ending_of("v1.0/owl")
        ('.png', '')
    """
    _, dot, ending = name.rpartition("/")[2].rpartition(".")
    return f"{dot}{ending}".lower() if dot else ""


def endings_found(names: Iterable[str]) -> str:
    """The endings that there are, the most frequent first, for a message.

    Examples:
        >>> endings_found(["a.png", "b.PNG", "README"])
        '2 .png, 1 without'
    """
    counts = Counter(ending_of(name) or "without" for name in names)
    shown = ", ".join(f"{count:,} {ending}" for ending, count in counts.most_common(_MOST_SHOWN))
    return shown + (", …" if len(counts) > _MOST_SHOWN else "")
