"""Connectors by URL scheme, formats and datasets by name.

Other projects add theirs with entry points in the groups ``datastack_fs.connectors`` (named by scheme),
``datastack_fs.formats`` (a class with attributes ``endings`` and ``magic``) and ``datastack_fs.datasets``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from datastack_fs.cache.settings import CACHE_OPTIONS, CacheSettings
from datastack_fs.credentials import expand, redact
from datastack_fs.errors import ConfigError, MissingDependencyError, UnknownPluginError
from datastack_fs.plugins import Plugin, PluginTable, check_options, closest, keywords, takes_any

if TYPE_CHECKING:
    from datastack_fs.storage import StorageConnector

_PACKAGE = "datastack_fs.connectors"
_FSSPEC: Final = f"{_PACKAGE}.fsspec_:FsspecStorageConnector"

FILES: Final = "files"
"""The format of folders and archives: it reads from a store, where the others read from one resource."""

FILES_PLUGIN: Final = Plugin(FILES, "datastack_fs.formats.files:FilesDatasetIterator")

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
        FILES_PLUGIN,
    ],
)

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*)(?:://|::)|(file):", re.IGNORECASE)
_ARCHIVES = {"zip", "tar"}
_READ_LATE = {"http", "https", "mongodb", "mongodb+srv"}


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
    own = keywords(connector.from_url) | (frozenset() if connector.not_cached or inner else CACHE_OPTIONS)
    if inner is not None:
        of_inner = connector_options(inner)
        return None if of_inner is None else own | of_inner
    return None if takes_any(connector) else own | keywords(connector)


def connector_for(url: str, /, **options: Any) -> StorageConnector:
    """The connector for a store's URL, or for the path of a folder.

    Args:
        url: ``s3://bucket/prefix``, ``mongodb://host/db?bucket=fs``, ``zip::s3://lab/birds.zip``, ``./datasets``, …
        **options: the keyword arguments of the connector's class; ``cache``, ``cache_size`` and ``cache_free``.

    Raises:
        UnknownPluginError: no connector for this scheme; the message lists the known ones.
        MissingDependencyError: it needs a package; the message says how to install it.
        ConfigError: an option that this connector does not know; the message lists the known ones.

    Examples:
        >>> connector_for("memory://registry-example", read_only=True)
        MemoryStorageConnector('memory://registry-example', read_only=True)
    """
    settings = CacheSettings.of(options)
    own = {name: value for name, value in options.items() if name not in CACHE_OPTIONS}
    check_options(own, {taker_of(url): connector_options(url)})
    connector = connector_class(url).from_url(_with_plain_scheme(url), **own)
    if settings is not None:
        connector.use_cache(settings)
    return connector


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
