"""A split of a dataset, opened as the options of a command say."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from datastack_fs import config
from datastack_fs.catalogue import CatalogueEntry
from datastack_fs.factory import DatasetFactory
from datastack_fs.iterators.base import DatasetIterator
from datastack_fs.known_datasets import dataset_factory, opened_in_place


def in_place(
    factory_class: type[DatasetFactory], storage: str | None, options: dict[str, Any]
) -> CatalogueEntry | None:
    """The catalogue's entry, if the dataset is opened where it is: no store is named, and it is not to be copied."""
    return None if storage is not None or options else opened_in_place(factory_class)


@contextmanager
def opened(
    name: str, split: str | None, storage: str | None, options: dict[str, Any]
) -> Iterator[DatasetIterator[Any]]:
    """A split, or the first, prepared if need be; its store is closed afterwards."""
    factory_class = dataset_factory(name)
    entry = in_place(factory_class, storage, options)
    if entry is not None:
        yield entry.open(split)
        return
    with config.connect(storage, **options) as connector:
        yield factory_class(connector).get_dataset_iterator(None if split is None else {"split": split})[0]
