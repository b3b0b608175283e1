"""``report``."""

from __future__ import annotations

import re
from contextlib import ExitStack
from typing import Any

import click

from datastack_fs import config
from datastack_fs.cli.app import FAILED
from datastack_fs.cli.examples import command
from datastack_fs.cli.opening import opened
from datastack_fs.cli.options import is_address, storage_options
from datastack_fs.iterators.base import DatasetIterator
from datastack_fs.iterators.report.making import report as make_report
from datastack_fs.iterators.report.model import ENDINGS, check_ending
from datastack_fs.known_datasets import dataset_names

_NAME = re.compile(r"[\w-]+")


def _check_out(context: click.Context, parameter: click.Parameter, path: str | None) -> str | None:
    try:
        if path is not None:
            check_ending(path)
    except ValueError as error:
        raise click.BadParameter(str(error), context, parameter) from None
    return path


@command(
    "datastack-fs report digits --split train --out digits.html",
    "datastack-fs report s3://lab/birds/train.h5 -o sample=images -o target=labels --out birds.html",
    "datastack-fs report birds/train.npz --storage prod --out birds.json",
)
@click.argument("target")
@click.option("--split", help="Which part of a dataset that is known by name.  [default: its first]")
@click.option("--format", "format_", help="The format of a file, where neither bytes nor ending tell it.")
@storage_options
@click.option("--samples", type=click.IntRange(1), default=256, show_default=True, help="How many to look at, at most.")
@click.option(
    "--seconds", type=click.FloatRange(0), default=2.0, show_default=True, help="For timing, all in all; 0 for none."
)
@click.option("--full", is_flag=True, help="Look at every sample, also of a remote store.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, writable=True),
    callback=_check_out,
    help=f"Write a file ({', '.join(ENDINGS)}); else Markdown is printed.",
)
def report(
    target: str,
    split: str | None,
    format_: str | None,
    storage: str | None,
    options: dict[str, Any],
    samples: int,
    seconds: float,
    full: bool,
    out: str | None,
) -> None:
    """Report what a dataset holds, as a page, Markdown, JSON or YAML.

    TARGET is one of those that "datastack-fs datasets" lists, or a file of samples: an identifier in the store, a URL,
    or a path that begins with ./ or /. For a file, -o gives options of its format too, such as sample=images.

    The exit code is 1 if there are problems, which the report lists: samples that can't be read, targets outside the
    named classes.
    """
    with ExitStack() as stack:
        iterator = _open(target, split, format_, storage, options, stack)
        found = make_report(iterator, samples=samples, seconds=seconds, full=full)
    if out is None:
        click.echo(found.to_markdown(), nl=False)
    else:
        found.save(out)
        click.echo(f"wrote {out}")
    for problem in found.problems:
        click.echo(f"problem: {problem}", err=True)
    if found.problems:
        click.get_current_context().exit(FAILED)


def _open(
    target: str,
    split: str | None,
    format_: str | None,
    storage: str | None,
    options: dict[str, Any],
    stack: ExitStack,
) -> DatasetIterator[Any]:
    if target in dataset_names() or (format_ is None and _NAME.fullmatch(target)):
        if format_ is not None:
            raise click.UsageError("--format goes with a file, not with a dataset that is known by name")
        return stack.enter_context(opened(target, split, storage, options))
    if split is not None:
        raise click.UsageError("--split goes with a dataset that is known by name, not with a file")
    if storage is None and not is_address(target):
        return config.open_dataset(target, format=format_, storage=stack.enter_context(config.connect()), **options)
    return config.open_dataset(target, format=format_, storage=storage, **options)
