"""``ls``, ``info`` and ``rm``."""

from __future__ import annotations

from typing import Any

import click

from datastack_fs.cli.examples import command
from datastack_fs.cli.options import json_option, locate, locate_all, storage_options
from datastack_fs.cli.output import info_fields, info_table, print_json


@command(
    "datastack-fs ls digits/ --storage s3://lab/datasets",
    "datastack-fs ls -l ./datasets",
)
@click.argument("prefix", default="")
@storage_options
@click.option("-l", "--long", is_flag=True, help="With size and checksum, which asks the store for each resource.")
@json_option
def ls(prefix: str, storage: str | None, options: dict[str, Any], long: bool, as_json: bool) -> None:
    """List the resources of a store.

    PREFIX is the beginning of the identifiers to list; a URL or path is a store of its own.
    """
    connector, prefix = locate_all(prefix, storage, options)
    with connector:
        found = connector.list_resources(prefix)
        if long:
            infos = [connector.get_info(identifier) for identifier in found]
            if as_json:
                print_json([info_fields(info) for info in infos])
            else:
                info_table(infos)
        elif as_json:
            print_json(list(found))
        else:
            for identifier in found:
                click.echo(identifier)


@command(
    "datastack-fs info digits/train.h5 --storage prod",
    "datastack-fs info s3://lab/datasets/birds/train.h5 --json",
)
@click.argument("resource")
@storage_options
@json_option
def info(resource: str, storage: str | None, options: dict[str, Any], as_json: bool) -> None:
    """Show size, checksum, time and version of a resource.

    RESOURCE is an identifier in the store, a URL, or a path that begins with ./ or /.
    """
    connector, identifier = locate(resource, storage, options)
    with connector:
        fields = info_fields(connector.get_info(identifier), connector)
    if as_json:
        print_json(fields)
    else:
        for name, value in fields.items():
            shown = f"{value:,}" if isinstance(value, int) else value or "-"
            click.echo(f"{name:<11} {shown}")


@command("datastack-fs rm birds/old.h5 --storage prod")
@click.argument("resources", nargs=-1, required=True, metavar="RESOURCE...")
@storage_options
def rm(resources: tuple[str, ...], storage: str | None, options: dict[str, Any]) -> None:
    """Delete resources.

    RESOURCE is an identifier in the store, a URL, or a path that begins with ./ or /.
    """
    for resource in resources:
        connector, identifier = locate(resource, storage, options)
        with connector:
            connector.delete_resource(identifier)
        click.echo(f"deleted {identifier}")
