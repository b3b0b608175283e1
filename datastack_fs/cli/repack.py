"""``repack``."""

from __future__ import annotations

from typing import Any

import click

from datastack_fs.cli.examples import command
from datastack_fs.cli.options import json_option, locate, overwrite_option, parse_options
from datastack_fs.cli.output import info_fields, info_table, print_json
from datastack_fs.formats.hdf5_repack import repack as repack_file
from datastack_fs.formats.hdf5_writing import CHUNK_BYTES


@command(
    "datastack-fs repack birds/train.h5 birds/packed.h5 --from laptop --to prod",
    "datastack-fs repack ./train.h5 s3://lab/birds/train.h5 --packing gzip",
)
@click.argument("source")
@click.argument("target")
@click.option("--from", "from_store", metavar="STORE", help="The store of SOURCE: a URL, path or profile.")
@click.option("--to", "to_store", metavar="STORE", help="The store of TARGET.")
@click.option(
    "--from-option", multiple=True, callback=parse_options, metavar="KEY=VALUE", help="An option of SOURCE's store."
)
@click.option(
    "--to-option", multiple=True, callback=parse_options, metavar="KEY=VALUE", help="An option of TARGET's store."
)
@click.option(
    "--chunk-bytes", type=click.IntRange(1), default=CHUNK_BYTES, show_default=True, help="Of a chunk, unpacked."
)
@click.option("--packing", type=click.Choice(["keep", "none", "gzip"]), default="keep", show_default=True)
@click.option("--paged", is_flag=True, help="Metadata and data on pages, for readers with a page buffer.")
@click.option("--page-size", type=click.IntRange(512, 1 << 30), help="Bytes of a page; implies --paged.")
@overwrite_option
@json_option
def repack(
    source: str,
    target: str,
    from_store: str | None,
    to_store: str | None,
    from_option: dict[str, Any],
    to_option: dict[str, Any],
    chunk_bytes: int,
    packing: Any,
    paged: bool,
    page_size: int | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Rewrite an HDF5 file for object storage.

    Chunks hold whole rows, and metadata stands together; groups, links, values, attributes and references stay as
    they are. What was written is compared with what was read, and published whole or not at all. "datastack-fs
    doctor" says whether it is worth it.

    SOURCE and TARGET are identifiers, with --from and --to, or URLs.
    """
    from_connector, found = locate(source, from_store, from_option)
    to_connector, wanted = locate(target, to_store, to_option)
    with from_connector, to_connector, from_connector.get_resource(found) as file:
        info = repack_file(
            file,
            to_connector,
            wanted,
            chunk_bytes=chunk_bytes,
            packing=packing,
            paged=paged,
            page_bytes=page_size,
            overwrite=overwrite,
        )
    if as_json:
        print_json(info_fields(info, to_connector))
    else:
        info_table([info])
