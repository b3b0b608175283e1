"""What may stand in a catalogue file."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, StringConstraints

from datastack_fs.config_file import Document, KeyPath
from datastack_fs.config_schema import STRICT, ProfileName, checked_as

_Text = Annotated[str, StringConstraints(min_length=1)]

DatasetName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*(@[A-Za-z0-9_][A-Za-z0-9_.-]*)?$")]
"""A name, or ``name@version``."""


class SplitSchema(BaseModel):
    """A split: ``datasets.<name>.splits.<split>``; a text is short for its ``url`` alone."""

    model_config = STRICT

    url: _Text
    checksum: str | None = None


def _as_split(value: Any) -> Any:
    return {"url": value} if isinstance(value, str) else value


class DatasetSchema(BaseModel):
    """A dataset: ``datasets.<name>``."""

    model_config = STRICT

    url: _Text | None = None
    checksum: str | None = None
    splits: dict[ProfileName, Annotated[SplitSchema, BeforeValidator(_as_split)]] | None = None
    format: _Text | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    storage: _Text | None = None
    copied: bool = Field(default=False, alias="copy")
    class_names: list[str] | None = None
    description: str = ""
    licence: str | None = None
    homepage: str | None = None


class CatalogueSchema(BaseModel):
    """The whole file."""

    model_config = STRICT

    datasets: dict[DatasetName, DatasetSchema] = Field(default_factory=dict)


def validate(document: Document) -> CatalogueSchema:
    """The document as a checked catalogue.

    Raises:
        ConfigError: names file, line, key and the known keys of the first thing that is wrong.
    """
    return checked_as(CatalogueSchema, document, known_keys)


def known_keys(path: KeyPath) -> tuple[str, ...]:
    """The keys that may stand below a path; none where any may.

    Examples:
        >>> known_keys(()), known_keys(("datasets", "birds", "splits", "train")), known_keys(("datasets",))
        (('datasets',), ('url', 'checksum'), ())
    """
    schema: type[BaseModel] | None = None
    if not path:
        schema = CatalogueSchema
    elif path[0] == "datasets" and len(path) == 2:
        schema = DatasetSchema
    elif path[0] == "datasets" and len(path) == 4 and path[2] == "splits":
        schema = SplitSchema
    return tuple(field.alias or name for name, field in schema.model_fields.items()) if schema else ()
