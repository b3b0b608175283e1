"""Which files of a folder count, kept in a form that is small in memory and in a pickle."""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any, Final

import numpy as np

from datastack_fs.errors import DatasetNotFoundError, ResourceNotFoundError, UnsupportedStorageError
from datastack_fs.resource import ResourceInfo
from datastack_fs.resource_columns import ResourceColumns
from datastack_fs.storage import StorageConnector

_PASSED_OVER: Final = frozenset({"Thumbs.db", "desktop.ini", "__MACOSX"})
_MOST_SHOWN: Final = 8


class PackedTexts(Sequence[str]):
    """Many short texts in one piece of memory: a list of them takes twice the room, and ten times as long to pickle.

    Examples:
        >>> texts = PackedTexts(["owl", "", "naïve"])
        >>> texts[2], len(texts)
        ('naïve', 3)
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._text = "".join(texts)
        self._ends = array("q", accumulate(map(len, texts)))  # quicker for one at a time than one of numpy

    def __len__(self) -> int:
        return len(self._ends)

    def digest(self) -> str:
        """A digest of them all, in their order."""
        ends = self._ends if self._text.isascii() else list(accumulate(len(text.encode()) for text in self))
        hasher = hashlib.sha256(np.array(ends, dtype="<i8").tobytes())
        hasher.update(self._text.encode())
        return hasher.hexdigest()

    def __getitem__(self, index: Any) -> Any:
        """One text; indices are not negative."""
        return self._text[self._ends[index - 1] if index else 0 : self._ends[index]]

    def at(self, indices: Iterable[int]) -> list[str]:
        """Several texts."""
        text, ends = self._text, self._ends
        return [text[ends[index - 1] if index else 0 : ends[index]] for index in indices]

    def __iter__(self) -> Iterator[str]:
        return iter(self.at(range(len(self))))


class FileList(Sequence["ResourceInfo | str"]):
    """Files below a prefix: the version of each where it is known, else its identifier.

    Args:
        prefix: what all identifiers begin with.
        found: the files, by the rest of their identifiers.

    Examples:
        >>> found = [("owl.png", ResourceInfo("birds/owl.png", 3, "v1")), ("wren.png", None)]
        >>> files = FileList("birds/", ResourceColumns.of_scan(found))
        >>> files.identifier(1), files[0].size, files[1], files.at([0]).identifiers
        ('birds/wren.png', 3, 'birds/wren.png', ['birds/owl.png'])
    """

    def __init__(self, prefix: str, found: ResourceColumns) -> None:
        self._prefix = prefix
        self.names = PackedTexts(found.identifiers)
        self._versions = PackedTexts(found.versions)
        self._sizes = array("q", found.sizes)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: Any) -> Any:
        """What to read: the version, or the identifier where that is not known."""
        return self.at([index])[0]

    def at(self, files: Sequence[int]) -> ResourceColumns:
        """Several files, by their whole identifiers."""
        names = self.names.at(files)
        identifiers = [self._prefix + name for name in names] if self._prefix else names
        return ResourceColumns(identifiers, [self._sizes[file] for file in files], self._versions.at(files))

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
) -> ResourceColumns:
    """Lists the files of a dataset, once: what is below its folder.

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
        found = connector.list_versions(prefix).below(prefix)
        names = found.identifiers
        if any_hidden(names):
            found = found.taken([place for place, name in enumerate(names) if not is_hidden(name)])
        if not found:
            raise ResourceNotFoundError(f"there is no file in {what}")
    except UnsupportedStorageError as error:
        if named is None:
            raise UnsupportedStorageError(f"{error}; labels= takes a table, or a mapping, of the files") from error
        found = ResourceColumns.unknown(named)
    if named is not None:
        found = _only(found, named, what)
    if endings is None:
        return found
    wanted = _as_endings(endings)
    counting = [place for place, name in enumerate(found.identifiers) if name.lower().endswith(wanted)]
    if not counting:
        raise DatasetNotFoundError(
            f"none of the {len(found):,} files in {what} ends with {' '.join(wanted)}; there are "
            f"{endings_found(found.identifiers)}"
        )
    return found.taken(counting)


def _only(found: ResourceColumns, named: Collection[str], what: str) -> ResourceColumns:
    places = {name: place for place, name in enumerate(found.identifiers)}
    if not named:
        raise DatasetNotFoundError(f"labels= names no file of {what}")
    missing = [name for name in named if name not in places]
    if missing:
        shown = ", ".join(missing[:_MOST_SHOWN]) + (", …" if len(missing) > _MOST_SHOWN else "")
        raise DatasetNotFoundError(
            f"{len(missing):,} of {len(named):,} files that have a label are not in {what}: {shown}; there are "
            f"{len(places):,} files, {next(iter(places))} the first"
        )
    return found.taken([places[name] for name in named])


def _as_endings(endings: str | Iterable[str]) -> tuple[str, ...]:
    given = (endings,) if isinstance(endings, str) else tuple(endings)
    return tuple(f".{ending.lower().lstrip('.')}" for ending in given)


def is_hidden(name: str) -> bool:
    """Whether a file is what systems leave in folders: a hidden one, or one of a preview or a resource fork.

    Examples:
        >>> [is_hidden(name) for name in ("owl/1.png", ".git/x", "owl/.DS_Store", "__MACOSX/owl/1.png", "owl/Thumbs.db")]
        [False, True, True, True, True]
    """  # noqa: E501
    return name.startswith(".") or "/." in name or not _PASSED_OVER.isdisjoint(name.split("/"))


def any_hidden(names: Sequence[str]) -> bool:
    """Whether any of these names may be hidden; so quick that the others need not be looked at.

    Examples:
        >>> any_hidden(["owl/1.png", "wren.png"]), any_hidden(["owl/1.png", ".git/x"])
        (False, True)
    """
    text = "\n".join(["", *names])
    return any(part in text for part in ("\n.", "/.", *_PASSED_OVER))


def ending_of(name: str) -> str:
    """What follows the last dot of a name, with it, in lower case; "" where there is none.

    Examples:
        >>> ending_of("v1.0/owl.seg.PNG"), ending_of("v1.0/owl")
        ('.png', '')
    """
    _, dot, ending = name.rpartition("/")[2].rpartition(".")
    return f"{dot}{ending}".lower() if dot else ""


def endings_of(names: Iterable[str]) -> set[str]:
    """The endings of many names.

    Examples:
        >>> sorted(endings_of(["v1.0/owl", "wren.PNG", "owl.png"]))
        ['', '.png']
    """
    return set(map(ending_of, {name[name.rfind(".") :] for name in names}))


def endings_found(names: Iterable[str]) -> str:
    """The endings that there are, the most frequent first, for a message.

    Examples:
        >>> endings_found(["a.png", "b.PNG", "README"])
        '2 .png, 1 without'
    """
    counts = Counter(ending_of(name) or "without" for name in names)
    shown = ", ".join(f"{count:,} {ending}" for ending, count in counts.most_common(_MOST_SHOWN))
    return shown + (", …" if len(counts) > _MOST_SHOWN else "")
