"""Any dataset, in any store, through one iterator.

>>> import datastack_fs
>>> connector = datastack_fs.connect("memory://package-example")
>>> info = connector.set_resource("birds/owl.txt", b"hoo")
>>> connector.get_resource("birds/owl.txt").read()
b'hoo'

The names are loaded when they are used: importing the package imports no other project's.
"""

# Not typing's: importing typing would take as long as the rest of this package's import.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any

    from datastack_fs.bridges import collate_columns, to_dask, to_hf, to_ray, to_torch
    from datastack_fs.config import connect, open_dataset, open_resource
    from datastack_fs.connectors import (
        ArchiveStorageConnector,
        FileStorageConnector,
        FsspecStorageConnector,
        HTTPStorageConnector,
        MemoryStorageConnector,
    )
    from datastack_fs.connectors import GCSStorageConnector as GCSStorageConnector
    from datastack_fs.connectors import GridFSFileSystem as GridFSFileSystem
    from datastack_fs.connectors import GridFSStorageConnector as GridFSStorageConnector
    from datastack_fs.connectors import S3StorageConnector as S3StorageConnector
    from datastack_fs.errors import (
        ConfigError,
        DatasetFileCorruptError,
        DatasetNotFoundError,
        DatastackError,
        MalformedIdentifierError,
        MaliciousFilePathError,
        MissingDependencyError,
        ReadOnlyStorageError,
        ResourceChangedError,
        ResourceConflictError,
        ResourceExistsError,
        ResourceNotFoundError,
        RetrievalError,
        StorageFullError,
        StoragePermissionError,
        StorageUnavailableError,
        UnknownPluginError,
        UnsupportedStorageError,
    )
    from datastack_fs.factory import DatasetFactory
    from datastack_fs.formats.hdf5_writing import store_hdf5
    from datastack_fs.iterators import (
        BlockShuffledDatasetIterator,
        ColumnBatches,
        CombinedDatasetIterator,
        DataFrameDatasetIterator,
        DatasetIterator,
        DatasetIteratorView,
        DatasetMeta,
        FeatureEncodedDatasetIterator,
        FilteredDatasetIterator,
        InMemoryDatasetIterator,
        MappedDatasetIterator,
        RepeatedDatasetIterator,
        SampledDatasetIterator,
        SequenceDatasetIterator,
        ShuffledDatasetIterator,
        TargetMappedDatasetIterator,
        ZippedDatasetIterator,
    )
    from datastack_fs.iterators.encoding import fit_encoding
    from datastack_fs.iterators.encoding_saved import load_encoding, save_encoding
    from datastack_fs.iterators.report import Report, report
    from datastack_fs.iterators.splits import (
        group_k_fold,
        group_split,
        hash_split,
        k_fold,
        load_split,
        nested_k_fold,
        random_split,
        save_split,
        stratified_k_fold,
        stratified_split,
    )
    from datastack_fs.preprocessing import Preprocessor
    from datastack_fs.repository import DatasetRepository, load_dataset
    from datastack_fs.resource import ResourceInfo, StreamedResource
    from datastack_fs.retrieval import (
        FileRetriever,
        HTTPRetriever,
        ResourceDefinition,
        Retriever,
        StorageRetriever,
    )
    from datastack_fs.storage import StorageConnector
    from datastack_fs.training import (
        BatchPlan,
        PlannedBatches,
        ResumableBatchSampler,
        ResumableLoader,
        TolerantBatches,
        shuffle_quality,
    )

    __version__: str

# What an import of everything gives: the names that load without any extra.
__all__ = [
    "ArchiveStorageConnector",
    "BatchPlan",
    "BlockShuffledDatasetIterator",
    "ColumnBatches",
    "CombinedDatasetIterator",
    "ConfigError",
    "DataFrameDatasetIterator",
    "DatasetFactory",
    "DatasetFileCorruptError",
    "DatasetIterator",
    "DatasetIteratorView",
    "DatasetMeta",
    "DatasetNotFoundError",
    "DatasetRepository",
    "DatastackError",
    "FeatureEncodedDatasetIterator",
    "FileRetriever",
    "FileStorageConnector",
    "FilteredDatasetIterator",
    "FsspecStorageConnector",
    "HTTPRetriever",
    "HTTPStorageConnector",
    "InMemoryDatasetIterator",
    "MalformedIdentifierError",
    "MaliciousFilePathError",
    "MappedDatasetIterator",
    "MemoryStorageConnector",
    "MissingDependencyError",
    "PlannedBatches",
    "Preprocessor",
    "ReadOnlyStorageError",
    "RepeatedDatasetIterator",
    "Report",
    "ResourceChangedError",
    "ResourceConflictError",
    "ResourceDefinition",
    "ResourceExistsError",
    "ResourceInfo",
    "ResourceNotFoundError",
    "ResumableBatchSampler",
    "ResumableLoader",
    "RetrievalError",
    "Retriever",
    "SampledDatasetIterator",
    "SequenceDatasetIterator",
    "ShuffledDatasetIterator",
    "StorageConnector",
    "StorageFullError",
    "StoragePermissionError",
    "StorageRetriever",
    "StorageUnavailableError",
    "StreamedResource",
    "TargetMappedDatasetIterator",
    "TolerantBatches",
    "UnknownPluginError",
    "UnsupportedStorageError",
    "ZippedDatasetIterator",
    "collate_columns",
    "connect",
    "fit_encoding",
    "group_k_fold",
    "group_split",
    "hash_split",
    "k_fold",
    "load_dataset",
    "load_encoding",
    "load_split",
    "nested_k_fold",
    "open_dataset",
    "open_resource",
    "random_split",
    "report",
    "save_encoding",
    "save_split",
    "shuffle_quality",
    "store_hdf5",
    "stratified_k_fold",
    "stratified_split",
    "to_dask",
    "to_hf",
    "to_ray",
    "to_torch",
]

_MODULES = {
    "bridges": ("collate_columns", "to_dask", "to_hf", "to_ray", "to_torch"),
    "config": ("connect", "open_dataset", "open_resource"),
    "connectors": (
        "ArchiveStorageConnector",
        "FileStorageConnector",
        "FsspecStorageConnector",
        "GCSStorageConnector",
        "GridFSFileSystem",
        "GridFSStorageConnector",
        "HTTPStorageConnector",
        "MemoryStorageConnector",
        "S3StorageConnector",
    ),
    "errors": tuple(name for name in __all__ if name.endswith("Error")),
    "factory": ("DatasetFactory",),
    "formats.hdf5_writing": ("store_hdf5",),
    "iterators": (
        "BlockShuffledDatasetIterator",
        "ColumnBatches",
        "CombinedDatasetIterator",
        "DataFrameDatasetIterator",
        "DatasetIterator",
        "DatasetIteratorView",
        "DatasetMeta",
        "InMemoryDatasetIterator",
        "SequenceDatasetIterator",
        "FeatureEncodedDatasetIterator",
        "FilteredDatasetIterator",
        "MappedDatasetIterator",
        "RepeatedDatasetIterator",
        "SampledDatasetIterator",
        "TargetMappedDatasetIterator",
        "ZippedDatasetIterator",
        "ShuffledDatasetIterator",
    ),
    "iterators.encoding": ("fit_encoding",),
    "iterators.encoding_saved": ("load_encoding", "save_encoding"),
    "iterators.report": ("Report", "report"),
    "iterators.splits": (
        "group_k_fold",
        "group_split",
        "hash_split",
        "k_fold",
        "load_split",
        "nested_k_fold",
        "random_split",
        "save_split",
        "stratified_k_fold",
        "stratified_split",
    ),
    "preprocessing": ("Preprocessor",),
    "repository": ("DatasetRepository", "load_dataset"),
    "resource": ("ResourceInfo", "StreamedResource"),
    "retrieval": ("FileRetriever", "HTTPRetriever", "ResourceDefinition", "Retriever", "StorageRetriever"),
    "storage": ("StorageConnector",),
    "training": (
        "BatchPlan",
        "PlannedBatches",
        "ResumableBatchSampler",
        "ResumableLoader",
        "TolerantBatches",
        "shuffle_quality",
    ),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


if not TYPE_CHECKING:  # a type checker would take any name for one of ours

    def __getattr__(name: str) -> "Any":
        if name == "__version__":
            found: Any = _version()
        elif name in _HOMES:
            from importlib import import_module

            found = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = found
        return found


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("datastack-fs")
    except PackageNotFoundError:  # a source tree that is not installed
        return "0+unknown"


def __dir__() -> "list[str]":
    return sorted({*globals(), *_HOMES, "__version__"})
