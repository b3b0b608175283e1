"""Which profile a name, path, URL, mapping, or nothing at all stands for, and the URL that it connects to."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

from datastack_fs import registry
from datastack_fs.cache.settings import CACHE_OPTIONS
from datastack_fs.credentials import expand
from datastack_fs.errors import ConfigError, UnknownPluginError
from datastack_fs.plugins import check_options
from datastack_fs.profiles import Profile, load_configuration, make_profile

STORAGE_VARIABLE: Final = "DATASTACK_STORAGE"
DEFAULT_FOLDER: Final = "./datasets"

_PROFILE_KEYS: Final = frozenset({"url", "options", "read_only"})


def find_profile(storage: str | os.PathLike[str] | Mapping[str, Any] | None) -> Profile:
    """What ``connect`` would connect to."""
    if storage is None:
        return _default_profile()
    if isinstance(storage, Mapping):
        return _mapped_profile(storage)
    if isinstance(storage, os.PathLike):
        return Profile("storage", os.path.abspath(os.path.expanduser(os.fspath(storage))))
    if not isinstance(storage, str):
        raise TypeError(f"a storage is a URL, profile name, path, mapping or connector, not {type(storage).__name__}")
    if _is_address(storage):
        return Profile("storage", storage)
    return load_configuration().profile(storage)


def _default_profile() -> Profile:
    named = os.environ.get(STORAGE_VARIABLE)
    if named:
        try:
            return find_profile(named)
        except UnknownPluginError as error:
            raise UnknownPluginError(f"${STORAGE_VARIABLE}: {error}") from None
    configuration = load_configuration()
    if configuration.default is not None:
        return configuration.profile(configuration.default)
    return Profile("storage", DEFAULT_FOLDER)


def _mapped_profile(storage: Mapping[str, Any]) -> Profile:
    url = storage.get("url")
    if not isinstance(url, (str, os.PathLike)):
        raise ConfigError(f"a storage mapping has a url; found the keys {', '.join(map(str, storage)) or 'none'}")
    options = storage.get("options")
    if options is None:
        options = {key: value for key, value in storage.items() if key not in _PROFILE_KEYS}
    elif not isinstance(options, Mapping):
        raise ConfigError(f"options of a storage mapping are keys and values, not {type(options).__name__}")
    else:
        check_options(dict.fromkeys(storage), {"a storage mapping": _PROFILE_KEYS | CACHE_OPTIONS})
        options = {**options, **{name: storage[name] for name in CACHE_OPTIONS if name in storage}}
    read_only = storage.get("read_only")
    if not (read_only is None or isinstance(read_only, bool)):
        raise ConfigError(f"read_only of a storage mapping is true or false, not {type(read_only).__name__}")
    address = url if isinstance(url, str) else os.path.abspath(os.path.expanduser(os.fspath(url)))
    return make_profile("storage", address, options, read_only)


def absolute_url(profile: Profile) -> str:
    """The URL to connect to, its path absolute; references stay in it if the connector reads them itself."""
    if registry.keeps_references(profile.url):
        return profile.url
    url = expand(profile.url)
    chain, separator, last = url.rpartition("::") if registry.url_scheme(url) else ("", "", url)
    if registry.url_scheme(last) is None:
        if not _is_address(last):
            raise ConfigError(f"{profile.place(('url',))}{profile.label}.url: {last!r} is no URL; a folder is ./{last}")
        last = os.path.join(profile.folder or "", os.path.expanduser(last))
    return f"{chain}{separator}{last}"


def _is_address(text: str) -> bool:
    """Whether a text is a URL or a path; a bare word is neither."""
    return registry.url_scheme(text) is not None or os.sep in text or text in {os.curdir, os.pardir, "~"}
