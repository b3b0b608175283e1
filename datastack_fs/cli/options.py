"""Options and arguments that commands share: the store, its options, resources, JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click

from datastack_fs import config
from datastack_fs.credentials import EnvironmentText, has_reference
from datastack_fs.registry import url_scheme
from datastack_fs.storage import StorageConnector

_Command = TypeVar("_Command", bound=Callable[..., Any])

_PATH_BEGINNINGS = ("./", "../", "/", "~")


def parse_options(context: click.Context, parameter: click.Parameter, pairs: Iterable[str]) -> dict[str, Any]:
    """``KEY=VALUE`` texts as keyword arguments. A value never stands in a message: it may be a secret."""
    options: dict[str, Any] = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not key.isidentifier():
            raise click.BadParameter("expected KEY=VALUE", context, parameter)
        options[key] = parse_value(value)
    return options


def parse_value(text: str) -> Any:
    """A number, true, false or null as YAML has them; in quotes, or else, text, which may name ``${VARIABLES}``.

    Examples:
        >>> parse_value("8"), parse_value("true"), parse_value("'8'"), parse_value("a #b")
        (8, True, '8', 'a #b')
    """
    import yaml

    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        text = text[1:-1]
    elif ":" not in text:  # YAML 1.1 reads 12:30 as a number to the base of 60
        loader = yaml.SafeLoader("")
        tag: str = loader.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
        if text and tag.rpartition(":")[2] in {"bool", "int", "float", "null"}:
            return loader.construct_object(yaml.ScalarNode(tag, text))
    return EnvironmentText(text) if has_reference(text) else text


def storage_options(command: _Command) -> _Command:
    """Adds ``--storage`` and ``-o``, as the arguments ``storage`` and ``options``."""
    command = click.option(
        "-o",
        "--option",
        "options",
        multiple=True,
        callback=parse_options,
        metavar="KEY=VALUE",
        help="An option of the store, such as endpoint_url=http://127.0.0.1:9000; may be repeated. Keep secrets in "
        "the environment: -o 'secret=${LAB_SECRET}' names a variable.",
    )(command)
    return click.option(
        "-s", "--storage", metavar="STORE", help="A URL, a path with a '/', or a profile of datastack.yaml."
    )(command)


def json_option(command: _Command) -> _Command:
    """Adds ``--json``, as the argument ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")(command)


def overwrite_option(command: _Command) -> _Command:
    """Adds ``--no-overwrite``, as the argument ``overwrite``."""
    return click.option(
        "--no-overwrite", "overwrite", flag_value=False, default=True, help="Refuse if the target is there already."
    )(command)


def is_address(text: str) -> bool:
    """Whether an argument is a URL or a path, and so no identifier.

    Examples:
        >>> is_address("s3://lab/x"), is_address("./x"), is_address("birds/x")
        (True, True, False)
    """
    return url_scheme(text) is not None or text.startswith(_PATH_BEGINNINGS) or text in {".", ".."}


def locate(resource: str, storage: str | None, options: dict[str, Any]) -> tuple[StorageConnector, str]:
    """The connector and the identifier for an argument that names a resource; with a store it is an identifier."""
    if storage is None and is_address(resource):
        return config.locate(resource, **options)
    return config.connect(storage, **options), resource


def locate_all(prefix: str, storage: str | None, options: dict[str, Any]) -> tuple[StorageConnector, str]:
    """The connector and the prefix for an argument that names many; a URL or path is then a whole store."""
    if storage is None and is_address(prefix):
        return config.connect(prefix, **options), ""
    return config.connect(storage, **options), prefix
