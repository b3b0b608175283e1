"""The command ``datastack-fs``."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from typing import NoReturn


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs the command with the arguments of the process, or those given, and exits with its code."""
    try:
        from datastack_fs.cli.app import INTERRUPTED, app
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        print("error: the command needs click: pip install 'datastack-fs[cli]'", file=sys.stderr)
        sys.exit(2)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name that the terminal has no letters for is shown as \u1234, which no other name can be.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app.main(args=None if arguments is None else list(arguments), prog_name="datastack-fs")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    sys.exit()
