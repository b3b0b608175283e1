"""The format of a resource, told by its first bytes or its ending, and what opens it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from datastack_fs.errors import MissingDependencyError, UnknownPluginError
from datastack_fs.plugins import Plugin, check_options, closest, keywords, takes_any
from datastack_fs.registry import FILES, FILES_PLUGIN, FORMATS, connector_class

if TYPE_CHECKING:
    from datastack_fs.iterators.base import DatasetIterator
    from datastack_fs.resource import StreamedResource
    from datastack_fs.storage import StorageConnector

_MAGIC_BYTES: Final = 64


@dataclass(frozen=True)
class _Marks:
    """How a format is known from outside."""

    endings: tuple[str, ...]
    magic: tuple[bytes, ...]


_BUILT_IN_MARKS = {
    "hdf5": _Marks((".h5", ".hdf5", ".hdf"), (b"\x89HDF\r\n\x1a\n",)),
    "npy": _Marks((".npy",), (b"\x93NUMPY",)),
    # A zip file, as those of other formats are: its first bytes don't tell.
    "npz": _Marks((".npz",), ()),
    "safetensors": _Marks((".safetensors",), ()),
    # Two zeros, the code of the type, the number of axes: http://yann.lecun.com/exdb/mnist/
    "idx": _Marks(
        (".idx", ".idx.gz", "-ubyte", "-ubyte.gz"),
        tuple(bytes([0, 0, code, axes]) for code in (8, 9, 11, 12, 13, 14) for axes in range(1, 5)),
    ),
    # Feather is Arrow's file format; of its first version, what is wrong with it is said.
    "arrow": _Marks((".arrow", ".arrows", ".feather", ".ipc"), (b"ARROW1", b"FEA1")),
    # A workbook is a zip file; of an older one (OLE2), what is wrong with it is said.
    "excel": _Marks((".xlsx", ".xlsm", ".xls"), (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",)),
    "torch": _Marks((".pt", ".pth"), ()),
    "parquet": _Marks((".parquet", ".pq"), (b"PAR1",)),
    "csv": _Marks((".csv", ".tsv", ".csv.gz", ".tsv.gz"), ()),
    "jsonl": _Marks((".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz"), ()),
    FILES: _Marks((".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz"), ()),
}


def open_format(resource: StreamedResource, format: str | None = None, **options: Any) -> DatasetIterator[Any]:  # noqa: A002
    """Opens a resource as a dataset; its format is told by its first bytes, else by its ending.

    Args:
        resource: the file.
        format: the name of the format, to tell it outright.
        **options: the keyword arguments of the format's iterator.

    Raises:
        UnknownPluginError: no such format, or none recognized; the message lists the known ones.
        ConfigError: an option that the format does not know.
    """
    name, iterator_class = format_for(resource, format)
    check_options(options, {name: format_options(iterator_class)})
    source = _archive(resource) if name == FILES else resource
    iterator: DatasetIterator[Any] = iterator_class(source, **options)
    return iterator


def open_files(connector: StorageConnector, prefix: str = "", **options: Any) -> DatasetIterator[Any]:
    """Opens a folder of a store as a dataset.

    Examples:
        >>> from datastack_fs.registry import connector_for
        >>> store = connector_for("memory://recognition-example")
        >>> info = store.set_resource("birds/owl.txt", b"hoo")
        >>> open_files(store, "birds/")[0]
        ('hoo', None, 'birds/owl.txt')
    """
    iterator_class = FILES_PLUGIN.load(f"format {FILES}")
    check_options(options, {FILES: files_options()})
    iterator: DatasetIterator[Any] = iterator_class(connector, prefix, **options)
    return iterator


def files_options() -> frozenset[str]:
    """The options of ``open_files``."""
    return keywords(FILES_PLUGIN.load(f"format {FILES}"))


def _archive(resource: StreamedResource) -> StorageConnector:
    """The connector of an archive that is a resource itself."""
    archive_class: Any = connector_class("zip::")
    connector: StorageConnector = archive_class(
        resource.connector, resource.identifier, keep_directory=True, info=resource.info
    )
    return connector


def format_for(resource: StreamedResource, format: str | None = None) -> tuple[str, Any]:  # noqa: A002
    """The name and the iterator class of a resource's format."""
    if format is not None:
        plugin = FORMATS.find(format)
        if plugin is None:
            known = FORMATS.names()
            raise UnknownPluginError(f"no format {format!r}{closest(format, known)}; known formats: {_format_list()}")
        return plugin.name, plugin.load(f"format {plugin.name}")
    ending = resource.identifier.lower()
    if ending.endswith(_BUILT_IN_MARKS[FILES].endings):  # before its first bytes, which other formats have, too
        return FILES, FILES_PLUGIN.load(f"format {FILES}")
    position = resource.tell()
    start = resource.read(_MAGIC_BYTES)
    resource.seek(position)
    formats = list(_formats())
    by_magic = (plugin for plugin, marks in formats if start.startswith(marks.magic))
    by_ending = (plugin for plugin, marks in formats if ending.endswith(marks.endings))
    found = next(by_magic, None) or next(by_ending, None)
    if found is None:
        raise UnknownPluginError(
            f"{resource.identifier}: neither its first bytes nor its ending tell a known format; say format=…, one "
            f"of: {_format_list()}"
        )
    claimed = FORMATS.find(found.name) or found  # it refuses a name that two projects claim
    return found.name, claimed.load(f"format {found.name}")


def format_options(iterator_class: Any) -> frozenset[str] | None:
    """The names of the options that a format's iterator takes; None if it passes any on."""
    return None if takes_any(iterator_class) else keywords(iterator_class, skip=1)


def expected_options(identifier: str, format: str | None = None) -> frozenset[str]:  # noqa: A002
    """The options of the format that a resource has by its name or ending, before it is opened.

    What has no ending may be a folder.

    Examples:
        >>> "targets" in expected_options("birds.npy"), expected_options("birds.xyz"), "decode" in expected_options("birds/")
        (True, frozenset(), True)
    """  # noqa: E501
    if format is None and "." not in identifier.rpartition("/")[2]:
        return files_options()
    for plugin, marks in _formats():
        if plugin.name == format or (format is None and identifier.lower().endswith(marks.endings)):
            return format_options(plugin.load(f"format {plugin.name}")) or frozenset()
    return frozenset()


def _formats() -> Iterator[tuple[Plugin, _Marks]]:
    """The formats that can be recognized, the built-in ones first; a third party's that can't be loaded is left out."""
    for plugin in FORMATS.plugins():
        marks = _BUILT_IN_MARKS.get(plugin.name)
        if marks is None:
            try:
                marks = _marks_of(plugin.load(f"format {plugin.name}"), plugin)
            except (UnknownPluginError, MissingDependencyError) as error:
                warnings.warn(f"{error}; the format is left out", stacklevel=2)
                continue
        yield plugin, marks


def _marks_of(iterator_class: Any, plugin: Plugin) -> _Marks:
    """What a third party's class says of itself; a text is one ending, not a row of letters."""
    marks: dict[str, tuple[Any, ...]] = {}
    for name, kind, example in (("endings", str, "('.wav',)"), ("magic", bytes, "(b'RIFF',)")):
        given = getattr(iterator_class, name, ())
        marks[name] = tuple(given) if isinstance(given, (tuple, list)) else (given,)
        for mark in marks[name]:
            if not isinstance(mark, kind) or not mark:
                raise UnknownPluginError(
                    f"format {plugin.name} of {plugin.distribution} has {name} = {given!r}: they look like {example}"
                )
    return _Marks(tuple(ending.lower() for ending in marks["endings"]), marks["magic"])


def _format_list() -> str:
    return ", ".join(f"{plugin.name} ({' '.join(marks.endings)})" for plugin, marks in _formats())
