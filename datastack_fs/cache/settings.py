"""Where a cache lies on this machine, and how large it may become."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from datastack_fs.credentials import expand
from datastack_fs.errors import ConfigError

CACHE_OPTIONS: Final = frozenset({"cache", "cache_size", "cache_free"})
"""The options of ``connect`` that speak of the cache."""

SMALLEST: Final = 1 << 20
DEFAULT_SIZE: Final = 20 * 10**9
DEFAULT_FREE: Final = 5 * 10**9

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([kMGT]?)B|([KMGT])iB)?", re.IGNORECASE)
_POWERS: Final = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


@dataclass(frozen=True)
class CacheSettings:
    """A cache of blocks of remote resources, in a folder of this machine.

    Attributes:
        folder: where; what lies there besides the cache's own files is never touched.
        size: bytes that all its files together may take, over all processes that share it.
        free: bytes of the disk that it leaves free, whatever its size.

    Examples:
        >>> CacheSettings.of({"cache": "/nvme/cache", "cache_size": "200 GB", "cache_free": "5 GB"})
        CacheSettings(folder='/nvme/cache', size=200000000000, free=5000000000)
        >>> CacheSettings.of({}) is None
        True
    """

    folder: str
    size: int = DEFAULT_SIZE
    free: int = DEFAULT_FREE

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> CacheSettings | None:
        """What the options ``cache``, ``cache_size`` and ``cache_free`` say; None where there is no ``cache``.

        Raises:
            ConfigError: a size that is none, or one without a folder.
        """
        folder = expand(options.get("cache"))
        sizes = {name: options[name] for name in ("cache_size", "cache_free") if options.get(name) is not None}
        if folder is None:
            if sizes:
                raise ConfigError(f"{' and '.join(sizes)} without cache=…, which names the folder of the cache")
            return None
        if not isinstance(folder, (str, os.PathLike)) or not os.fspath(folder):
            raise ConfigError(f"cache={folder!r}: it is the path of a folder")
        size = parse_size("cache_size", sizes.get("cache_size", DEFAULT_SIZE))
        free = parse_size("cache_free", sizes.get("cache_free", DEFAULT_FREE))
        if size < SMALLEST:
            raise ConfigError(f"cache_size is {size:,} bytes; a cache has {SMALLEST:,} at least")
        return cls(os.path.abspath(os.path.expanduser(os.fspath(folder))), size, free)


def parse_size(name: str, value: Any) -> int:
    """Bytes, given as a number or as text with a unit.

    Raises:
        ConfigError: it is neither.

    Examples:
        >>> parse_size("cache_size", "200 GB"), parse_size("cache_size", "64 MiB"), parse_size("cache_size", 4096)
        (200000000000, 67108864, 4096)
    """
    text = expand(value)
    if isinstance(text, int) and not isinstance(text, bool) and text >= 0:
        return text
    match = _SIZE.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        raise ConfigError(f"{name}={value!r}: a size is a number of bytes, or text such as '200 GB' or '64 MiB'")
    number, decimal, binary = match.groups()
    base, unit = (1024, binary) if binary else (1000, decimal or "")
    return int(float(number) * base ** _POWERS[unit.upper()])
