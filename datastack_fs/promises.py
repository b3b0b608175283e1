"""Whether bytes begin as the ending of their name promises: a web page is no archive."""

import re
from collections.abc import Generator, Iterator
from pathlib import PurePosixPath
from typing import Final

from datastack_fs.errors import RetrievalError

MAGIC: Final = {
    ".gz": (b"\x1f\x8b",),
    ".tgz": (b"\x1f\x8b",),
    ".bz2": (b"BZh",),
    ".xz": (b"\xfd7zXZ\0",),
    ".zip": (b"PK\x03\x04", b"PK\x05\x06"),
    ".npz": (b"PK\x03\x04", b"PK\x05\x06"),
    ".npy": (b"\x93NUMPY",),
    ".h5": (b"\x89HDF\r\n\x1a\n",),
    ".hdf5": (b"\x89HDF\r\n\x1a\n",),
    ".parquet": (b"PAR1",),
}
"""First bytes of the formats that have some."""

_PEEKED = 64 << 10
_HTML = re.compile(rb"\s*(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body)[\s>]", re.IGNORECASE | re.DOTALL)
_TITLE = re.compile(rb"<title[^>]*>(.*?)(?:</title|$)", re.IGNORECASE | re.DOTALL)
_HTML_ENDINGS = {".html", ".htm", ".xhtml"}
_HDF5_ENDINGS = {".h5", ".hdf5"}
_LONGEST_TITLE = 80


def as_promised(blocks: Iterator[bytes], identifier: str, source: str) -> Generator[bytes, None, None]:
    """Passes blocks on, if they begin as the identifier's ending promises.

    Raises:
        RetrievalError: they are a web page, or another kind of file; before any block is passed on.

    Examples:
        >>> page = iter([b"<html><title>Please log in</title>"])
        >>> list(as_promised(page, "train.gz", "http://host/train.gz"))
        Traceback (most recent call last):
        datastack_fs.errors.RetrievalError: http://host/train.gz: a web page came instead of train.gz: 'Please log in'
    """
    start = bytearray()
    for block in blocks:
        start += block
        if len(start) >= _PEEKED:
            break
    _check(bytes(start[:_PEEKED]), identifier, source)
    if start:
        yield bytes(start)
    yield from blocks


def _check(start: bytes, identifier: str, source: str) -> None:
    ending = PurePosixPath(identifier).suffix.lower()
    magic = MAGIC.get(ending, ())
    # Before an HDF5 file there may be a user block of 512 bytes, or of twice as many, ….
    offsets = (0, *(512 << power for power in range(7))) if ending in _HDF5_ENDINGS else (0,)
    if any(start.startswith(magic, offset) for offset in offsets):
        return
    if _HTML.match(start.removeprefix(b"\xef\xbb\xbf")) and ending and ending not in _HTML_ENDINGS:
        raise RetrievalError(f"{source}: a web page came instead of {identifier}{_title(start)}")
    if magic:
        expected = " or ".join(repr(each) for each in magic)
        raise RetrievalError(f"{source}: {identifier} should begin with {expected}, but {start[:16]!r} came")


def _title(page: bytes) -> str:
    found = _TITLE.search(page)
    words = " ".join(found[1].decode(errors="replace").split()) if found else ""
    shown = "".join(letter for letter in words if letter.isprintable())[:_LONGEST_TITLE]
    return f": {shown!r}" if shown else ""
