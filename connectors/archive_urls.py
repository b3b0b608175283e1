"""The URLs of archives: ``zip::s3://lab/birds.zip``, and ``zip://owl.txt::s3://lab/birds.zip`` of a member."""

from __future__ import annotations

from typing import Final

from datastack_fs.credentials import redact
from datastack_fs.errors import ConfigError

KINDS: Final = ("zip", "tar")


def split_archive_url(url: str) -> tuple[str, str, str]:
    """The kind, the member or folder, and the archive's own URL.

    Raises:
        ConfigError: it is no such URL.

    Examples:
        >>> split_archive_url("tar://birds/owl.txt::s3://lab/birds.tar")
        ('tar', 'birds/owl.txt', 's3://lab/birds.tar')
    """
    outer, separator, archive_url = url.partition("::")
    kind, _, member = outer.partition("://")
    if not separator or kind not in KINDS:
        raise ConfigError(f"{redact(url)}: the URL of an archive is zip::<its own URL> or tar::<its own URL>")
    return kind, member, type(url)(archive_url)


def resource_url(store_url: str, identifier: str) -> str:
    """The URL of a resource in a store.

    Examples:
        >>> resource_url("mongodb://host/lab?bucket=fs", "birds.zip")
        'mongodb://host/lab/birds.zip?bucket=fs'
    """
    base, mark, query = store_url.partition("?")
    return f"{base.rstrip('/')}/{identifier}{mark}{query}"
