"""Errors of pyarrow as ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pyarrow as pa

from datastack_fs.errors import DatasetFileCorruptError, DatastackError

# What pyarrow raises on broken files: its own errors, and built-in ones for what Python code of it stumbles over.
_ARROW_ERRORS: Final = (
    pa.ArrowException,
    OSError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    OverflowError,
    MemoryError,
)


@contextmanager
def reading_arrow(what: str, kind: str) -> Iterator[None]:
    """Around everything that pyarrow does: whatever it raises on a broken file becomes ours, and names the file."""
    try:
        yield
    except DatastackError:
        raise
    except _ARROW_ERRORS as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DatasetFileCorruptError(f"{what} can't be read as {kind}: {reason}") from error
