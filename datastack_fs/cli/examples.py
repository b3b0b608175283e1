"""Commands whose help ends in examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click


class WithExamples(click.Command):
    """A command with examples, which its help shows as they are, one a line."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), **options: Any) -> None:
        super().__init__(*args, **options)
        self.examples = examples

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the examples, without wrapping their lines."""
        if self.examples:
            formatter.write("\nExample:\n")
            formatter.write("".join(f"  {example}\n" for example in self.examples))


def command(*examples: str) -> Callable[[Callable[..., None]], WithExamples]:
    """Makes a function a command, its docstring the help and the lines given the examples."""

    def decorate(function: Callable[..., None]) -> WithExamples:
        return click.command(cls=WithExamples, examples=examples)(function)

    return decorate
