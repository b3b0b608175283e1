"""A local text file, written all or nothing."""

import os
import tempfile
from contextlib import suppress


def write_whole(path: str, text: str) -> None:
    """Writes a text file; on any error the previous one stays, or none.

    Examples:
        >>> write_whole("notes.txt", "owl")
        >>> open("notes.txt").read()
        'owl'
    """
    descriptor, temporary = tempfile.mkstemp(dir=os.path.dirname(path) or ".", prefix=".datastack-")
    try:
        with open(descriptor, "w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
