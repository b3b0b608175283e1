"""``doctor``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click

from datastack_fs.cli.examples import command
from datastack_fs.cli.options import json_option, locate, storage_options
from datastack_fs.cli.output import print_json, print_table
from datastack_fs.errors import DatasetFileCorruptError, DatasetNotFoundError
from datastack_fs.formats.batch_cost import batch_cost_of
from datastack_fs.formats.hdf5_layout import DatasetLayout, layouts
from datastack_fs.index_cache import empty_cache
from datastack_fs.iterators.base import DatasetIterator
from datastack_fs.metered import MeteredStore
from datastack_fs.recognition import format_for, open_format
from datastack_fs.storage import StorageConnector


@command(
    "datastack-fs doctor s3://lab/birds/train.h5",
    "datastack-fs doctor birds/train.h5 --storage prod --batch 256 --json",
)
@click.argument("resource")
@storage_options
@click.option("--batch", type=click.IntRange(1), default=32, show_default=True, help="Rows in a shuffled batch.")
@json_option
def doctor(resource: str, storage: str | None, options: dict[str, Any], batch: int, as_json: bool) -> None:
    """Say what a file costs whoever reads it in shuffled batches.

    RESOURCE is an identifier in the store, a URL, or a path that begins with ./ or /. The requests and bytes of a
    batch are told, of which nothing is kept from batches before it, and those of opening the file for the first
    time, which is tried. Each dataset of an HDF5 file is told with its chunks and filters, how many times the bytes
    of its rows a batch fetches, and what would make them fewer. A local file is taken for a remote one.
    """
    connector, identifier = locate(resource, storage, options)
    with connector:
        with connector.get_resource(identifier) as file:
            name, _ = format_for(file)
            found: list[Any] = list(layouts(file, batch)) if name == "hdf5" else []
        with empty_cache():
            store, iterator = _opened_first(connector, identifier, found)
            opening = {"requests": store.requests, "fetched_bytes": store.fetched_bytes}
        found = found if name == "hdf5" else [_cost(iterator, name, batch, store)]
    if as_json:
        told = [asdict(layout) if isinstance(layout, DatasetLayout) else layout for layout in found]
        print_json({"format": name, "opening": opening, "datasets": told})
        return
    headings = ["dataset", "shape", "chunks", "filters", ">requests", ">bytes", ">times needed"]
    if name != "hdf5":
        headings = ["format", ">samples", ">requests", ">bytes"]
    print_table(headings, [_cells(layout) for layout in found])
    click.echo(f"opening it for the first time: {opening['requests']:,} requests, {opening['fetched_bytes']:,} bytes")
    for layout in found:
        if isinstance(layout, DatasetLayout):
            for advice in layout.advice:
                click.echo(f"{layout.name}: {advice}")


def _opened_first(
    connector: StorageConnector, identifier: str, found: Sequence[DatasetLayout]
) -> tuple[MeteredStore, DatasetIterator[Any]]:
    """A file opened by its format; of HDF5 whose names don't tell what the samples are, the largest dataset."""
    store = MeteredStore(connector)
    try:
        iterator = open_format(store.get_resource(identifier))
    except (DatasetNotFoundError, DatasetFileCorruptError):
        if not found:
            raise
        store = MeteredStore(connector)
        largest = max(found, key=lambda layout: layout.stored_bytes)
        iterator = open_format(store.get_resource(identifier), sample=largest.name)
    if len(iterator):
        iterator.byte_ranges([0])  # what is read with the first sample, once, is read now
    return store, iterator


def _cost(iterator: DatasetIterator[Any], name: str, batch: int, store: StorageConnector) -> dict[str, Any]:
    """What batches of another format cost; nothing where it is read whole when it is opened."""
    cost = batch_cost_of(iterator, batch, store)
    return {
        "format": name,
        "samples": len(iterator),
        "requests": None if cost is None else cost.requests,
        "fetched_bytes": None if cost is None else cost.fetched_bytes,
    }


def _cells(found: DatasetLayout | dict[str, Any]) -> list[str]:
    if isinstance(found, dict):
        cost = _number(found["requests"], ".1f"), _number(found["fetched_bytes"], ",.0f")
        return [found["format"], f"{found['samples']:,}", *cost]
    return [
        found.name,
        str(found.shape),
        "-" if found.chunks is None else str(found.chunks),
        " ".join(found.filters) or "-",
        _number(found.requests, ".1f"),
        _number(found.fetched_bytes, ",.0f"),
        _number(found.amplification, ".1f"),
    ]


def _number(number: float | None, how: str) -> str:
    return "-" if number is None else format(number, how)
