"""``show``."""

from __future__ import annotations

import os
import shutil
import sys
from typing import Any

import click

from datastack_fs.cli.drawing import draw, save_picture
from datastack_fs.cli.examples import command
from datastack_fs.cli.opening import opened
from datastack_fs.cli.options import storage_options
from datastack_fs.cli.output import kind_of, print_table


@command(
    "datastack-fs show digits --split train --index 0",
    "datastack-fs show digits --index -1 --out sample.png",
)
@click.argument("name")
@click.option("--split", help="Which part of the dataset; by default the first.")
@click.option("--index", default=0, show_default=True, help="Which sample; negative ones count from the end.")
@storage_options
@click.option(
    "--out", type=click.Path(dir_okay=False, writable=True), help="Write a picture (.png, .svg, .pdf) instead."
)
def show(
    name: str, split: str | None, index: int, storage: str | None, options: dict[str, Any], out: str | None
) -> None:
    """Draw a sample in the terminal, or as a picture.

    NAME is one of those that "datastack-fs datasets" lists.
    """
    with opened(name, split, storage, options) as iterator:
        meta = iterator.meta
        split = split or meta.tag
        if not -len(iterator) <= index < len(iterator):
            raise click.BadParameter(f"{split} has {len(iterator):,} samples", param_hint="--index")
        row = iterator[index]
    sample, target = row[meta.sample_pos], row[meta.target_pos]
    class_name = meta.class_names[int(target)] if meta.class_names else str(target)
    named = "" if class_name == str(target) else f" ({class_name})"
    label = f"{name} {split}[{index}]: target {target}{named}"
    if out is not None:
        save_picture(sample, label, out)
        click.echo(f"wrote {out}")
        return
    if meta.feature_names and len(meta.feature_names) == len(sample):
        values = zip(meta.feature_names, map(str, sample), strict=True)
        print_table(["feature", ">value"], list(values))
    else:
        columns = shutil.get_terminal_size().columns
        colors = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        click.echo(draw(sample, columns=columns, colors=colors, encoding=sys.stdout.encoding or "ascii"))
    click.echo(f"{label}; {kind_of(sample)}")
