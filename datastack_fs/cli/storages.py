"""``storages``."""

from __future__ import annotations

import os
from typing import Any

import click

from datastack_fs import profile_choice
from datastack_fs.cli.examples import command
from datastack_fs.cli.options import json_option
from datastack_fs.cli.output import print_json, print_table
from datastack_fs.credentials import redact, redact_options
from datastack_fs.profiles import Configuration, load_configuration


@command("datastack-fs storages")
@json_option
def storages(as_json: bool) -> None:
    """List the profiles of the configuration file, without secrets."""
    configuration = load_configuration()
    default = default_storage(configuration)
    rows = [_row(configuration, name, name == default) for name in configuration.profiles]
    if as_json:
        files = [str(file) for file in configuration.files]
        print_json({"files": files, "default": redact(default), "storages": rows})
        return
    click.echo(configuration.summary())
    if rows:
        print_table(["", "name", "url", "", "options"], [_cells(row) for row in rows])
    click.echo(f"default: {redact(default)}")


def default_storage(configuration: Configuration) -> str:
    """What is used when no store is named."""
    return os.environ.get(profile_choice.STORAGE_VARIABLE) or configuration.default or profile_choice.DEFAULT_FOLDER


def _row(configuration: Configuration, name: str, is_default: bool) -> dict[str, Any]:
    profile = configuration.profiles[name]
    return {
        "name": name,
        "url": redact(profile.url),
        "read_only": bool(profile.read_only),
        "options": redact_options(profile.options),
        "default": is_default,
    }


def _cells(row: dict[str, Any]) -> list[str]:
    options = " ".join(f"{name}={value}" for name, value in row["options"].items())
    return ["*" if row["default"] else " ", row["name"], row["url"], "read-only" if row["read_only"] else "", options]
