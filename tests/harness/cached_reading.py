"""What processes that share a cache do: in a module that a spawned child can import."""

from __future__ import annotations

import pickle
import random
from collections.abc import Sequence
from pathlib import Path

from datastack_fs.resource import ResourceInfo
from datastack_fs.testing.content import difference, noise

ROW = 4096


def read_shuffled(
    pickled: bytes, infos: Sequence[ResourceInfo], seed: int, rows: int, batch: int, epochs: int
) -> list[str]:
    """Reads rows of resources that are ``noise`` by their number, in a random order; the wrong ones."""
    connector = pickle.loads(pickled)
    contents = [noise(info.size, number) for number, info in enumerate(infos)]
    wrong = []
    order = random.Random(seed)
    for _ in range(epochs):
        places = [(number, start) for number, info in enumerate(infos) for start in range(0, info.size, ROW)]
        order.shuffle(places)
        for first in range(0, min(rows, len(places)), batch):
            chosen = places[first : first + batch]
            found = connector.get_many_ranges([(infos[number], [(at, at + ROW)]) for number, at in chosen])
            for (number, at), (content,) in zip(chosen, found, strict=True):
                problem = difference(bytes(content), contents[number][at : at + ROW])
                wrong += [f"{infos[number].identifier} at {at}: {problem}"] if problem else []
    return wrong


def bytes_in(folder: Path) -> int:
    """Of all files below a folder, some of which may go meanwhile."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue
    return total
