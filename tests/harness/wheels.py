"""Server programs inside installed wheels."""

from __future__ import annotations

import stat
from importlib import metadata
from pathlib import Path


class ServerError(RuntimeError):
    """A server can't be started, or died while starting; the message ends with the tail of its log."""


def program(wheel: str, name: str) -> str:
    """Return the path of the program of this `name` in an installed wheel, ready to run.

    Raises:
        ServerError: The wheel isn't installed, or holds no such program.
    """
    try:
        files = metadata.files(wheel) or []
    except metadata.PackageNotFoundError:
        raise ServerError(f"no {name}: the wheel {wheel} is not installed") from None
    for file in files:
        if file.name == name:
            path = Path(str(file.locate())).resolve()
            if not path.stat().st_mode & stat.S_IXUSR:
                path.chmod(path.stat().st_mode | stat.S_IXUSR)
            return str(path)
    raise ServerError(f"no {name} in the wheel {wheel}")
