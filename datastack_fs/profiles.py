"""The configuration file: where it is found, and the profiles that it gives.

``datastack.yaml``, ``datastack.yml`` or ``datastack.toml`` is looked for in the working folder and those above it, then
in ``~/.config/datastack-fs/`` (``$XDG_CONFIG_HOME``); ``$DATASTACK_CONFIG`` names one outright. A file beside it,
``datastack.<env>.yaml`` for ``$DATASTACK_ENV``, is merged over it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from datastack_fs.config_file import Document, KeyPath, Place, read_document
from datastack_fs.credentials import EnvironmentText, has_reference, redact, redact_options
from datastack_fs.errors import ConfigError, UnknownPluginError
from datastack_fs.plugins import closest

if TYPE_CHECKING:
    from datastack_fs.config_schema import StorageSchema

CONFIG_VARIABLE: Final = "DATASTACK_CONFIG"
OVERLAY_VARIABLE: Final = "DATASTACK_ENV"

_SUFFIXES = (".yaml", ".yml", ".toml")
_NAMES = tuple(f"datastack{suffix}" for suffix in _SUFFIXES)
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_-]+")
_BROKEN_REFERENCE = re.compile(r"\$\{(?![A-Za-z_][A-Za-z0-9_]*(?::-[^}]*)?\})")


@dataclass(frozen=True, repr=False)
class Profile:
    """A store as a configuration, or a mapping, describes it.

    Attributes:
        label: what to call it in a message.
        url: the store's URL or path, maybe with references to the environment.
        options: the connector's keyword arguments, maybe with references in their texts.
        read_only: refuse writes; None leaves that to the options.
        folder: what a relative path starts from; None is the working folder.
        places: where each key stands, by its path within the profile.
    """

    label: str
    url: str
    options: Mapping[str, Any] = field(default_factory=dict)
    read_only: bool | None = None
    folder: Path | None = None
    places: Mapping[KeyPath, Place] = field(default_factory=dict)

    def check_environment(self, overridden: Sequence[str] = ()) -> None:
        """Refuses if a variable that it refers to is not set.

        Args:
            overridden: options that don't count, as the caller gave them.

        Raises:
            ConfigError: names file, line, profile, key and variable.
        """
        options = {name: value for name, value in self.options.items() if name not in overridden}
        for path, text in [*_texts(self.url, ("url",)), *_texts(options, ("options",))]:
            for name in text.names() if isinstance(text, EnvironmentText) else ():
                if name not in os.environ:
                    reason = f"the environment variable {name} is not set"
                    raise ConfigError(f"{self.place(path)}{self.label}.{'.'.join(path)}: {reason}")

    def place(self, path: KeyPath) -> str:
        """``"file:line: "`` of a key of this profile; nothing for one that is in no file."""
        while path and path not in self.places:
            path = path[:-1]
        return f"{self.places[path]}: " if path in self.places else ""

    def __repr__(self) -> str:
        options = redact_options(self.options)
        return f"Profile({self.label!r}, {redact(self.url)!r}, {options!r}, read_only={self.read_only})"


@dataclass(frozen=True)
class Configuration:
    """What the configuration file says.

    Attributes:
        profiles: by name.
        default: the name of the profile that is used when none is asked for.
        files: the file, and the one that was merged over it; empty if there is none.
    """

    profiles: Mapping[str, Profile] = field(default_factory=dict)
    default: str | None = None
    files: tuple[Path, ...] = ()

    def profile(self, name: str) -> Profile:
        """The profile of that name.

        Raises:
            UnknownPluginError: there is none; the message lists those that there are.
        """
        if name in self.profiles:
            return self.profiles[name]
        raise UnknownPluginError(
            f"no storage {name!r}{closest(name, self.profiles)}: it is no profile, no URL (s3://bucket) and no path "
            f"(./{name}); {self.summary()}"
        )

    def summary(self) -> str:
        """Which profiles there are, and in which files; or where a file was looked for."""
        if not self.files:
            return f"no {', '.join(_NAMES[:-1])} or {_NAMES[-1]} here, in the folders above or in {_user_folder()}"
        return f"profiles in {' and '.join(map(str, self.files))}: {', '.join(self.profiles) or 'none'}"


def load_configuration() -> Configuration:
    """Finds and reads the configuration; an empty one where there is no file.

    Raises:
        ConfigError: the file is broken; the message names file, line and key.
    """
    file = find_file()
    if file is None:
        return Configuration()
    document = read_document(file)
    overlay = _find_overlay(file)
    if overlay is not None:
        document = document.merged_with(read_document(overlay))
    from datastack_fs.config_schema import validate

    checked = validate(document)
    profiles = {name: _profile(name, schema, document) for name, schema in checked.storages.items()}
    return Configuration(profiles, checked.default, (file, overlay) if overlay else (file,))


def find_file(stem: str = "datastack", variable: str = CONFIG_VARIABLE) -> Path | None:
    """The file in force of those that are called ``<stem>.yaml``, ``.yml`` or ``.toml``.

    Args:
        stem: its name, without the ending.
        variable: the environment variable that names one outright.

    Raises:
        ConfigError: the variable names no file, or a folder holds two.
    """
    named = os.environ.get(variable)
    if named:
        file = Path(named).expanduser().absolute()
        if not file.is_file():
            raise ConfigError(f"{file}: no such file; ${variable} names it")
        if file.suffix not in _SUFFIXES:
            raise ConfigError(f"{file}: a configuration file ends in {', '.join(_SUFFIXES)}; ${variable} names it")
        return file
    here = Path.cwd()
    names = [f"{stem}{suffix}" for suffix in _SUFFIXES]
    for folder in (here, *here.parents, _user_folder()):
        found = _one_of(folder, names)
        if found is not None:
            return found
    return None


def make_profile(
    label: str,
    url: str,
    options: Mapping[str, Any],
    read_only: bool | None = None,
    *,
    folder: Path | None = None,
    places: Mapping[KeyPath, Place] | None = None,
) -> Profile:
    """A profile whose ``${NAME}`` texts are references to the environment.

    Raises:
        ConfigError: a text has a ``${`` that names no variable.

    Examples:
        >>> make_profile("example", "s3://lab", {"secret": "${LAB_SECRET}", "key": "abc"})
        Profile('example', 's3://lab', {'secret': '${LAB_SECRET}', 'key': '***'}, read_only=None)
    """
    profile = Profile(label, _as_references(url), _as_references(options), read_only, folder, places or {})
    for path, text in [*_texts(profile.url, ("url",)), *_texts(profile.options, ("options",))]:
        if _BROKEN_REFERENCE.search(text):
            reason = "a '${' that names no variable; write ${NAME} or ${NAME:-default}"
            raise ConfigError(f"{profile.place(path)}{label}.{'.'.join(path)}: {reason}")
    return profile


def _profile(name: str, schema: StorageSchema, document: Document) -> Profile:
    above = ("storages", name)
    return make_profile(
        f"storages.{name}",
        schema.url,
        {**schema.options, **schema.cache_options},
        schema.read_only or None,
        folder=document.place((*above, "url")).file.parent,
        places={path[2:]: place for path, place in document.places.items() if path[:2] == above},
    )


def _as_references(value: Any) -> Any:
    """Plain data with each text that names a variable made an ``EnvironmentText``."""
    if isinstance(value, str):
        return EnvironmentText(value) if has_reference(value) else value
    if isinstance(value, Mapping):
        return {str(key): _as_references(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        return [_as_references(item) for item in value]
    return value


def _texts(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    """Every text within a value, with the path of keys that leads to it."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(item, (*path, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _texts(item, (*path, str(number)))


def _find_overlay(file: Path) -> Path | None:
    name = os.environ.get(OVERLAY_VARIABLE)
    if not name:
        return None
    if not _PLAIN_NAME.fullmatch(name):
        raise ConfigError(f"${OVERLAY_VARIABLE} is {name!r}: it is a name, as in {file.stem}.prod{file.suffix}")
    names = [f"{file.stem}.{name}{suffix}" for suffix in _SUFFIXES]
    found = _one_of(file.parent, names)
    if found is None:
        raise ConfigError(
            f"${OVERLAY_VARIABLE} is {name!r}, but {file.parent} has no {', '.join(names[:-1])} or {names[-1]}"
        )
    return found


def _one_of(folder: Path, names: Sequence[str]) -> Path | None:
    found = [name for name in names if (folder / name).is_file()]
    if len(found) > 1:
        raise ConfigError(f"{folder} has {' and '.join(found)}: remove all but one, so that it is clear which holds")
    return folder / found[0] if found else None


def _user_folder() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "datastack-fs"
