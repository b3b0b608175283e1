"""What to retrieve: where a file is published, what it must be, and what it is called in the store."""

from __future__ import annotations

import os
from dataclasses import dataclass

from datastack_fs.checksums import parse_checksum
from datastack_fs.credentials import redact
from datastack_fs.identifiers import check_identifier


@dataclass(frozen=True, repr=False)
class ResourceDefinition:
    """Where a file is published, what it must be, and what it is called in the store.

    Attributes:
        identifier: its name within the store.
        source: a URL (of the web, or of a resource in any store), the path of a file, or ``package://package/file``
            for a file of an installed package.
        checksum: ``sha256:<hex>``, ``sha512:<hex>``, ``sha1:<hex>`` or ``md5:<hex>``, in lower case; without, whatever
            comes is taken.
        md5_sum: the hex digits alone, another way to say ``checksum``; None if that is no md5.

    Examples:
        >>> ResourceDefinition("a.gz", "https://host/a.gz", md5_sum="D41D8CD98F00B204E9800998ECF8427E").checksum
        'md5:d41d8cd98f00b204e9800998ecf8427e'
    """

    identifier: str
    source: str
    checksum: str | None = None
    md5_sum: str | None = None

    def __post_init__(self) -> None:
        check_identifier(self.identifier)
        object.__setattr__(self, "source", os.fspath(self.source))
        given = [self.checksum, f"md5:{self.md5_sum}" if self.md5_sum else None]
        checksums = {":".join(parse_checksum(text)) for text in given if text is not None}
        if len(checksums) > 1:
            raise ValueError(
                f"{self.identifier}: checksum {self.checksum} and md5_sum {self.md5_sum}: give one of them"
            )
        checksum = next(iter(checksums), None)
        object.__setattr__(self, "checksum", checksum)
        md5 = checksum.removeprefix("md5:") if checksum is not None and checksum.startswith("md5:") else None
        object.__setattr__(self, "md5_sum", md5)

    def __repr__(self) -> str:
        return f"ResourceDefinition({self.identifier!r}, {redact(self.source)!r}, {self.checksum!r})"
