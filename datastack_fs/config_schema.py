"""What may stand in a configuration file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from datastack_fs.cache.settings import CACHE_OPTIONS
from datastack_fs.config_file import Document, KeyPath
from datastack_fs.errors import ConfigError
from datastack_fs.plugins import closest

STRICT: Final = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True, frozen=True)

Schema = TypeVar("Schema", bound=BaseModel)

ProfileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
"""A bare word, so that it can't be taken for a URL or a path."""


class StorageSchema(BaseModel):
    """A profile: ``storages.<name>``."""

    model_config = STRICT

    url: Annotated[str, StringConstraints(min_length=1)]
    options: dict[str, Any] = Field(default_factory=dict)
    read_only: bool = False
    cache: str | None = None
    cache_size: str | int | None = None
    cache_free: str | int | None = None

    @property
    def cache_options(self) -> dict[str, Any]:
        """Those options of ``connect`` that speak of the cache, as far as they are given."""
        return self.model_dump(include=set(CACHE_OPTIONS), exclude_none=True)


class FileSchema(BaseModel):
    """The whole file."""

    model_config = STRICT

    default: str | None = None
    storages: dict[ProfileName, StorageSchema] = Field(default_factory=dict)


_REASONS: Final = {
    "bool_type": "must be true or false",
    "dict_type": "must be keys and values",
    "list_type": "must be a list",
    "missing": "is missing",
    "model_attributes_type": "must be keys and values",
    "model_type": "must be keys and values",
    "string_pattern_mismatch": "a name has letters, digits, '_', '-' and '.' only, and begins with no dot or dash",
    "string_too_short": "is empty",
    "string_type": "must be text; a value with digits only is written in quotes",
}


def validate(document: Document) -> FileSchema:
    """The document as a checked configuration.

    Raises:
        ConfigError: names file, line, key and the known keys of the first thing that is wrong.
    """
    checked = checked_as(FileSchema, document, known_keys)
    if checked.default is not None and checked.default not in checked.storages:
        known = ", ".join(checked.storages) or "none"
        raise ConfigError(
            f"{document.place(('default',))}: default: no profile {checked.default!r}"
            f"{closest(checked.default, checked.storages)}; profiles: {known}"
        )
    return checked


def checked_as(schema: type[Schema], document: Document, keys: Callable[[KeyPath], tuple[str, ...]]) -> Schema:
    """The document, checked.

    Args:
        schema: what may stand in it.
        document: the file.
        keys: the keys that may stand below a path; none where any may.

    Raises:
        ConfigError: names file, line, key and the known keys of the first thing that is wrong.
    """
    try:
        return schema.model_validate(document.data)
    except ValidationError as error:
        first = min(error.errors(include_url=False, include_input=False), key=lambda found: _rank(document, found))
        path = _path(first)
        # Without its cause: a pydantic error holds the input, and there may be a secret in it.
        raise ConfigError(_sentence(document, path, first["type"], first["msg"], keys(path[:-1]))) from None


def _sentence(document: Document, path: KeyPath, kind: str, message: str, known: tuple[str, ...]) -> str:
    reason = _REASONS.get(kind, message)
    if kind == "extra_forbidden":
        reason = f"unknown key{closest(path[-1], known)}"
    keys = f"; known keys: {', '.join(known)}" if known else ""
    return f"{document.place(path)}: {'.'.join(path) or 'the file'}: {reason}{keys}"


def known_keys(path: KeyPath) -> tuple[str, ...]:
    """The keys that may stand below a path; none where any may.

    Examples:
        >>> known_keys(()), known_keys(("storages", "prod")), known_keys(("storages",))
        (('default', 'storages'), ('url', 'options', 'read_only', 'cache', 'cache_size', 'cache_free'), ())
    """
    if not path:
        return tuple(FileSchema.model_fields)
    if path[0] == "storages" and len(path) == 2:
        return tuple(StorageSchema.model_fields)
    return ()


def _path(error: Any) -> KeyPath:
    return tuple(str(part) for part in error["loc"] if part != "[key]")


def _rank(document: Document, error: Any) -> tuple[bool, str, int]:
    # A mistyped key is also a missing one: the unknown key says more.
    place = document.place(_path(error))
    return error["type"] == "missing", str(place.file), place.line
