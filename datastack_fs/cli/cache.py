"""``cache`` with its subcommands."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from datastack_fs.cache.settings import CacheSettings
from datastack_fs.cache.upkeep import CacheUpkeep
from datastack_fs.cli.examples import WithExamples, command
from datastack_fs.cli.options import json_option, locate, storage_options
from datastack_fs.cli.output import print_json, print_table
from datastack_fs.errors import ConfigError
from datastack_fs.profile_choice import find_profile


class _Group(WithExamples, click.Group):
    """Commands of one kind."""


@click.group(cls=_Group, examples=["datastack-fs cache info /nvme/cache"])
def cache() -> None:
    """Look after a cache of remote resources on this machine's disk.

    PATH is the folder that cache= names in connect(url, cache=...) or in a profile; without it, that of the profile
    that is the default.
    """


@command("datastack-fs cache info /nvme/cache")
@click.argument("path", required=False)
@json_option
def info(path: str | None, as_json: bool) -> None:
    """Tell what is in it, and what it has served."""
    facts = asdict(CacheUpkeep(_folder(path)).facts())
    if as_json:
        print_json(facts)
    else:
        rows = [
            [name.replace("_", " "), f"{value:,}" if isinstance(value, int) else value] for name, value in facts.items()
        ]
        print_table(["", ""], rows)


@command("datastack-fs cache clear /nvme/cache")
@click.argument("path", required=False)
@json_option
def clear(path: str | None, as_json: bool) -> None:
    """Remove all its blocks, pinned ones, too, and nothing else; jobs that use it go on."""
    folder = _folder(path)
    removed = CacheUpkeep(folder).clear()
    if as_json:
        print_json({"folder": folder, "removed": removed})
    else:
        click.echo(f"removed {removed:,} bytes from {folder}")


@command("datastack-fs cache verify /nvme/cache")
@click.argument("path", required=False)
@json_option
@click.pass_context
def verify(context: click.Context, path: str | None, as_json: bool) -> None:
    """Read all its blocks, and forget those that are damaged.

    The exit code is 1 if any is: that disk may be failing. What is read through a cache is checked each time.
    """
    folder = _folder(path)
    blocks, damaged = CacheUpkeep(folder).verify()
    if as_json:
        print_json({"folder": folder, "blocks": blocks, "damaged": damaged})
    else:
        click.echo(f"{blocks:,} blocks in {folder}, {damaged:,} of them damaged")
    if damaged:
        context.exit(1)


@command("datastack-fs cache pin birds/train.h5 --storage prod", "datastack-fs cache pin birds/train.h5 --undo")
@click.argument("resource")
@storage_options
@click.option("--undo", is_flag=True, help="Let the cache drop it again.")
def pin(resource: str, storage: str | None, options: dict[str, Any], undo: bool) -> None:
    """Fetch a resource into the cache of its store, where it stays whole."""
    connector, identifier = locate(resource, storage, options)
    with connector:
        if undo:
            click.echo(f"{identifier} {'is no longer pinned' if connector.unpin(identifier) else 'was not pinned'}")
        else:
            click.echo(f"{identifier} is pinned, {connector.pin(identifier).size:,} bytes")


for each in (info, clear, verify, pin):
    cache.add_command(each)


def _folder(path: str | None) -> str:
    if path is not None:
        return path
    profile = find_profile(None)
    settings = CacheSettings.of(profile.options)
    if settings is None:
        raise ConfigError(f"{profile.label} has no cache: name its folder, or set cache: in the profile")
    return settings.folder
