"""What an identifier may be: the one place that knows.

An identifier names a resource within a store, the same on every backend: ``birds/train.h5``. The grammar is the
intersection of what a folder, S3, GCS, GridFS, HTTP and archives hold without interpreting it:

- ``/``-separated segments of 1 to 200 bytes, at most 900 bytes in all, UTF-8 in normal form C;
- no empty, ``.`` or ``..`` segment, no leading or trailing ``/``;
- no backslash, NUL, control character or lone surrogate, no ``:`` in the first segment;
- no segment that begins with ``.datastack``: those names are the library's own.

Percent sequences are literal text: ``%2e`` is three characters, never a dot. Sources of the two limits: POSIX
``NAME_MAX`` is 255 bytes (a temporary name needs some), S3 and GCS keys hold 1,024 bytes (a prefix needs some).
"""

import re
import unicodedata
from collections.abc import Sequence
from string import ascii_letters, digits
from typing import Final

from datastack_fs.errors import ConfigError, MalformedIdentifierError, MaliciousFilePathError

MAX_BYTES: Final = 900
MAX_SEGMENT_BYTES: Final = 200
RESERVED: Final = ".datastack"
"""Beginning of the names that the library keeps for itself (temporary files); never listed, never accepted."""

_ESCAPE_SEGMENTS = frozenset({".", ".."})
_CONTROL = re.compile(r"[\x01-\x1f\x7f-\x9f\u2028\u2029]")
_DRIVE = re.compile(r"[A-Za-z]:")
_USUAL = re.compile(r"[\w-][\w.-]*(?:/[\w-][\w.-]*)*", re.ASCII)
"""Most identifiers: none of these, up to the length of a segment, has anything to be refused."""

_USUAL_BYTES = f"{ascii_letters}{digits}_-./\n".encode()
_UNUSUAL = ("\n.", "/.", "//", "\n/", "/\n", "\n\n")


def check_identifier(identifier: str) -> str:
    r"""Returns the identifier as it is, or says what is wrong with it.

    Raises:
        MaliciousFilePathError: it tries to leave the store (``..``, ``.``, absolute, drive letter, NUL, backslash).
        MalformedIdentifierError: it is outside the grammar in another way.
        TypeError: it is not a string.

    Examples:
        >>> check_identifier("birds/train.h5")
        'birds/train.h5'
        >>> check_identifier("../secret")
        Traceback (most recent call last):
        datastack_fs.errors.MaliciousFilePathError: identifier '../secret': '..' segments are refused
    """
    if isinstance(identifier, str) and len(identifier) <= MAX_SEGMENT_BYTES and _USUAL.fullmatch(identifier):
        return identifier
    _check_text(identifier)
    for segment in identifier.split("/"):
        if not segment:
            raise _malformed(identifier, "empty segments are refused ('//', or a '/' at the end)")
        _check_segment(identifier, segment)
    return identifier


def check_prefix(prefix: str) -> str:
    """Returns the beginning of identifiers as it is: an identifier whose last segment may be unfinished, or "".

    Examples:
        >>> check_prefix("birds/")
        'birds/'
    """
    if prefix == "":
        return prefix
    _check_text(prefix)
    *folders, last = prefix.split("/")
    for segment in folders:
        if not segment:
            raise _malformed(prefix, "empty segments are refused ('//')")
        _check_segment(prefix, segment)
    if last and last not in _ESCAPE_SEGMENTS:
        _check_segment(prefix, last)
    return prefix


def key_prefix(folder: str, key_bytes: int) -> str:
    """What the keys of a folder in a bucket begin with: "" or ``folder/``, with room left for any identifier.

    Args:
        folder: an identifier, or "" for the whole bucket; slashes at its ends are dropped.
        key_bytes: the longest key that the bucket takes.

    Raises:
        ConfigError: the folder's name leaves too little room.

    Examples:
        >>> key_prefix("/lab/birds/", 1024)
        'lab/birds/'
    """
    folder = folder.strip("/")
    if not folder:
        return ""
    check_identifier(folder)
    room = key_bytes - MAX_BYTES - 1
    if len(folder.encode()) > room:
        raise ConfigError(f"the prefix {folder!r} is longer than {room} bytes: keys here hold {key_bytes:,} in all")
    return folder + "/"


def is_identifier(text: str) -> bool:
    """Whether a name found in a store is one that this library could have asked for.

    Examples:
        >>> is_identifier("a/b"), is_identifier("a//b"), is_identifier("a/.datastack-tmp-1")
        (True, False, False)
    """
    try:
        check_identifier(text)
    except (MaliciousFilePathError, MalformedIdentifierError):
        return False
    return True


def are_usual(names: Sequence[str]) -> bool:
    """Whether all names are of the most usual kind, which has nothing to be refused, and none begins with a dot.

    Examples:
        >>> are_usual(["a/b.txt", "c"]), are_usual(["a", "../b"]), are_usual(["naïve"])
        (True, False, False)
    """
    text = "\n".join(["", *names, ""])
    return (
        text.isascii()
        and not text.encode().translate(None, _USUAL_BYTES)
        and text.count("\n") == len(names) + 1
        and not any(refused in text for refused in _UNUSUAL)
        and max(map(len, names), default=0) <= MAX_SEGMENT_BYTES
    )


def _check_text(identifier: str) -> None:
    if not isinstance(identifier, str):
        raise TypeError(f"an identifier is a str, not {type(identifier).__name__}")
    if not identifier:
        raise _malformed(identifier, "it is empty")
    if "\0" in identifier:
        raise _malicious(identifier, "NUL is refused")
    if "\\" in identifier:
        raise _malicious(identifier, "backslashes are refused; segments are separated by '/'")
    if identifier.startswith("/"):
        raise _malicious(identifier, "absolute paths are refused; an identifier is relative to its store")
    first = identifier.split("/", 1)[0]
    if _DRIVE.match(first):
        raise _malicious(identifier, "drive letters are refused; an identifier is relative to its store")
    if ":" in first:
        raise _malformed(identifier, "':' in the first segment is refused; a URL goes to open_resource or connect")
    try:
        size = len(identifier.encode())
    except UnicodeEncodeError:
        raise _malformed(identifier, "lone surrogates are refused") from None
    if size > MAX_BYTES:
        raise _malformed(identifier[:40] + "…", f"{size} bytes, and at most {MAX_BYTES} are allowed")
    if _CONTROL.search(identifier):
        raise _malformed(identifier, "control characters are refused")
    if not unicodedata.is_normalized("NFC", identifier):
        raise _malformed(identifier, "not in Unicode normal form C: unicodedata.normalize('NFC', …) mends it")


def _check_segment(identifier: str, segment: str) -> None:
    if segment in _ESCAPE_SEGMENTS:
        raise _malicious(identifier, f"'{segment}' segments are refused")
    if len(segment.encode()) > MAX_SEGMENT_BYTES:
        raise _malformed(identifier[:40] + "…", f"a segment is longer than {MAX_SEGMENT_BYTES} bytes")
    if segment.startswith(RESERVED):
        raise _malformed(identifier, f"segments beginning with '{RESERVED}' are the library's own")


def _malicious(identifier: str, reason: str) -> MaliciousFilePathError:
    return MaliciousFilePathError(f"identifier {identifier!r}: {reason}")


def _malformed(identifier: str, reason: str) -> MalformedIdentifierError:
    return MalformedIdentifierError(f"identifier {identifier!r}: {reason}")
