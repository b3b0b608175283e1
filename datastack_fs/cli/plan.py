"""``plan``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from datastack_fs.cli.examples import command
from datastack_fs.cli.options import json_option, locate, storage_options
from datastack_fs.cli.output import print_json, print_table
from datastack_fs.formats.epoch_cost import EpochCost, epoch_cost
from datastack_fs.index_cache import empty_cache
from datastack_fs.iterators.base import DatasetIterator
from datastack_fs.metered import MeteredStore
from datastack_fs.recognition import open_format


@command(
    "datastack-fs plan s3://lab/birds/train.h5 --batch 256",
    "datastack-fs plan s3://lab/birds/train.h5 --sample images --window 128 --request-price 0.0004 --byte-price 0.09",
)
@click.argument("resource")
@storage_options
@click.option("--sample", metavar="NAME", help="The dataset, column or array of the samples, where names don't tell.")
@click.option("--batch", type=click.IntRange(1), default=256, show_default=True, help="Samples in a batch.")
@click.option("--window", type=click.IntRange(1), default=64, show_default=True, help="Blocks that are mixed.")
@click.option(
    "--memory", type=click.IntRange(1), default=256, show_default=True, metavar="MIB", help="As batches(max_bytes=)."
)
@click.option("--request-price", type=click.FloatRange(0), default=0.0, help="What 1,000 requests cost.")
@click.option("--byte-price", type=click.FloatRange(0), default=0.0, help="What a gigabyte (10^9 bytes) costs.")
@json_option
def plan(
    resource: str,
    storage: str | None,
    options: dict[str, Any],
    sample: str | None,
    batch: int,
    window: int,
    memory: int,
    request_price: float,
    byte_price: float,
    as_json: bool,
) -> None:
    """Foretell the requests and bytes of an epoch, before it runs.

    RESOURCE is an identifier in the store, a URL, or a path that begins with ./ or /. Told are the epochs of an exact
    shuffle and of one by blocks, as iterator.batches() reads them in one process; with prices, what they cost. The
    file is opened for that, and nothing of its samples is read. A local file is taken for a remote one.
    """
    connector, identifier = locate(resource, storage, options)
    with connector, empty_cache():
        store = MeteredStore(connector)
        iterator = open_format(store.get_resource(identifier), **({} if sample is None else {"sample": sample}))
        orders: dict[str, DatasetIterator[Any]] = {
            "exact shuffle": iterator.shuffle(seed=0),
            f"blocks, {window} mixed": iterator.shuffle_blocks(seed=0, window=window),
        }
        costs = {name: epoch_cost(order, batch, store, memory << 20) for name, order in orders.items()}
        size = connector.get_info(identifier).size
    if as_json:
        print_json({name: cost and _told(cost, request_price, byte_price) for name, cost in costs.items()})
        return
    if None in costs.values():
        click.echo("what a batch reads can't be told before: all of the file, most likely")
        return
    rows = [_row(name, cost, size, request_price, byte_price) for name, cost in costs.items() if cost is not None]
    print_table(["order", ">batches", ">requests", ">bytes", ">times the file", ">price", "kept in memory"], rows)


def _told(cost: EpochCost, request_price: float, byte_price: float) -> dict[str, Any]:
    return {**asdict(cost), "price": cost.price(request_price, byte_price)}


def _row(name: str, cost: EpochCost, size: int, request_price: float, byte_price: float) -> list[str]:
    price = cost.price(request_price, byte_price)
    return [
        name,
        f"{cost.batches:,}",
        f"{cost.requests:,.0f}",
        f"{cost.fetched_bytes:,.0f}",
        f"{cost.fetched_bytes / max(1, size):.2f}",
        f"{price:,.4f}" if request_price or byte_price else "-",
        "yes" if cost.is_kept else "no",
    ]
