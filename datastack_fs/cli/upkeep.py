"""``verify`` and ``sweep``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import click

from datastack_fs import config
from datastack_fs.checksums import Hashing, parse_checksum
from datastack_fs.cli.examples import command
from datastack_fs.cli.opening import in_place
from datastack_fs.cli.options import json_option, locate, storage_options
from datastack_fs.cli.output import print_json, print_table, reading_progress
from datastack_fs.credentials import redact
from datastack_fs.errors import DatasetFileCorruptError, DatasetNotFoundError
from datastack_fs.known_datasets import dataset_factory
from datastack_fs.resource import CHUNK_BYTES, StreamedResource
from datastack_fs.storage import StorageConnector

_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


@command(
    "datastack-fs verify --storage prod --prefix digits/",
    "datastack-fs verify --dataset digits --storage prod",
)
@click.argument("resources", nargs=-1, metavar="[RESOURCE]...")
@storage_options
@click.option("--prefix", default="", help="Without RESOURCE: the beginning of the identifiers to read.")
@click.option(
    "--dataset", metavar="NAME", help="Instead of RESOURCE: all of a dataset, as its manifest or catalogue says."
)
@json_option
@click.pass_context
def verify(
    context: click.Context,
    resources: tuple[str, ...],
    storage: str | None,
    options: dict[str, Any],
    prefix: str,
    dataset: str | None,
    as_json: bool,
) -> None:
    """Check resources against the checksums stored with them.

    They are read to the end. RESOURCE is an identifier in the store, a URL, or a path that begins with ./ or /;
    without it, everything in the store is read. The state is "ok", "corrupt", or "unknown" for what was stored
    without a checksum. The exit code is 1 if anything is corrupt.
    """
    if dataset is not None and (resources or prefix):
        raise click.UsageError("--dataset says what to read: leave RESOURCE and --prefix away")
    results = []
    for resource in resources:
        connector, identifier = locate(resource, storage, options)
        with connector:
            results.append(_verify(connector, identifier))
    if dataset is not None:
        results += _verify_dataset(dataset, storage, options)
    elif not resources:
        with config.connect(storage, **options) as connector:
            results += [_verify(connector, identifier) for identifier in connector.list_resources(prefix)]
    if as_json:
        print_json(results)
    else:
        print_table(["state", "identifier", "checksum"], [list(result.values()) for result in results])
    if any(result["state"] == "corrupt" for result in results):
        context.exit(1)


def _verify_dataset(name: str, storage: str | None, options: dict[str, Any]) -> Iterator[dict[str, str]]:
    """Against what the manifest of a prepared dataset says, or the catalogue of one that is opened where it is."""
    factory_class = dataset_factory(name)
    entry = in_place(factory_class, storage, options)
    if entry is not None:
        for split, known in entry.splits.items():
            with entry.open_file(split) as resource:
                yield _check(resource, redact(entry.source(split)), known.checksum or resource.info.checksum)
        return
    with config.connect(storage, **options) as connector:
        manifest = factory_class(connector).manifest()
        if manifest is None:
            raise DatasetNotFoundError(f"{name} is not prepared in {connector.url}")
        for each in manifest.resources:
            yield _verify(connector, each.identifier, each.checksum)


def _verify(connector: StorageConnector, identifier: str, checksum: str | None = None) -> dict[str, str]:
    with connector.get_resource(identifier) as resource:
        return _check(resource, identifier, checksum or resource.info.checksum)


def _check(resource: StreamedResource, label: str, expected: str | None) -> dict[str, str]:
    hashing = Hashing(parse_checksum(expected)[0] if expected else "sha256")
    try:
        with reading_progress(resource, label, resource.size) as counted:
            hashing.drain(iter(lambda: counted.read(CHUNK_BYTES), b""))
        if expected is not None:
            hashing.verify(expected, label)
    except DatasetFileCorruptError:
        state = "corrupt"
    else:
        state = "ok" if expected else "unknown"
    return {"state": state, "identifier": label, "checksum": hashing.checksum()}


def _duration(context: click.Context, parameter: click.Parameter, text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    if match is None:
        raise click.BadParameter("expected a time such as 90s, 30m, 24h or 7d", context, parameter)
    return float(match[1]) * _SECONDS[match[2]]


@command("datastack-fs sweep --storage prod --older-than 7d")
@storage_options
@click.option(
    "--older-than",
    default="24h",
    show_default=True,
    callback=_duration,
    metavar="TIME",
    help="Younger ones may be at work: 90s, 30m, 24h, 7d.",
)
@json_option
def sweep(storage: str | None, options: dict[str, Any], older_than: float, as_json: bool) -> None:
    """Remove what killed writers left behind, and nothing else."""
    with config.connect(storage, **options) as connector:
        removed = connector.sweep(older_than)
        if as_json:
            print_json({"storage": connector.url, "removed": removed})
        else:
            click.echo(f"removed {removed:,} left-over{'' if removed == 1 else 's'} from {connector.url}")
