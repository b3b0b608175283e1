"""Datasets by name: those that the library knows, and those of a repository of your own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from datastack_fs.errors import DatasetNotFoundError

if TYPE_CHECKING:
    from datastack_fs.config import Storage
    from datastack_fs.factory import DatasetFactory
    from datastack_fs.iterators.base import DatasetIterator
    from datastack_fs.iterators.meta import DatasetMeta


class DatasetRepository:
    """Names and the factories that open them.

    Examples:
        >>> from datastack_fs.connectors.memory import MemoryStorageConnector
        >>> from datastack_fs.datasets.digits import DigitsFactory
        >>> repository = DatasetRepository()
        >>> repository.register("digits", DigitsFactory(MemoryStorageConnector("repository-example")))
        >>> iterator, meta = repository.get("digits", {"split": "test"})
        >>> repository.names, len(iterator), meta.tag
        (('digits',), 360, 'test')
    """

    def __init__(self) -> None:
        self._factories: dict[str, DatasetFactory] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The registered names, in the order of registration."""
        return tuple(self._factories)

    def register(self, name: str, factory: DatasetFactory) -> None:
        """Gives a factory a name here; a name that is taken is refused."""
        if self._factories.setdefault(name, factory) is not factory:
            raise ValueError(f"the name {name!r} is taken by {self._factories[name]!r}")

    def get(self, name: str, config: Mapping[str, Any] | None = None) -> tuple[DatasetIterator[Any], DatasetMeta]:
        """Opens a dataset, after preparing it if need be; ``config`` as for its factory, ``{"split": "train"}``.

        Raises:
            DatasetNotFoundError: no dataset of that name; the message lists those that there are.
        """
        if name not in self._factories:
            known = ", ".join(self._factories) or "none"
            raise DatasetNotFoundError(f"no dataset {name!r} in this repository; registered are: {known}")
        return self._factories[name].get_dataset_iterator(config)


def load_dataset(
    name: str,
    split: str | None = None,
    storage: Storage | None = None,
    *,
    offline: bool | None = None,
    **config: Any,
) -> DatasetIterator[Any]:
    """Opens a split of a dataset that is known by name, after preparing it in the store if need be.

    A dataset of a catalogue is opened where it is, and nothing is copied, unless ``storage`` is given or the catalogue
    says ``copy: true``: then its files are copied to the store first. A name that nothing knows is looked for in the
    store: datasets that ``bridges.write_to`` wrote there are opened by their manifest.

    Args:
        name: ``digits``, ``mnist``, ``fashion-mnist``, ``iris``, ``wine``, ``breast_cancer``, or one that an installed
            project or the catalogue file adds; ``birds@2`` is a version of it.
        split: which part of it; by default the first, which is ``train`` for the built-in ones.
        storage: a connector, or what ``connect`` takes: a profile, a URL, a path or a mapping; by default the
            configured default.
        offline: retrieves nothing over the network; by default what ``$DATASTACK_OFFLINE`` says (1 or 0).
        **config: further keys of the dataset's own configuration.

    Raises:
        DatasetNotFoundError: no dataset of that name, or it has no such split; the message lists those there are.
        RetrievalError: it is not prepared, and a source can't be fetched, or must not be since it is offline.

    Examples:
        >>> image, target, tag = load_dataset("digits", split="test", storage="memory://load-example")[0]
        >>> image.shape, int(target), tag
        ((8, 8), 0, 'test')
        >>> load_dataset("iris", storage="memory://load-example").meta.feature_names[0]
        'sepal length (cm)'
    """
    from datastack_fs.config import connect
    from datastack_fs.factory import check_keys
    from datastack_fs.known_datasets import dataset_factory, opened_in_place
    from datastack_fs.stored_dataset import open_stored, stored_manifest

    try:
        factory_class = dataset_factory(name)
    except DatasetNotFoundError:
        connector = connect(storage)
        manifest = stored_manifest(connector, name)
        if manifest is None:
            raise
        check_keys(name, config)
        return open_stored(connector, manifest, split)
    in_place = opened_in_place(factory_class) if storage is None else None
    if in_place is not None:
        check_keys(name, config)
        return in_place.open(split)
    chosen = {"split": factory_class.splits[0] if split is None else split}
    options: dict[str, Any] = {} if offline is None else {"offline": offline}
    iterator, _ = factory_class(connect(storage), **options).get_dataset_iterator({**chosen, **config})
    return iterator
