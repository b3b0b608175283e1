"""Ray: iterators read as datasets of its, and preprocessors run as its tasks, on all nodes at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from datastack_fs.errors import MissingDependencyError
from datastack_fs.iterators.base import check_iterator

if TYPE_CHECKING:
    import ray.data

    from datastack_fs.iterators.base import DatasetIterator
    from datastack_fs.preprocessing import Preprocessor
    from datastack_fs.resource import ResourceInfo
    from datastack_fs.storage import StorageConnector


def to_ray(iterator: DatasetIterator[Any], *, blocks: int | None = None) -> ray.data.Dataset:
    """The samples of an iterator as a ``ray.data.Dataset``, whose tasks read them from the store where they run.

    The iterator is pickled once; no sample passes through the driver. Each task reads a run of samples that ends where
    a chunk, a row group or a run of a file does, and yields Arrow tables of about 32 MiB, with tensors for arrays.
    Columns are ``sample``, ``target`` and ``tag``, as far as there are any; of samples that are mappings, one for each
    key. Rows come in the order of the iterator (``dataset.context`` can give that up).

    Nodes need this library, network access to the store, and what the connector reads from the environment:
    ``${NAME}`` in an option, and credentials of the store's own SDK, are looked up on each node. Secrets that were
    given as arguments are in the pickle.

    Args:
        iterator: any stack, also shuffled.
        blocks: how many tasks; by default Ray decides by the size of the data and of the cluster.

    Raises:
        MissingDependencyError: Ray is not installed.

    Examples:
        >>> import datastack_fs
        >>> iterator = datastack_fs.load_dataset("digits")  # doctest: +SKIP
        >>> to_ray(iterator).map_batches(lambda batch: {"mean": batch["sample"].mean((1, 2))}).take(2)  # doctest: +SKIP
        [{'mean': 4.59375}, {'mean': 4.890625}]
    """
    check_iterator(iterator)
    check_ray("to_ray()")
    import ray.data

    from datastack_fs.bridges.ray_reading import IteratorDatasource

    dataset = ray.data.read_datasource(IteratorDatasource(iterator), override_num_blocks=blocks)
    dataset.context.execution_options.preserve_order = True
    return dataset


def preprocess_on_ray(preprocessors: Sequence[Preprocessor], connector: StorageConnector) -> list[ResourceInfo]:
    """Runs preprocessors as tasks of Ray, each on some node; they read and write the store from there.

    ``factory.prepare(preprocessing=preprocess_on_ray)`` and ``datastack-fs prepare NAME --engine ray`` do so. What is
    stored is, bit for bit, what they would store here. An error of one comes as it was raised there; what others have
    stored by then stays, and is stored again by the next preparation.

    Raises:
        MissingDependencyError: Ray is not installed.
    """
    check_ray("preprocess_on_ray()")
    import ray

    task, shared = ray.remote(_preprocess), ray.put(connector)
    found: list[ResourceInfo] = ray.get([task.remote(each, shared) for each in preprocessors])
    return found


def _preprocess(preprocessor: Preprocessor, connector: StorageConnector) -> ResourceInfo:
    return preprocessor.preprocess(connector)


def check_ray(what: str) -> None:
    """Says how to install Ray, where it is missing."""
    try:
        import ray.data  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingDependencyError(f"{what} needs Ray: pip install 'datastack-fs[ray]'", name=error.name) from error
