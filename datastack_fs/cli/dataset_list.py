"""``datasets``."""

from __future__ import annotations

import warnings
from typing import Any

import click

from datastack_fs.cli.examples import command
from datastack_fs.cli.options import json_option, storage_options
from datastack_fs.cli.output import print_json, print_table
from datastack_fs.cli.prepared import Store, look_into
from datastack_fs.cli.storages import default_storage
from datastack_fs.credentials import redact
from datastack_fs.factory import DatasetFactory
from datastack_fs.known_datasets import known_factories, opened_in_place
from datastack_fs.profiles import load_configuration


@command(
    "datastack-fs datasets",
    "datastack-fs datasets --all",
    "datastack-fs datasets --storage s3://lab/datasets --json",
)
@storage_options
@click.option("--all", "all_stores", is_flag=True, help="Look into the stores of all profiles of datastack.yaml.")
@click.option(
    "--deadline",
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="How long a store may give no answer; its own option deadline comes first.",
)
@json_option
def datasets(storage: str | None, options: dict[str, Any], all_stores: bool, deadline: float, as_json: bool) -> None:
    """List the datasets known by name, and where they are prepared.

    They are built in, added by installed packages, or named in datastack-datasets.yaml. A store that gives no answer
    is named at the end.
    """
    if all_stores and (storage is not None or options):
        raise click.UsageError("--all looks into the stores of all profiles: leave --storage and -o away")
    factories = _factories()
    stores = _all_stores() if all_stores else [_store(storage, options)]
    look_into(stores, factories, deadline)
    rows = [_row(name, factory_class, stores) for name, factory_class in factories.items()]
    if as_json:
        print_json({"storages": [{"name": store.label, "error": store.error} for store in stores], "datasets": rows})
        return
    headings = ["name", "version", "splits", "licence", ">to fetch", "prepared in (bytes)", "what it is"]
    print_table(headings, [_cells(row) for row in rows])
    for store in stores:
        if store.error is not None:
            click.echo(f"{store.label}: not known: {' '.join(store.error.split())}")


def _factories() -> dict[str, type[DatasetFactory]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        found = dict(known_factories())
    for message in dict.fromkeys(str(warning.message) for warning in caught):
        click.echo(f"warning: {redact(message)}", err=True)
    return found


def _store(storage: str | None, options: dict[str, Any]) -> Store:
    label = storage or default_storage(load_configuration())
    return Store(redact(label), storage, options)


def _all_stores() -> list[Store]:
    configuration = load_configuration()
    default = default_storage(configuration)
    others = [name for name in configuration.profiles if name != default]
    return [Store(redact(default), None), *(Store(name, name) for name in others)]


def _row(name: str, factory_class: type[DatasetFactory], stores: list[Store]) -> dict[str, Any]:
    return {
        "name": name,
        "version": factory_class.version,
        "splits": list(factory_class.splits),
        "description": factory_class.description or (factory_class.__doc__ or "").strip().partition("\n")[0],
        "licence": factory_class.licence,
        "homepage": factory_class.homepage,
        "download_bytes": factory_class.download_bytes,
        "in_place": opened_in_place(factory_class) is not None,
        "prepared": [{"storage": store.label, "bytes": store.bytes_[name]} for store in stores if name in store.bytes_],
    }


def _cells(row: dict[str, Any]) -> list[str]:
    places = ["in place"] if row["in_place"] else []
    places += [f"{found['storage']} ({found['bytes']:,})" for found in row["prepared"]]
    fetch = row["download_bytes"]
    return [
        row["name"],
        row["version"],
        ", ".join(row["splits"]),
        row["licence"] or "-",
        "-" if fetch is None else f"{fetch:,}",
        ", ".join(places) or "-",
        row["description"],
    ]
