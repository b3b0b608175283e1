"""Where data is kept: a store by URL, by profile or by default, and resources and datasets in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from datastack_fs import recognition, registry
from datastack_fs.cache.settings import CACHE_OPTIONS
from datastack_fs.credentials import expand
from datastack_fs.errors import ConfigError, ResourceNotFoundError, UnsupportedStorageError
from datastack_fs.plugins import check_options
from datastack_fs.profile_choice import absolute_url, find_profile
from datastack_fs.profiles import Profile
from datastack_fs.storage import StorageConnector

if TYPE_CHECKING:
    from datastack_fs.iterators.base import DatasetIterator
    from datastack_fs.iterators.meta import DatasetMeta
    from datastack_fs.resource import StreamedResource

Storage: TypeAlias = "str | os.PathLike[str] | Mapping[str, Any] | StorageConnector"
"""Whatever names a store."""


def connect(storage: Storage | None = None, /, **options: Any) -> StorageConnector:
    """The connector of a store.

    Args:
        storage: one of

            - a URL (``s3://bucket/prefix``, ``mongodb://host/db?bucket=fs``, ``zip::./birds.zip``, …);
            - the name of a profile of the configuration file;
            - a path: text with a ``/`` in it (``./datasets``), or a ``pathlib.Path``;
            - a mapping with ``url``, and either ``options`` and ``read_only`` or the options themselves;
            - a connector, which is returned as it is;
            - None: what ``$DATASTACK_STORAGE`` says, else the configuration file's ``default``, else ``./datasets``.
        **options: keyword arguments of the connector's class. They win over the profile's, and those over what the
            store's own SDK finds in the environment. For any remote store: ``cache``, the folder of a cache on this
            machine's disk, with ``cache_size="200 GB"`` and ``cache_free="5 GB"``, the disk space that it leaves.

    Raises:
        UnknownPluginError: a bare word that is no profile, or a scheme without a connector.
        ConfigError: a broken configuration file, an unknown option, a variable that is not set.
        MissingDependencyError: the store needs a package; the message says how to install it.

    Examples:
        >>> connect("memory://config-example")
        MemoryStorageConnector('memory://config-example')
        >>> connect({"url": "memory://config-example", "read_only": True})
        MemoryStorageConnector('memory://config-example', read_only=True)
    """
    return _connect(_target(storage), options)


def open_resource(url: str | os.PathLike[str], *, storage: Storage | None = None, **options: Any) -> StreamedResource:
    """Opens a resource lazily, as a binary file.

    Args:
        url: a resource's URL (``s3://lab/birds/train.h5``), or the path of a file. With ``storage`` it is an
            identifier in that store instead.
        storage: a store, as ``connect`` takes it.
        **options: keyword arguments of the connector's class.

    Raises:
        ResourceNotFoundError: there is none of that name.

    Examples:
        >>> info = connect("memory://config-example").set_resource("birds/owl.txt", b"hoo")
        >>> open_resource("memory://config-example/birds/owl.txt").read()
        b'hoo'
        >>> open_resource("birds/owl.txt", storage="memory://config-example").read()
        b'hoo'
    """
    target, identifier = _locate(url, storage)
    return _open(target, identifier, options)


def open_dataset(
    url: str | os.PathLike[str],
    *,
    format: str | None = None,  # noqa: A002
    storage: Storage | None = None,
    **options: Any,
) -> DatasetIterator[Any]:
    r"""Opens a file of samples, a folder or an archive of files, lazily.

    A file's format is told by its first bytes, else by its ending; an archive (``.zip``, ``.tar``, ``.tar.gz``, …) by
    its ending alone, since other formats are zip files, too.

    Args:
        url: as for ``open_resource``; or that of a folder, ``s3://lab/birds/`` (without the slash it is looked for as
            a resource first), of a whole store, or of an archive and a folder in it, ``zip://train::s3://lab/birds.zip``.
        format: the name of the format, to tell it outright: ``hdf5``, ``npy``, ``npz``, ``safetensors``, ``torch``,
            ``idx``, ``csv``, ``jsonl``, ``parquet``, ``arrow``, ``excel``, ``files``, or a third party's.
        storage: as for ``open_resource``.
        **options: keyword arguments of the connector's class, and of the format's iterator; a name that both know is
            the connector's.

    Raises:
        ResourceNotFoundError: there is none of that name.
        UnknownPluginError: the format is not known.
        ConfigError: an option that neither connector nor format knows.

    Examples:
        >>> labels = b"\0\0\x08\1\0\0\0\3" + bytes([4, 5, 6])
        >>> info = connect("memory://config-example").set_resource("labels.idx", labels)
        >>> [int(label) for label, _, _ in open_dataset("memory://config-example/labels.idx")]
        [4, 5, 6]
    """
    return open_described(url, storage, format, options)


def open_described(
    url: str | os.PathLike[str],
    storage: Storage | None,
    format: str | None,  # noqa: A002
    options: Mapping[str, Any],
    describe: Callable[[str], DatasetMeta] | None = None,
) -> DatasetIterator[Any]:
    """As ``open_dataset``; ``describe`` makes the meta of a format that takes one, out of the identifier."""
    target, identifier = _locate(url, storage, registry.split_dataset_url)
    if isinstance(target, Profile):
        target.check_environment(overridden=list(options))
    of_connector = _of_connector(target, identifier, format, options)
    of_format = {name: expand(value) for name, value in options.items() if name not in of_connector}
    connector = _connect(target, of_connector)
    try:
        resource = _find(connector, identifier, format)
        if resource is None:
            taken: frozenset[str] | None = recognition.files_options()
            check_options(of_format, dict([_taker(target), (registry.FILES, taken)]))
            if describe is not None and "meta" in (taken or ()):
                of_format = {"meta": describe(identifier), **of_format}
            return recognition.open_files(connector, identifier, **of_format)
        try:
            name, iterator_class = recognition.format_for(resource, format)
            taken = recognition.format_options(iterator_class)
            check_options(of_format, dict([_taker(target), (name, taken)]))
            if describe is not None and (taken is None or "meta" in taken):
                of_format = {"meta": describe(identifier), **of_format}
            return recognition.open_format(resource, name, **of_format)
        except BaseException:
            resource.close()
            raise
    except BaseException:
        if connector is not target:
            connector.close()
        raise


def connector_options(
    url: str | os.PathLike[str],
    storage: Storage | None,
    format: str | None,  # noqa: A002
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """Those of the options of ``open_dataset`` that are the connector's."""
    return _of_connector(*_locate(url, storage), format, options)


def locate(url: str | os.PathLike[str], storage: Storage | None = None, **options: Any) -> tuple[StorageConnector, str]:
    """The connector and the identifier that a resource's URL stands for; nothing is read.

    Examples:
        >>> locate("memory://config-example/birds/owl.txt")
        (MemoryStorageConnector('memory://config-example'), 'birds/owl.txt')
    """
    target, identifier = _locate(url, storage)
    return _connect(target, options), identifier


def _target(storage: Storage | None) -> Profile | StorageConnector:
    return storage if isinstance(storage, StorageConnector) else find_profile(storage)


def _locate(
    url: str | os.PathLike[str],
    storage: Storage | None,
    split: Callable[[str], tuple[str, str]] = registry.split_resource_url,
) -> tuple[Profile | StorageConnector, str]:
    address = os.fspath(url)
    if storage is not None:
        return _target(storage), address
    if isinstance(url, os.PathLike):
        address = os.path.abspath(address)
    store, identifier = split(address)
    return Profile("storage", store), identifier


def _taker(target: Profile | StorageConnector) -> tuple[str, frozenset[str] | None]:
    """What to call the taker of a store's options, and their names."""
    if isinstance(target, StorageConnector):
        return "a connector that is there already", frozenset()
    url = absolute_url(target)
    return registry.taker_of(url), registry.connector_options(url)


def _of_connector(
    target: Profile | StorageConnector,
    identifier: str,
    format: str | None,  # noqa: A002
    options: Mapping[str, Any],
) -> dict[str, Any]:
    _, known = _taker(target)
    if known is None:  # the store takes any option: the format's own are those that it spells out
        spelled = recognition.expected_options(identifier, format)
        return {name: value for name, value in options.items() if name not in spelled}
    return {name: value for name, value in options.items() if name in known}


def _open(target: Profile | StorageConnector, identifier: str, options: Mapping[str, Any]) -> StreamedResource:
    connector = _connect(target, options)
    try:
        return connector.get_resource(identifier)
    except BaseException:
        if connector is not target:
            connector.close()
        raise


def _find(connector: StorageConnector, identifier: str, format: str | None) -> StreamedResource | None:  # noqa: A002
    """The resource of that name; None if it is a folder of resources."""
    may_be_folder = format in (None, registry.FILES)
    if not identifier or identifier.endswith("/"):
        if may_be_folder:
            return None
        raise ConfigError(f"{identifier or connector.url} is a folder, and format={format!r} reads one file")
    try:
        return connector.get_resource(identifier)
    except ResourceNotFoundError:
        if may_be_folder and _has_resources(connector, f"{identifier}/"):
            return None
        raise


def _has_resources(connector: StorageConnector, folder: str) -> bool:
    try:
        return next(connector.list_resources(folder), None) is not None
    except UnsupportedStorageError:  # a web server has no listing: it is not known to be one
        return False


def _connect(target: Profile | StorageConnector, options: Mapping[str, Any]) -> StorageConnector:
    if isinstance(target, StorageConnector):
        if options:
            raise TypeError(f"{target!r} is connected already: it takes no options ({', '.join(options)})")
        return target
    target.check_environment(overridden=list(options))
    _check_profile_options(target)
    read_only = {} if target.read_only is None else {"read_only": target.read_only}
    return registry.connector_for(absolute_url(target), **{**read_only, **target.options, **options})


def _check_profile_options(profile: Profile) -> None:
    taker, known = _taker(profile)
    for name in [
        name for name in profile.options if name not in CACHE_OPTIONS
    ]:  # those are judged by the connector itself
        try:
            check_options({name: None}, {taker: known})
        except ConfigError as error:
            raise ConfigError(f"{profile.place(('options', name))}{profile.label}.options: {error}") from None
