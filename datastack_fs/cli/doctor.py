"""``doctor``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from datastack_fs.cli.examples import command
from datastack_fs.cli.options import json_option, locate, storage_options
from datastack_fs.cli.output import print_json, print_table
from datastack_fs.formats.hdf5_layout import DatasetLayout, layouts


@command(
    "datastack-fs doctor s3://lab/birds/train.h5",
    "datastack-fs doctor birds/train.h5 --storage prod --batch 256 --json",
)
@click.argument("resource")
@storage_options
@click.option("--batch", type=click.IntRange(1), default=32, show_default=True, help="Rows in a shuffled batch.")
@json_option
def doctor(resource: str, storage: str | None, options: dict[str, Any], batch: int, as_json: bool) -> None:
    """Say what shuffled batches of an HDF5 file cost.

    RESOURCE is an identifier in the store, a URL, or a path that begins with ./ or /. Of each dataset: its chunks and
    filters, the requests and bytes that a batch needs, how many times the bytes of its rows these are, and what would
    make them fewer. Metadata alone is read.
    """
    connector, identifier = locate(resource, storage, options)
    with connector, connector.get_resource(identifier) as file:
        found = list(layouts(file, batch))
    if as_json:
        print_json([asdict(layout) for layout in found])
        return
    headings = ["dataset", "shape", "chunks", "filters", ">requests", ">bytes", ">times needed"]
    print_table(headings, [_cells(layout) for layout in found])
    for layout in found:
        for advice in layout.advice:
            click.echo(f"{layout.name}: {advice}")


def _cells(layout: DatasetLayout) -> list[str]:
    return [
        layout.name,
        str(layout.shape),
        "-" if layout.chunks is None else str(layout.chunks),
        " ".join(layout.filters) or "-",
        "-" if layout.requests is None else f"{layout.requests:.1f}",
        "-" if layout.fetched_bytes is None else f"{layout.fetched_bytes:,.0f}",
        "-" if layout.amplification is None else f"{layout.amplification:.1f}",
    ]
