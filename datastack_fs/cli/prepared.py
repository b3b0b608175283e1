"""What is prepared in which store, as the manifests there say; a store that doesn't answer is in nobody's way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from datastack_fs import config, profile_choice
from datastack_fs.credentials import redact
from datastack_fs.errors import DatastackError
from datastack_fs.factory import DatasetFactory
from datastack_fs.plugins import keywords
from datastack_fs.registry import connector_class, connector_options


@dataclass
class Store:
    """A store, and what is found in it.

    Attributes:
        label: what to call it: a profile's name, or a URL or path without secrets.
        storage: what ``connect`` takes.
        options: of the connector.
        bytes_: the bytes of each dataset that is prepared there, by name.
        error: why it was not asked to the end.
    """

    label: str
    storage: str | None
    options: Mapping[str, Any] = field(default_factory=dict)
    bytes_: dict[str, int] = field(default_factory=dict)
    error: str | None = None


def look_into(stores: Sequence[Store], factories: Mapping[str, type[DatasetFactory]], deadline: float) -> None:
    """Reads the manifests in all stores at the same time; one that fails is asked no further.

    Args:
        stores: what is found is noted in them.
        factories: the datasets, by name.
        deadline: seconds without an answer after which a store is given up, unless its options say another.
    """
    with ThreadPoolExecutor(max_workers=max(1, len(stores))) as pool:
        list(pool.map(lambda store: _look(store, factories, deadline), stores))


def _look(store: Store, factories: Mapping[str, type[DatasetFactory]], deadline: float) -> None:
    try:
        with config.connect(store.storage, **_with_deadline(store, deadline)) as connector:
            for name, factory_class in factories.items():
                manifest = factory_class(connector).manifest()
                if manifest is not None:
                    store.bytes_[name] = sum(entry.size for entry in manifest.resources)
    except DatastackError as error:
        store.error = redact(str(error))


def _with_deadline(store: Store, deadline: float) -> dict[str, Any]:
    profile = profile_choice.find_profile(store.storage)
    if "deadline" in {**profile.options, **store.options}:
        return dict(store.options)
    profile.check_environment(overridden=list(store.options))
    url = profile_choice.absolute_url(profile)
    known = connector_options(url)
    takes = keywords(connector_class(url)) if known is None else known
    return {**({"deadline": deadline} if "deadline" in takes else {}), **store.options}
