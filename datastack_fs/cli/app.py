"""The command with its subcommands, and the edge where errors become one line and an exit code."""

from __future__ import annotations

import importlib
import logging
import os
import sys
from typing import Any, Final

import click

import datastack_fs
from datastack_fs.cli.examples import WithExamples
from datastack_fs.credentials import redact
from datastack_fs.errors import DatastackError

_COMMANDS: Final = {
    "prepare": "datasets",
    "datasets": "dataset_list",
    "show": "show",
    "report": "report",
    "doctor": "doctor",
    "plan": "plan",
    "repack": "repack",
    "ls": "resources",
    "info": "resources",
    "get": "transfer",
    "put": "transfer",
    "cp": "transfer",
    "rm": "resources",
    "verify": "upkeep",
    "storages": "storages",
    "sweep": "upkeep",
    "cache": "cache",
}
"""In which module each command stands; it is imported when the command is asked for."""

FAILED: Final = 1
INTERRUPTED: Final = 130
BROKEN_PIPE: Final = 141


class App(WithExamples, click.Group):
    """Loads commands lazily, and turns what they raise into exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which a new user needs them."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports the command's module."""
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"datastack_fs.cli.{_COMMANDS[cmd_name]}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command: 0 went well, 1 an error in one line, 2 misuse, 130 interrupted, 141 a closed pipe."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            ctx.exit(INTERRUPTED)
        except BrokenPipeError:
            # Whoever read the output has gone; what is still buffered must not raise again when Python exits.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(BROKEN_PIPE)
        except Exception as error:  # the edge to people: nothing ends in a traceback
            if ctx.params.get("debug"):
                raise
            click.echo(f"error: {_one_line(error)}", err=True)
            ctx.exit(FAILED)


def _one_line(error: Exception) -> str:
    text = " ".join(redact(str(error)).split())
    if isinstance(error, DatastackError):
        return text
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename and error.strerror else text
    return f"unexpected {type(error).__name__}: {text} (--debug shows where)"


@click.group(
    cls=App,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    examples=[
        "datastack-fs prepare digits",
        "datastack-fs show digits --split train --index 0",
        "datastack-fs report digits --out digits.html",
        "datastack-fs ls --storage s3://lab/datasets",
    ],
)
@click.version_option(datastack_fs.__version__, prog_name="datastack-fs")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.option("-v", "--verbose", is_flag=True, help="Say on stderr what goes on, such as retries.")
def app(debug: bool, verbose: bool) -> None:
    """Datasets as plain files in any store: a folder, S3, GCS, MongoDB, HTTP, an archive.

    A store (--storage) is a URL, a path with a "/" in it, or a profile of datastack.yaml. Without it:
    $DATASTACK_STORAGE, else the file's default, else ./datasets.
    """
    if verbose:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger = logging.getLogger("datastack_fs")
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
