"""Classes by name, loaded when they are asked for: built-in ones from a table, third parties' by entry point."""

from __future__ import annotations

import importlib
import inspect
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from datastack_fs.errors import ConfigError, MissingDependencyError, UnknownPluginError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints


@dataclass(frozen=True)
class Plugin:
    """A class that is known by name, and what must be installed to use it.

    Attributes:
        name: the scheme, format or dataset.
        target: ``"module:Class"``.
        package: the module of another project that it stands on, if that is an extra.
        extra: the extra of this project that installs it.
        distribution: the project that an entry point comes from; None for a built-in one.
    """

    name: str
    target: str
    package: str | None = None
    extra: str | None = None
    distribution: str | None = None

    def load(self, user: str) -> Any:
        """Imports the class. ``user`` is what needs it, for the message: ``"s3://"``.

        Raises:
            MissingDependencyError: a package is not installed.
            UnknownPluginError: an entry point names something that isn't there.
        """
        if self.package is not None and not is_installed(self.package):
            raise self._missing(user, self.package)
        module_name, _, class_name = self.target.partition(":")
        try:
            return getattr(importlib.import_module(module_name), class_name)
        except ModuleNotFoundError as error:
            if error.name is None or module_name == error.name or module_name.startswith(f"{error.name}."):
                raise self._broken(user, error) from error
            raise self._missing(user, error.name) from error
        except Exception as error:  # somebody else's module, which may raise anything when it is imported
            if self.distribution is None:
                raise
            raise self._broken(user, error) from error

    def _missing(self, user: str, package: str) -> MissingDependencyError:
        project = f"'datastack-fs[{self.extra}]'" if self.extra else self.distribution or package
        return MissingDependencyError(f"{user} needs {package}: pip install {project}", name=package)

    def _broken(self, user: str, error: Exception) -> UnknownPluginError:
        origin = f"the entry point of {self.distribution}" if self.distribution else "datastack-fs"
        return UnknownPluginError(f"{user} is promised as {self.target} by {origin}, which can't be loaded: {error}")


class PluginTable:
    """The plugins of one kind: a table of built-in ones, and the entry points of one group.

    A built-in name stays the built-in's: an entry point of that name is ignored, with a warning. A name that two
    other projects claim is refused when it is asked for.

    Examples:
        >>> table = PluginTable("example.codecs", [Plugin("json", "json:JSONDecoder")])
        >>> table.find("json").load("example").__name__
        'JSONDecoder'
        >>> table.find("xml") is None, list(table.names())
        (True, ['json'])
    """

    def __init__(self, group: str, built_in: Iterable[Plugin]) -> None:
        self._group = group
        self._built_in = {plugin.name: plugin for plugin in built_in}

    def is_built_in(self, name: str) -> bool:
        """Whether the name is one of this library's own."""
        return name in self._built_in

    def find(self, name: str) -> Plugin | None:
        """The plugin of that name, or None."""
        if name in self._built_in:
            return self._built_in[name]
        found = {plugin.target: plugin for plugin in self.third_party() if plugin.name == name}
        if len(found) > 1:
            claims = " and ".join(f"{plugin.distribution} ({plugin.target})" for plugin in found.values())
            raise ConfigError(f"{name!r} is claimed by {claims}: uninstall one of them")
        return next(iter(found.values()), None)

    def names(self) -> list[str]:
        """All names, the built-in ones first."""
        others = sorted({plugin.name for plugin in self.third_party()})
        return [*self._built_in, *others]

    def plugins(self) -> list[Plugin]:
        """All plugins, the built-in ones first."""
        return [*self._built_in.values(), *self.third_party()]

    def third_party(self) -> Iterator[Plugin]:
        """What other installed projects offer, apart from built-in names."""
        for entry in _entry_points(self._group, tuple(sys.path)):
            distribution = entry.dist.name if entry.dist else "an unnamed project"
            if entry.name not in self._built_in:
                yield Plugin(entry.name, entry.value, distribution=distribution)
            elif entry.value != self._built_in[entry.name].target:
                warnings.warn(
                    f"{distribution} offers {entry.value} as {entry.name!r} in {self._group}, which is built in: "
                    "it is ignored",
                    stacklevel=2,
                )


@cache
def _entry_points(group: str, path: tuple[str, ...]) -> EntryPoints:
    """The entry points of a group; of 200 installed projects it takes 8 ms to read them."""
    from importlib.metadata import entry_points

    return entry_points(group=group)


def is_installed(package: str) -> bool:
    """Whether a top-level module can be imported; it is not."""
    from importlib.util import find_spec

    return find_spec(package) is not None


def closest(name: str, known: Iterable[str]) -> str:
    """``" (did you mean 'x'?)"`` for a name that is nearly a known one, else nothing.

    Examples:
        >>> closest("endpoint", ["key", "endpoint_url"])
        " (did you mean 'endpoint_url'?)"
    """
    from difflib import get_close_matches

    found = get_close_matches(name, list(known), n=1)
    return f" (did you mean {found[0]!r}?)" if found else ""


def keywords(function: Callable[..., Any], *, skip: int | None = None) -> frozenset[str]:
    """The names of the keyword arguments that a function or class spells out.

    Args:
        function: the function or class.
        skip: positional parameters that the caller fills in; the others count as keywords. By default none does.

    Examples:
        >>> def open_it(path, mode="r", *, strict=False): ...
        >>> sorted(keywords(open_it)), sorted(keywords(open_it, skip=1))
        (['strict'], ['mode', 'strict'])
    """
    parameters = inspect.signature(function).parameters.values()
    positional = [parameter.name for parameter in parameters if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]
    by_keyword = [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
    return frozenset(by_keyword if skip is None else by_keyword + positional[skip:])


def takes_any(function: Callable[..., Any]) -> bool:
    """Whether a function or class takes keyword arguments of any name.

    Examples:
        >>> takes_any(keywords), takes_any(lambda **options: None)
        (False, True)
    """
    parameters = inspect.signature(function).parameters.values()
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)


def check_options(options: Mapping[str, Any], takers: Mapping[str, frozenset[str] | None]) -> None:
    """Refuses options that nobody takes.

    Args:
        options: by name.
        takers: who takes options, as people call it, and the names that it takes (None: any).

    Raises:
        ConfigError: names the unknown options, and the known ones of each taker.

    Examples:
        >>> check_options({"endpoint": 1}, {"s3://": frozenset({"endpoint_url", "key"})})
        Traceback (most recent call last):
        datastack_fs.errors.ConfigError: unknown option 'endpoint' (did you mean 'endpoint_url'?); s3:// takes endpoint_url, key
    """  # noqa: E501
    if None in takers.values():
        return
    known = {name for names in takers.values() for name in names or ()}
    unknown = sorted(set(options) - known)
    if unknown:
        named = ", ".join(f"{name!r}{closest(name, known)}" for name in unknown)
        lists = "; ".join(
            f"{taker} takes {', '.join(sorted(names or ())) or 'none'}" for taker, names in takers.items()
        )
        raise ConfigError(f"unknown option{'s' if len(unknown) > 1 else ''} {named}; {lists}")
