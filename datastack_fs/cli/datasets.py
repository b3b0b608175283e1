"""``prepare`` and ``datasets``."""

from __future__ import annotations

import json
from typing import Any

import click

from datastack_fs import config
from datastack_fs.cli.examples import command
from datastack_fs.cli.options import json_option, storage_options
from datastack_fs.cli.output import info_fields, info_table, print_json, print_table
from datastack_fs.credentials import redact, redact_options
from datastack_fs.registry import dataset_factory, dataset_names


@command(
    "datastack-fs prepare digits",
    "datastack-fs prepare mnist --storage s3://lab/datasets",
    "datastack-fs prepare mnist --offline",
)
@click.argument("name")
@storage_options
@click.option("--overwrite", is_flag=True, help="Fetch and prepare it anew, though it is there.")
@click.option(
    "--offline", is_flag=True, default=None, help="Fetch nothing over the network. DATASTACK_OFFLINE=1 says the same."
)
@json_option
def prepare(
    name: str, storage: str | None, options: dict[str, Any], overwrite: bool, offline: bool | None, as_json: bool
) -> None:
    """Fetch a dataset, check it, and store it ready to read.

    NAME is one of those that "datastack-fs datasets" lists. What is prepared already stays as it is.
    """
    factory_class = dataset_factory(name)
    with config.connect(storage, **options) as connector:
        factory = factory_class(connector, **({} if offline is None else {"offline": offline}))
        factory.prepare(overwrite=overwrite)
        infos = factory.resources()
        split = factory.splits[0]
        iterator, meta = factory.get_dataset_iterator(config={"split": split})
        row = iterator[0]
        sample, target = row[meta.sample_pos], row[meta.target_pos]
        line = _opening(name, split, storage, options)
        if as_json:
            print_json(
                {
                    "dataset": name,
                    "storage": connector.url,
                    "resources": [info_fields(info) for info in infos],
                    "splits": list(factory.splits),
                    "samples": len(iterator),
                    "sample": {
                        "split": split,
                        "index": 0,
                        "shape": list(sample.shape),
                        "dtype": str(sample.dtype),
                        "target": _plain(target),
                    },
                    "python": line,
                }
            )
            return
        click.echo(f"{name} is in {connector.url}:\n")
        info_table(infos)
        click.echo(f"\n{split}[0] of {len(iterator):,}: shape {sample.shape}, {sample.dtype}; target {target}")
        click.echo(f"\nIn Python:\n  {line}")


@command("datastack-fs datasets")
@json_option
def datasets(as_json: bool) -> None:
    """List the datasets that are known by name."""
    rows: list[dict[str, Any]] = []
    for name in dataset_names():
        factory_class = dataset_factory(name)
        summary = (factory_class.__doc__ or "").strip().partition("\n")[0]
        rows.append({"name": name, "splits": list(factory_class.splits), "summary": summary})
    if as_json:
        print_json(rows)
    else:
        cells = [[row["name"], ", ".join(row["splits"]), row["summary"]] for row in rows]
        print_table(["name", "splits", "what it is"], cells)


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
