"""Connectors by URL scheme, formats by first bytes and ending, datasets by name.

Other projects add theirs with entry points in the groups ``datastack_fs.connectors`` (named by scheme),
``datastack_fs.formats`` (a class with attributes ``endings`` and ``magic``) and ``datastack_fs.datasets``.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from datastack_fs.credentials import expand, redact
from datastack_fs.errors import ConfigError, MissingDependencyError, UnknownPluginError
from datastack_fs.plugins import Plugin, PluginTable, check_options, closest, keywords, takes_any

if TYPE_CHECKING:
    from datastack_fs.iterators.base import DatasetIterator
    from datastack_fs.resource import StreamedResource
    from datastack_fs.storage import StorageConnector

_PACKAGE = "datastack_fs.connectors"
_FSSPEC: Final = f"{_PACKAGE}.fsspec_:FsspecStorageConnector"

FILES: Final = "files"
"""The format of folders and archives: it reads from a store, where the others read from one resource."""

_FILES: Final = Plugin(FILES, "datastack_fs.formats.files:FilesDatasetIterator")

CONNECTORS: Final = PluginTable(
    "datastack_fs.connectors",
    [
        Plugin("file", f"{_PACKAGE}.file:FileStorageConnector"),
        Plugin("memory", f"{_PACKAGE}.memory:MemoryStorageConnector"),
        Plugin("s3", f"{_PACKAGE}.s3:S3StorageConnector", "s3fs", "s3"),
        Plugin("s3a", f"{_PACKAGE}.s3:S3StorageConnector", "s3fs", "s3"),
        Plugin("gs", f"{_PACKAGE}.gcs:GCSStorageConnector", "gcsfs", "gcs"),
        Plugin("gcs", f"{_PACKAGE}.gcs:GCSStorageConnector", "gcsfs", "gcs"),
        Plugin("mongodb", f"{_PACKAGE}.gridfs_:GridFSStorageConnector", "pymongo", "mongodb"),
        Plugin("mongodb+srv", f"{_PACKAGE}.gridfs_:GridFSStorageConnector", "pymongo", "mongodb"),
        Plugin("http", f"{_PACKAGE}.http_:HTTPStorageConnector"),
        Plugin("https", f"{_PACKAGE}.http_:HTTPStorageConnector"),
        Plugin("zip", f"{_PACKAGE}.archive:ArchiveStorageConnector"),
        Plugin("tar", f"{_PACKAGE}.archive:ArchiveStorageConnector"),
    ],
)

DATASETS: Final = PluginTable(
    "datastack_fs.datasets",
    [
        Plugin("digits", "datastack_fs.datasets.digits:DigitsFactory"),
        Plugin("mnist", "datastack_fs.datasets.mnist:MNISTFactory"),
        Plugin("fashion-mnist", "datastack_fs.datasets.mnist:FashionMNISTFactory"),
        Plugin("iris", "datastack_fs.datasets.tabular:IrisFactory"),
        Plugin("wine", "datastack_fs.datasets.tabular:WineFactory"),
        Plugin("breast_cancer", "datastack_fs.datasets.tabular:BreastCancerFactory"),
    ],
)

FORMATS: Final = PluginTable(
    "datastack_fs.formats",
    [
        Plugin("hdf5", "datastack_fs.formats.hdf5:HDF5DatasetIterator"),
        Plugin("npy", "datastack_fs.formats.npy:NpyDatasetIterator"),
        Plugin("npz", "datastack_fs.formats.npz:NpzDatasetIterator"),
        Plugin("safetensors", "datastack_fs.formats.safetensors:SafetensorsDatasetIterator"),
        Plugin("idx", "datastack_fs.formats.idx:IDXDatasetIterator"),
        Plugin("arrow", "datastack_fs.formats.arrow:ArrowDatasetIterator", "pyarrow", "parquet"),
        Plugin("excel", "datastack_fs.formats.excel:ExcelDatasetIterator", "openpyxl", "excel"),
        Plugin("torch", "datastack_fs.formats.torch_:TorchDatasetIterator", "torch", "torch"),
        Plugin("parquet", "datastack_fs.formats.parquet:ParquetDatasetIterator", "pyarrow", "parquet"),
        Plugin("csv", "datastack_fs.formats.csv_:CSVDatasetIterator"),
        Plugin("jsonl", "datastack_fs.formats.jsonl:JSONLinesDatasetIterator"),
        _FILES,
    ],
)

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*)(?:://|::)|(file):", re.IGNORECASE)
_MAGIC_BYTES = 64
_ARCHIVES = {"zip", "tar"}
_READ_LATE = {"http", "https", "mongodb", "mongodb+srv"}


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


# Connectors.


def url_scheme(url: str) -> str | None:
    """The scheme of a URL, in lower case; None for a plain path.

    Examples:
        >>> url_scheme("s3://lab/birds"), url_scheme("zip::s3://lab/birds.zip"), url_scheme("./birds")
        ('s3', 'zip', None)
    """
    match = _URL.match(url)
    return (match[1] or match[2]).lower() if match else None


def connector_class(url: str) -> type[StorageConnector]:
    """The class of connector for a URL or path; it is imported, and nothing is connected.

    Raises:
        UnknownPluginError: no connector for this scheme.
        MissingDependencyError: a package that it needs is not installed.
    """
    scheme = url_scheme(expand(url)) or "file"
    plugin = CONNECTORS.find(scheme)
    found: type[StorageConnector]
    if plugin is not None:
        found = plugin.load(f"{scheme}://")
    else:
        _check_fsspec_knows(scheme)
        found = Plugin(scheme, _FSSPEC).load(f"{scheme}://")
    return found


def connector_options(url: str) -> frozenset[str] | None:
    """The names of the options that the connector of a URL takes; None if it passes any on.

    Examples:
        >>> sorted(connector_options("memory://birds")), sorted(connector_options("zip::memory://birds/owls.zip"))
        (['read_only'], ['max_ratio', 'read_only'])
    """
    connector = connector_class(url)
    inner = _archived(url)
    own = keywords(connector.from_url)
    if inner is not None:
        of_inner = connector_options(inner)
        return None if of_inner is None else own | of_inner
    return None if takes_any(connector) else own | keywords(connector)


def connector_for(url: str, /, **options: Any) -> StorageConnector:
    """The connector for a store's URL, or for the path of a folder.

    Args:
        url: ``s3://bucket/prefix``, ``mongodb://host/db?bucket=fs``, ``zip::s3://lab/birds.zip``, ``./datasets``, …
        **options: the keyword arguments of the connector's class.

    Raises:
        UnknownPluginError: no connector for this scheme; the message lists the known ones.
        MissingDependencyError: it needs a package; the message says how to install it.
        ConfigError: an option that this connector does not know; the message lists the known ones.

    Examples:
        >>> connector_for("memory://registry-example", read_only=True)
        MemoryStorageConnector('memory://registry-example', read_only=True)
    """
    check_options(options, {taker_of(url): connector_options(url)})
    return connector_class(url).from_url(_with_plain_scheme(url), **options)


def split_resource_url(url: str) -> tuple[str, str]:
    """Splits a resource's URL into the store's URL and the identifier in it.

    Raises:
        ConfigError: it names a store, and no resource in it.

    Examples:
        >>> split_resource_url("s3://lab/birds/train.h5")
        ('s3://lab', 'birds/train.h5')
    """
    store, identifier = split_dataset_url(url)
    if not identifier:
        raise ConfigError(f"{redact(url)} names a store, not a resource in it")
    return store, identifier


def split_dataset_url(url: str) -> tuple[str, str]:
    """Splits the URL of a resource, of a folder, or of a whole store, whose identifier is "".

    Examples:
        >>> split_dataset_url("s3://lab/birds/"), split_dataset_url("s3://lab")
        (('s3://lab', 'birds/'), ('s3://lab', ''))
    """
    return connector_class(url).split_url(_with_plain_scheme(url))


def taker_of(url: str) -> str:
    """What to call the connector of a URL in a message: ``s3://``, ``zip::s3://``."""
    scheme = url_scheme(expand(url)) or "file"
    inner = _archived(url)
    return f"{scheme}://" if inner is None else f"{scheme}::{taker_of(inner)}"


def keeps_references(url: str) -> bool:
    """Whether the connector of a URL takes it with its ``${NAME}`` in it, and reads them when it connects.

    It then never holds a secret that the URL has from the environment. The others have none in their URLs.
    """
    inner = _archived(url)
    if inner is not None:
        return keeps_references(inner)
    plain: str = expand(url)
    scheme = url_scheme(plain) or "file"
    return scheme in _READ_LATE or CONNECTORS.find(scheme) is None or redact(plain) != plain


def _archived(url: str) -> str | None:
    """The URL of the archive that a URL looks into; None if it looks into none."""
    plain: str = expand(url)
    return plain.partition("::")[2] if url_scheme(plain) in _ARCHIVES and "::" in plain else None


def _with_plain_scheme(url: str) -> str:
    scheme = url_scheme(url)
    return url if scheme is None or url.startswith(scheme) else type(url)(scheme + url[len(scheme) :])


def _check_fsspec_knows(scheme: str) -> None:
    import fsspec

    try:
        fsspec.get_filesystem_class(scheme)
    except ValueError:
        known = CONNECTORS.names()
        extras = {plugin.extra: plugin for plugin in reversed(CONNECTORS.plugins()) if plugin.extra}
        needs = ", ".join(f"{plugin.name} needs 'datastack-fs[{extra}]'" for extra, plugin in extras.items())
        guess = closest(scheme, [*known, *fsspec.available_protocols()])
        raise UnknownPluginError(
            f"no connector for {scheme}://{guess}; known schemes: {', '.join(known)} ({needs}), and those of "
            "fsspec.available_protocols()"
        ) from None
    except ImportError as error:
        raise MissingDependencyError(f"{scheme}:// is read through fsspec, which says: {error}") from error


# Formats.


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
        >>> store = connector_for("memory://registry-example")
        >>> info = store.set_resource("birds/owl.txt", b"hoo")
        >>> open_files(store, "birds/")[0]
        ('hoo', None, 'birds/owl.txt')
    """
    iterator_class = _FILES.load(f"format {FILES}")
    check_options(options, {FILES: files_options()})
    iterator: DatasetIterator[Any] = iterator_class(connector, prefix, **options)
    return iterator


def files_options() -> frozenset[str]:
    """The options of ``open_files``."""
    return keywords(_FILES.load(f"format {FILES}"))


def _archive(resource: StreamedResource) -> StorageConnector:
    """The connector of an archive that is a resource itself."""
    archive_class: Any = connector_class("zip::")
    connector: StorageConnector = archive_class(resource.connector, resource.identifier, keep_directory=True)
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
        return FILES, _FILES.load(f"format {FILES}")
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
