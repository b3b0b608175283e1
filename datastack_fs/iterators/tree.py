"""A stack of iterators drawn as a tree: in text, and in HTML."""

from __future__ import annotations

import html
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from datastack_fs.iterators.contents import one_line, placed, sample_contents

if TYPE_CHECKING:
    from datastack_fs.iterators.base import DatasetIterator

FIRST_SAMPLE_SECONDS: Final = 5.0
"""How long a drawing waits for the one sample that it reads."""

SHOWN_PARTS: Final = 3
"""So many parts of a stack are drawn, when there are more than one more."""

_MOST_NODES: Final = 60
_MOST_DEPTH: Final = 12


@dataclass(frozen=True)
class Node:
    """One iterator of a stack, as it is drawn.

    Attributes:
        kind: the name of its class.
        title: the name and the tag of its ``meta``.
        details: length, and what it does.
        contents: what its samples are made of, as far as that is known.
        source: format and address of a leaf that reads from a store.
        parts: those that it stands on.
        left_out: how many more of them there are.
        is_repeated: it stands in the tree already, further up.
    """

    kind: str
    title: str
    details: str
    contents: str = ""
    source: str = ""
    parts: tuple[Node, ...] = ()
    left_out: int = 0
    is_repeated: bool = False

    @property
    def facts(self) -> list[str]:
        """What is said of it after its name."""
        return (
            ["as above"] if self.is_repeated else [fact for fact in (self.details, self.contents, self.source) if fact]
        )

    def __str__(self) -> str:
        return f"{self.kind} {self.title}: {'; '.join(self.facts)}"


def tree_of(iterator: DatasetIterator[Any], *, read: bool = False) -> Node:
    """The tree of a stack.

    Args:
        iterator: what stands on top.
        read: read the first sample, once and for at most ``FIRST_SAMPLE_SECONDS``, to say what samples are made of;
            else only what the leaves know anyway is said.
    """
    return _Builder().node(iterator, _first_contents(iterator) if read else None)


def text_lines(node: Node) -> list[str]:
    """The lines of the drawing.

    Examples:
        >>> leaf = Node("Leaf", "birds", "3 samples")
        >>> for line in text_lines(Node("Both", "birds", "6 samples", parts=(leaf, leaf), left_out=7)):
        ...     print(line)
        Both birds: 6 samples
        ├─ Leaf birds: 3 samples
        ├─ Leaf birds: 3 samples
        └─ … 7 more
    """
    branches = [text_lines(part) for part in node.parts]
    if node.left_out:
        branches.append([f"… {node.left_out:,} more"])
    lines = [str(node)]
    for number, branch in enumerate(branches, 1):
        first, others = ("└─ ", "   ") if number == len(branches) else ("├─ ", "│  ")
        lines += [first + branch[0], *(others + line for line in branch[1:])]
    return lines


def html_list(node: Node) -> str:
    """The drawing as nested lists, everything escaped.

    Examples:
        >>> html_list(Node("Leaf", "<b>", "3 samples"))
        '<ul><li><b>Leaf</b> &lt;b&gt; <small>3 samples</small></li></ul>'
    """
    return f"<ul>{''.join(_html_items(node))}</ul>"


def _html_items(node: Node) -> Iterator[str]:
    facts = "<br>".join(map(html.escape, node.facts))
    yield f"<li><b>{html.escape(node.kind)}</b> {html.escape(node.title)} <small>{facts}</small>"
    if node.parts or node.left_out:
        yield "<ul>"
        for part in node.parts:
            yield from _html_items(part)
        if node.left_out:
            yield f"<li>… {node.left_out:,} more</li>"
        yield "</ul>"
    yield "</li>"


class _Builder:
    """Makes the nodes of one tree: each iterator once, and not more than can be looked at."""

    def __init__(self) -> None:
        self._seen: dict[int, DatasetIterator[Any]] = {}  # kept, so that no other one gets its id

    def node(self, iterator: DatasetIterator[Any], contents: str | None, depth: int = 0) -> Node:
        meta = iterator.meta
        kind = one_line(type(iterator).__name__)
        title = one_line(meta.name) + ("" if meta.tag is None else f" [{one_line(meta.tag)}]")
        if id(iterator) in self._seen:
            return Node(kind, title, "", is_repeated=True)
        self._seen[id(iterator)] = iterator
        if contents is None:
            contents = placed(meta.positions, iterator._contents() or ())
        below = iterator.underlying_iterators
        shown = below if len(below) <= SHOWN_PARTS + 1 else below[:SHOWN_PARTS]
        if depth >= _MOST_DEPTH:
            shown = ()
        parts = []
        for part in shown:
            if len(self._seen) >= _MOST_NODES:
                break
            parts.append(self.node(part, None, depth + 1))
        return Node(
            kind,
            title,
            one_line(iterator._details(), 200),
            contents,
            source_of_leaf(iterator),
            tuple(parts),
            len(below) - len(parts),
        )


def source_of_leaf(iterator: DatasetIterator[Any]) -> str:
    """Format, address and size of what a leaf reads from; nothing for what is in memory."""
    origin = iterator.origin
    if origin is None:
        return ""
    words = [format_of(iterator) or "", one_line(origin.identifier, 120) if origin.identifier else "", "in"]
    size = "" if origin.size is None else f", {origin.size:,} bytes"
    return " ".join(word for word in [*words, one_line(origin.store, 120)] if word) + size


def format_of(iterator: DatasetIterator[Any]) -> str | None:
    """The name of the format that a leaf reads, by its class; None for what is not stored."""
    if iterator.origin is None:
        return None
    package, _, module = type(iterator).__module__.rpartition(".")
    if package == "datastack_fs.formats":
        return module.rstrip("_")
    return one_line(type(iterator).__name__.removesuffix("DatasetIterator").lower())


def _first_contents(iterator: DatasetIterator[Any]) -> str | None:
    """What the first sample is made of, or why it can't be read; None for an empty iterator.

    It is read in a thread, as nothing else ends a read of a store that doesn't answer.
    """
    if not len(iterator):
        return None
    found: list[str] = []

    def read() -> None:
        try:
            found.append(placed(iterator.meta.positions, sample_contents(iterator[0])))
        except Exception as error:  # noqa: BLE001 (the edge to people: a drawing shows what is wrong)
            found.append(f"unreadable: {one_line(f'{type(error).__name__}: {error}', 200)}")

    thread = threading.Thread(target=read, name="datastack-fs first sample", daemon=True)
    thread.start()
    thread.join(FIRST_SAMPLE_SECONDS)
    return found[0] if found else f"unreadable: no sample came within {FIRST_SAMPLE_SECONDS:g} s"
