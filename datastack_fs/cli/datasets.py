"""``prepare``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click

from datastack_fs import config
from datastack_fs.bridges import preprocess_on_ray
from datastack_fs.catalogue import CatalogueEntry
from datastack_fs.cli.examples import command
from datastack_fs.cli.opening import in_place
from datastack_fs.cli.options import json_option, storage_options
from datastack_fs.cli.output import info_fields, info_table, kind_of, print_json, print_table
from datastack_fs.credentials import redact, redact_options
from datastack_fs.iterators.base import DatasetIterator
from datastack_fs.known_datasets import dataset_factory
from datastack_fs.resource import ResourceInfo


@command(
    "datastack-fs prepare digits",
    "datastack-fs prepare mnist --storage s3://lab/datasets",
    "datastack-fs prepare mnist --offline",
    "datastack-fs prepare mnist --storage s3://lab/datasets --engine ray",
)
@click.argument("name")
@storage_options
@click.option("--overwrite", is_flag=True, help="Fetch and prepare it anew, though it is there.")
@click.option(
    "--offline", is_flag=True, default=None, help="Fetch nothing over the network. DATASTACK_OFFLINE=1 says the same."
)
@click.option(
    "--engine",
    type=click.Choice(["ray"]),
    help="Preprocess on the nodes of a Ray cluster (that of RAY_ADDRESS, else this machine), not in this process.",
)
@json_option
def prepare(
    name: str,
    storage: str | None,
    options: dict[str, Any],
    overwrite: bool,
    offline: bool | None,
    engine: str | None,
    as_json: bool,
) -> None:
    """Fetch a dataset, check it, and store it ready to read.

    NAME is one of those that "datastack-fs datasets" lists; "birds@2" is a version. What is prepared already stays as
    it is. A dataset of the catalogue is opened where it is, unless --storage names a store to copy it to.
    """
    factory_class = dataset_factory(name)
    splits = factory_class.splits
    line = _opening(name, splits[0], storage, options)
    entry = in_place(factory_class, storage, options)
    if entry is not None:
        _show_in_place(name, entry, line, as_json)
        return
    with config.connect(storage, **options) as connector:
        given: dict[str, Any] = {} if offline is None else {"offline": offline}
        factory = factory_class(connector, **given)
        factory.prepare(overwrite=overwrite, preprocessing=None if engine is None else preprocess_on_ray)
        infos = factory.resources()
        iterator, _ = factory.get_dataset_iterator(config={"split": splits[0]})
        if as_json:
            print_json(_facts(name, connector.url, infos, splits, iterator, line))
            return
        click.echo(f"{name} is in {connector.url}:\n")
        info_table(infos)
        _show_first(splits[0], iterator, line)


def _show_in_place(name: str, entry: CatalogueEntry, line: str, as_json: bool) -> None:
    splits = tuple(entry.splits)
    iterator = entry.open(splits[0])
    if as_json:
        print_json(_facts(name, entry.storage, [], splits, iterator, line))
        return
    click.echo(f"{name} is opened where it is{f', in {redact(entry.storage)}' if entry.storage else ''}:\n")
    print_table(["split", "file"], [[split, redact(entry.source(split))] for split in splits])
    _show_first(splits[0], iterator, line)


def _show_first(split: str, iterator: DatasetIterator[Any], line: str) -> None:
    sample, target = _first(iterator)
    click.echo(f"\n{split}[0] of {len(iterator):,}: {kind_of(sample)}; target {target}")
    click.echo(f"\nIn Python:\n  {line}")


def _facts(
    name: str,
    storage: str | None,
    infos: Sequence[ResourceInfo],
    splits: Sequence[str],
    iterator: DatasetIterator[Any],
    line: str,
) -> dict[str, Any]:
    sample, target = _first(iterator)
    first = {
        "split": splits[0],
        "index": 0,
        "shape": list(sample.shape) if hasattr(sample, "shape") else None,
        "dtype": str(sample.dtype) if hasattr(sample, "dtype") else None,
        "target": _plain(target),
    }
    return {
        "dataset": name,
        "storage": storage and redact(storage),
        "resources": [info_fields(info) for info in infos],
        "splits": list(splits),
        "samples": len(iterator),
        "sample": first,
        "python": line,
    }


def _first(iterator: DatasetIterator[Any]) -> tuple[Any, Any]:
    row, meta = iterator[0], iterator.meta
    return row[meta.sample_pos], row[meta.target_pos]


def _opening(name: str, split: str, storage: str | None, options: dict[str, Any]) -> str:
    """The line of Python that opens a split, without secrets.

    Examples:
        >>> _opening("digits", "train", "prod", {"secret": "abc", "deadline": 5})
        'datastack_fs.load_dataset("digits", split="train", storage=datastack_fs.connect("prod", secret="***", deadline=5))'
    """  # noqa: E501
    arguments = [] if storage is None else [_quoted(redact(storage))]
    if options:
        shown = [f"{key}={_quoted(value)}" for key, value in redact_options(options).items()]
        arguments = [f"datastack_fs.connect({', '.join([*arguments, *shown])})"]
    where = "".join(f", storage={argument}" for argument in arguments)
    return f'datastack_fs.load_dataset("{name}", split="{split}"{where})'


def _quoted(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def _plain(value: Any) -> Any:
    """A numpy scalar or array as what JSON has."""
    return value.tolist() if hasattr(value, "tolist") else value
