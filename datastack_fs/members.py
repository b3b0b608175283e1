"""The members of an archive that is unpacked: names that stay within a folder, limits, errors."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from datastack_fs.decompression import StreamError
from datastack_fs.errors import (
    DatasetFileCorruptError,
    DatastackError,
    MalformedIdentifierError,
    MaliciousFilePathError,
    UnsupportedStorageError,
)
from datastack_fs.identifiers import check_identifier


class Members:
    """The names of an archive's members as identifiers, each once, within limits.

    Args:
        file: the archive.
        prefix: a folder of the store that the names begin from.
        max_members: the most members.
        max_size: the most bytes that they may have together.

    Attributes:
        archive: what to call it in messages.
    """

    def __init__(self, file: BinaryIO, prefix: str, max_members: int, max_size: int) -> None:
        self.archive = str(getattr(file, "name", "the archive"))
        self._folder = f"{check_identifier(prefix.rstrip('/'))}/" if prefix else ""
        self._max_members = max_members
        self._max_size = max_size
        self._count = 0
        self._size = 0
        self._files: set[str] = set()
        self._folders: set[str] = set()

    def take(self, name: str, size: int, *, is_file: bool, is_folder: bool = False) -> str:
        """The identifier of the next member; "" for a folder.

        Raises:
            MaliciousFilePathError: a name that leaves the folder, a link or a device.
            MalformedIdentifierError: a name that is no identifier.
            StreamError: it was there before, or a limit is passed.
        """
        self._count += 1
        self._size += size
        if self._count > self._max_members:
            raise StreamError(f"it has more than {self._max_members:,} members; max_members= allows more")
        if self._size > self._max_size:
            raise StreamError(f"its members have more than {self._max_size:,} bytes; max_size= allows more")
        plain = name.rstrip("/") if is_folder else name
        while plain.startswith("./"):  # as "tar -C folder ." writes them
            plain = plain[2:]
        if is_folder and plain in {"", "."}:
            return ""
        try:
            identifier = check_identifier(self._folder + check_identifier(plain))
        except (MaliciousFilePathError, MalformedIdentifierError) as error:
            raise type(error)(f"{self.archive}: a member's {error}") from error
        if is_folder:
            return ""
        if not is_file:
            raise MaliciousFilePathError(f"{self.archive}: the member {name!r} is a link, a device or a sparse file")
        self._check_free(identifier)
        return identifier

    def _check_free(self, identifier: str) -> None:
        segments = identifier.split("/")
        parents = {"/".join(segments[:length]) for length in range(1, len(segments))}
        if identifier in self._files:
            raise StreamError(f"{identifier!r} is there more than once")
        if identifier in self._folders or parents & self._files:
            raise StreamError(f"{identifier!r} would be a file and a folder")
        self._files.add(identifier)
        self._folders |= parents


@contextmanager
def translated(archive: str, member: str | None = None) -> Iterator[None]:
    """Whatever is wrong with an archive, as an error that names it."""
    what = archive if member is None else f"{member!r} of {archive}"
    try:
        yield
    except UnsupportedStorageError as error:
        raise UnsupportedStorageError(f"{what}: {error}") from error
    except DatastackError:
        raise
    except StreamError as error:
        raise DatasetFileCorruptError(f"can't unpack {what}: {error}") from error
    except OSError as error:
        if not isinstance(error, io.UnsupportedOperation):  # a seek to where nothing is: a directory that lies
            raise
        raise DatasetFileCorruptError(f"can't unpack {what}: it is damaged ({error})") from error
    except Exception as error:  # the translating edge: zipfile and tarfile raise anything on a damaged archive
        hidden = error.__context__  # zipfile takes an OSError, as ours may be, for a damaged archive
        if isinstance(hidden, DatastackError):
            raise hidden from error
        reason = f"it is damaged, or no archive ({type(error).__name__}: {error})"
        raise DatasetFileCorruptError(f"can't unpack {what}: {reason}") from error
