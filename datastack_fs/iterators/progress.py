"""A bar for what takes long."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar(total: int, what: str, shown: bool | None) -> Iterator[Callable[[int], object]]:
    """Gives a function that moves a bar of samples on; by default there is one on a terminal, if it takes a while."""
    if not (_on_terminal() if shown is None else shown):
        yield lambda samples: None
        return
    from tqdm import tqdm

    delay = 0.5 if shown is None else 0
    with tqdm(total=total, desc=what, unit=" samples", unit_scale=True, leave=False, delay=delay) as bar:
        yield bar.update


def _on_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()
