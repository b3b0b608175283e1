"""A YAML or TOML file as plain data that remembers on which line each key stands."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from datastack_fs.errors import ConfigError

if TYPE_CHECKING:
    import yaml

KeyPath = tuple[str, ...]

MOST_ENTRIES: Final = 10_000
"""More than a configuration has; YAML aliases can make billions out of a few lines."""

_MERGE = "tag:yaml.org,2002:merge"
_TEXT = "tag:yaml.org,2002:str"


@dataclass(frozen=True)
class Place:
    """A line of a file."""

    file: Path
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass
class Document:
    """What a file says, and where it says it.

    Attributes:
        data: the plain data.
        places: the line of each key, by the path of keys that leads to it; ``()`` is the file.
    """

    data: dict[str, Any]
    places: dict[KeyPath, Place] = field(default_factory=dict)

    def place(self, path: KeyPath) -> Place:
        """Where a key stands, or the nearest one above it."""
        while path not in self.places and path:
            path = path[:-1]
        return self.places[path]

    def merged_with(self, overlay: Document) -> Document:
        """This document with another laid over it: mappings are merged key by key, anything else is replaced."""
        return Document(_merge(self.data, overlay.data), {**self.places, **overlay.places, (): self.places[()]})


def read_document(file: Path) -> Document:
    """Reads ``*.yaml``, ``*.yml`` or ``*.toml``.

    Raises:
        ConfigError: it can't be read, or its syntax is wrong; the message names file and line.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{file}: can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(f"{file}:{line}: not UTF-8 text") from error
    return _read_toml(file, text) if file.suffix == ".toml" else _read_yaml(file, text)


def _merge(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in overlay.items():
        below = merged.get(key)
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        merged[key] = _merge(below, value) if both else value  # type: ignore[arg-type]
    return merged


# YAML.


def _read_yaml(file: Path, text: str) -> Document:
    import yaml

    try:
        return _YAMLReader(file, text).read()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = ", ".join(part for part in (error.context, error.problem) if part)
        raise ConfigError(f"{file}:{mark.line + 1 if mark else 1}: {reason}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(f"{file}:{line}: a character that YAML does not allow: {error.reason}") from error


class _YAMLReader:
    """``yaml.safe_load`` that keeps lines, and refuses keys that are given twice or are no text."""

    def __init__(self, file: Path, text: str) -> None:
        import yaml

        self._yaml = yaml
        self._file = file
        self._loader = yaml.SafeLoader(text)

    def read(self) -> Document:
        root = self._loader.get_single_node()
        document = Document({}, {(): Place(self._file, 1)})
        if root is None:
            return document
        if not isinstance(root, self._yaml.MappingNode):
            raise self._refused(root, f"expected keys and values, found {self._kind(root)}")
        for number, (path, node) in enumerate(self._walk(root, (), ())):
            if number >= MOST_ENTRIES:
                raise self._refused(node, f"more than {MOST_ENTRIES:,} entries, aliases followed")
            document.places[path] = Place(self._file, _line(node))
        document.data = self._loader.construct_document(root)
        return document

    def _walk(
        self, node: yaml.Node, path: KeyPath, above: tuple[yaml.Node, ...]
    ) -> Iterator[tuple[KeyPath, yaml.Node]]:
        """Every key below a node, with its path."""
        if node in above:
            raise self._refused(node, "an alias that contains itself")
        if isinstance(node, self._yaml.MappingNode):
            yield from self._walk_mapping(node, path, (*above, node))
        elif isinstance(node, self._yaml.SequenceNode):
            for number, item in enumerate(node.value):
                yield (*path, str(number)), item
                yield from self._walk(item, (*path, str(number)), (*above, node))
        else:
            try:
                self._loader.construct_object(node)
            except ValueError as error:  # a date or a number that only looks like one
                raise self._refused(node, f"{'.'.join(path)}: {error}; write it in quotes") from error

    def _walk_mapping(
        self, mapping: yaml.MappingNode, path: KeyPath, above: tuple[yaml.Node, ...]
    ) -> Iterator[tuple[KeyPath, yaml.Node]]:
        seen: set[str] = set()
        # What "<<" brings in comes first: the mapping's own keys override it.
        for key, value in sorted(mapping.value, key=lambda pair: pair[0].tag != _MERGE):
            if key.tag == _MERGE:
                sources = value.value if isinstance(value, self._yaml.SequenceNode) else [value]
                for source in sources:
                    yield from self._walk(source, path, above)
                continue
            if key.tag != _TEXT:
                shown = key.value if isinstance(key, self._yaml.ScalarNode) else self._kind(key)
                raise self._refused(key, f"the key {shown} is not text; write it in quotes")
            if key.value in seen:
                raise self._refused(key, f"the key {'.'.join([*path, key.value])} is given twice")
            seen.add(key.value)
            yield (*path, key.value), key
            yield from self._walk(value, (*path, key.value), above)

    def _kind(self, node: yaml.Node) -> str:
        if isinstance(node, self._yaml.MappingNode):
            return "keys and values"
        return "a list" if isinstance(node, self._yaml.SequenceNode) else "a single value"

    def _refused(self, node: yaml.Node, reason: str) -> ConfigError:
        return ConfigError(f"{self._file}:{_line(node)}: {reason}")


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


# TOML.

_HEADER = re.compile(r"\s*\[{1,2}(?P<path>[^\[\]]+)\]{1,2}\s*(?:#.*)?$")
_KEY = re.compile(
    r"""\s*(?P<path>(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*="""
)
_PART = re.compile(r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'""")


def _read_toml(file: Path, text: str) -> Document:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]

    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"\(at line (\d+)", str(error))
        # "(at end of document)" has no number.
        line = int(found[1]) if found else text.count("\n") + 1
        raise ConfigError(f"{file}:{line}: {error}") from error
    return Document(data, {(): Place(file, 1), **_toml_places(file, text)})


def _toml_places(file: Path, text: str) -> dict[KeyPath, Place]:
    """The lines of headers and keys. Keys within an inline table have the line of the table."""
    places: dict[KeyPath, Place] = {}
    table: KeyPath = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            table = path = _toml_path(header["path"])
        elif key := _KEY.match(line):
            path = (*table, *_toml_path(key["path"]))
        else:
            continue
        for depth in range(1, len(path) + 1):
            places.setdefault(path[:depth], Place(file, number))
    return places


def _toml_path(text: str) -> KeyPath:
    return tuple(part.strip("\"'") for part in _PART.findall(text))
