"""``get``, ``put`` and ``cp``: bytes from one store to another, hashed on the way, published whole or not at all."""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO

import click

from datastack_fs.checksums import Hashing, parse_checksum
from datastack_fs.cli.examples import command
from datastack_fs.cli.options import (
    json_option,
    locate,
    locate_all,
    overwrite_option,
    parse_options,
    storage_options,
)
from datastack_fs.cli.output import info_fields, info_table, print_json, progress_bar, reading_progress
from datastack_fs.connectors import FileStorageConnector
from datastack_fs.identifiers import check_identifier
from datastack_fs.resource import ResourceInfo
from datastack_fs.storage import StorageConnector

_STANDARD = "-"


@command(
    "datastack-fs get birds/train.h5 --storage prod",
    "datastack-fs get s3://lab/birds/list.csv - | head",
)
@click.argument("resource")
@click.argument("file", required=False)
@storage_options
@overwrite_option
def get(resource: str, file: str | None, storage: str | None, options: dict[str, Any], overwrite: bool) -> None:
    """Copy a resource to a local file.

    RESOURCE is an identifier in the store or a URL. FILE is a file, a folder, or "-" for the standard output; by
    default a file of the resource's own name in the working folder.
    """
    connector, identifier = locate(resource, storage, options)
    with connector:
        if file == _STANDARD:
            _write_out(connector, identifier)
            return
        name = check_identifier(identifier).rpartition("/")[2]
        target = Path(file or name).absolute()
        if target.is_dir():
            target /= name
        if not target.parent.is_dir():
            raise click.BadParameter(f"the folder {target.parent} is not there", param_hint="FILE")
        info = copy(connector, identifier, FileStorageConnector(target.parent), target.name, overwrite)
    click.echo(f"{target}  {info.size:,} bytes  {info.checksum}")


def _checksum(context: click.Context, parameter: click.Parameter, text: str | None) -> str | None:
    try:
        return text and ":".join(parse_checksum(text))
    except ValueError as error:
        raise click.BadParameter(str(error), context, parameter) from error


@command(
    "datastack-fs put train.h5 birds/train.h5 --storage prod",
    "gunzip -c train.h5.gz | datastack-fs put - s3://lab/birds/train.h5",
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.argument("resource")
@storage_options
@click.option(
    "--checksum",
    callback=_checksum,
    metavar="ALGORITHM:HEX",
    help="Refuse other bytes than these: sha256:<hex>, sha512:<hex>, sha1:<hex> or md5:<hex>.",
)
@overwrite_option
@json_option
def put(
    file: str,
    resource: str,
    storage: str | None,
    options: dict[str, Any],
    checksum: str | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Store a local file.

    FILE is a file, or "-" for the standard input. RESOURCE is an identifier in the store or a URL.
    """
    connector, identifier = locate(resource, storage, options)
    size = None if file == _STANDARD else os.path.getsize(file)
    with connector, _open(file) as source, reading_progress(source, identifier, size) as counted:
        info = connector.set_resource(identifier, counted, checksum=checksum, overwrite=overwrite)
    _report([info], connector, as_json)


@command(
    "datastack-fs cp s3://lab/birds/train.h5 mongodb://host/birds/train.h5",
    "datastack-fs cp birds/train.h5 --from laptop --to prod",
    "datastack-fs cp -r digits/ --from ./datasets --to s3://lab/datasets",
)
@click.argument("source")
@click.argument("target", required=False)
@click.option("--from", "from_store", metavar="STORE", help="The store of SOURCE: a URL, path or profile.")
@click.option("--to", "to_store", metavar="STORE", help="The store of TARGET.")
@click.option(
    "--from-option", multiple=True, callback=parse_options, metavar="KEY=VALUE", help="An option of SOURCE's store."
)
@click.option(
    "--to-option", multiple=True, callback=parse_options, metavar="KEY=VALUE", help="An option of TARGET's store."
)
@click.option("-r", "--recursive", is_flag=True, help="Copy all resources that begin with SOURCE.")
@overwrite_option
@json_option
def cp(
    source: str,
    target: str | None,
    from_store: str | None,
    to_store: str | None,
    from_option: dict[str, Any],
    to_option: dict[str, Any],
    recursive: bool,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Copy resources between any two stores.

    Bytes are streamed, checked by sha256 and published whole or not at all.

    SOURCE and TARGET are identifiers, with --from and --to, or URLs. TARGET is SOURCE's identifier where it is left
    away. With -r, SOURCE is a prefix, or the URL or path of a whole store, and TARGET the URL or path of a store.
    """
    if target is None and to_store is None:
        raise click.UsageError("say where to: TARGET, --to STORE, or both")
    if recursive and target is not None and to_store is not None:
        raise click.UsageError("with -r the identifiers stay as they are: leave TARGET or --to away")
    find = locate_all if recursive else locate
    from_connector, found = find(source, from_store, from_option)
    to_connector, wanted = find(target or (found if not recursive else ""), to_store, to_option)
    with from_connector, to_connector:
        identifiers = list(from_connector.list_resources(found)) if recursive else [found]
        if not identifiers:
            raise click.UsageError(f"nothing in {from_connector.url} begins with {found!r}")
        with progress_bar("resources", len(identifiers), "") as bar:
            copied = []
            for identifier in identifiers:
                to = identifier if recursive else wanted
                copied.append(copy(from_connector, identifier, to_connector, to, overwrite))
                bar.update()
    _report(copied, to_connector, as_json)


def copy(source: StorageConnector, identifier: str, target: StorageConnector, to: str, overwrite: bool) -> ResourceInfo:
    """Copies one resource; a checksum that the source's store keeps must be that of the bytes that arrive."""
    with source.get_resource(identifier) as resource, reading_progress(resource, identifier, resource.size) as counted:
        return target.set_resource(to, counted, checksum=resource.info.checksum, overwrite=overwrite)


def _open(file: str) -> AbstractContextManager[BinaryIO]:
    return nullcontext(sys.stdin.buffer) if file == _STANDARD else open(file, "rb")


def _write_out(connector: StorageConnector, identifier: str) -> None:
    out = sys.stdout.buffer
    hashing = Hashing()
    with connector.get_resource(identifier) as resource:
        for block in resource.chunks():
            hashing.update(block)
            out.write(block)
        out.flush()
        if resource.info.checksum is not None:
            hashing.verify(resource.info.checksum, identifier)


def _report(infos: list[ResourceInfo], connector: StorageConnector, as_json: bool) -> None:
    if as_json:
        print_json([info_fields(info, connector) for info in infos])
    else:
        click.echo(f"in {connector.url}:")
        info_table(infos)
