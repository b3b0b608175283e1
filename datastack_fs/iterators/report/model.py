"""The data of a report, and its ways out."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, Final, TypeAlias

from datastack_fs.iterators.whole_file import write_whole

Plain: TypeAlias = "bool | int | float | str | None"
"""What JSON and YAML have alike; floats are finite."""

ENDINGS: Final = (".html", ".md", ".json", ".yaml", ".yml")
"""Of the files that ``Report.save`` writes."""


@dataclass(frozen=True)
class ColumnReport:
    """One part of what samples are made of, over the samples that were looked at.

    Attributes:
        name: where it stands: ``sample``, ``target``, ``tag``, or a part of one (``sample.left``, ``sample[0]``).
        types: type and shape, the most frequent first; at most eight.
        samples: how many of the samples have it.
        missing_samples: in how many of them something is missing: None, NaN, NaT, or empty text.
        missing_values: how many elements that are.
        infinite_values: how many elements are infinite; ranges and means leave them out.
        low: the smallest number or time; of text and bytes the smallest length.
        high: the largest.
        mean: of the numbers, or lengths.
        unit: what low, high and mean count, if not values: ``letters`` or ``bytes``.
    """

    name: str
    types: tuple[str, ...]
    samples: int
    missing_samples: int = 0
    missing_values: int = 0
    infinite_values: int = 0
    low: int | float | str | None = None
    high: int | float | str | None = None
    mean: float | None = None
    unit: str | None = None


@dataclass(frozen=True)
class ClassCount:
    """How often a target occurs; ``name`` is its class, where the classes have names."""

    value: Plain
    count: int
    name: str | None = None

    @property
    def label(self) -> str:
        """The name of the class, else the target."""
        return str(self.value) if self.name is None else self.name


@dataclass(frozen=True)
class Histogram:
    """Counts of numbers in bins of one width; bin ``i`` reaches from ``edges[i]`` to ``edges[i + 1]``."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class TargetReport:
    """The distribution of the targets.

    Attributes:
        kind: ``classes`` (counted by value), ``numbers`` (a histogram), ``none`` (there are no targets), or ``other``
            (targets are arrays, mappings or the like).
        looked_at: how many labels were counted.
        of: how many there are.
        missing: how many of the counted are None, NaN, NaT or empty text.
        classes: of ``classes``: those that occur most, in the order of their values; named ones also if none occurs.
        distinct: how many different values occur.
        other_classes: how many classes are left out of ``classes``.
        other_count: how many labels they have.
        unnamed: how many labels are outside the classes that have names.
        imbalance: the count of the largest class by that of the smallest that occurs.
        histogram: of ``numbers``.
        low: the smallest number.
        high: the largest.
        mean: of the numbers.
    """

    kind: str
    looked_at: int
    of: int
    missing: int = 0
    classes: tuple[ClassCount, ...] = ()
    distinct: int = 0
    other_classes: int = 0
    other_count: int = 0
    unnamed: int = 0
    imbalance: float | None = None
    histogram: Histogram | None = None
    low: int | float | None = None
    high: int | float | None = None
    mean: float | None = None


@dataclass(frozen=True)
class SpeedReport:
    """How fast samples are read by ``take``, in one thread.

    Attributes:
        order: ``in order`` or ``at random``.
        batch_size: of the largest batch.
        samples: how many were timed.
        seconds: how long they took.
        samples_per_second: what follows from both.
        bytes_per_second: the same, of decoded bytes.
    """

    order: str
    batch_size: int
    samples: int
    seconds: float
    samples_per_second: float
    bytes_per_second: float


@dataclass(frozen=True)
class Example:
    """One sample: each of its parts in a few words, and those that are images as PNG files."""

    index: int
    parts: Mapping[str, str]
    target: str
    pictures: tuple[bytes, ...] = field(default=(), metadata={"is_plain": False})


@dataclass(frozen=True)
class Report:
    """What an iterator holds. ``to_dict`` and the others write it down; ``print(report)`` shows Markdown.

    Attributes:
        kind: the name of the iterator's class.
        name: what people call it (``meta.name``).
        tag: which part of the dataset it is.
        identifier: of ``meta``.
        length: how many samples it has.
        positions: where sample, target and tag stand.
        class_names: the names of the classes.
        store: the URL of the store, without secrets, where all of it is read from one resource or store.
        resource: the resource's identifier there.
        format: the format of that resource.
        size: its bytes.
        checksum: its checksum, where the store knows it.
        is_remote: whether any of it is read from a store that isn't this machine's files or memory.
        looked_at: how many samples were looked at, for ``columns`` and ``examples``.
        columns: what samples are made of.
        columns_left_out: how many more parts they have: 200 are shown.
        targets: how targets are distributed; None if that couldn't be found out.
        speed: how fast it is read.
        examples: some samples.
        tree: the stack as ``DatasetIterator.tree`` draws it.
        problems: what couldn't be read or is suspicious, each in a line.
        parts: reports of the iterators that it stands on, each iterator once.
        parts_left_out: how many of those have no report, as there are too many.
    """

    kind: str
    name: str
    tag: str | None
    identifier: str
    length: int
    positions: Mapping[str, int]
    class_names: tuple[str, ...] | None = None
    store: str | None = None
    resource: str | None = None
    format: str | None = None
    size: int | None = None
    checksum: str | None = None
    is_remote: bool = False
    looked_at: int = 0
    columns: tuple[ColumnReport, ...] = ()
    columns_left_out: int = 0
    targets: TargetReport | None = None
    speed: tuple[SpeedReport, ...] = ()
    examples: tuple[Example, ...] = ()
    tree: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    parts: tuple[Report, ...] = ()
    parts_left_out: int = 0

    @property
    def title(self) -> str:
        """Name and tag."""
        return self.name if self.tag is None else f"{self.name} [{self.tag}]"

    def to_dict(self) -> dict[str, Any]:
        """As dicts, lists, text, numbers, booleans and None; pictures are left out."""
        found: dict[str, Any] = _plain(self)
        return found

    def to_json(self) -> str:
        """``to_dict`` as JSON."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def to_yaml(self) -> str:
        """``to_dict`` as YAML."""
        import yaml

        text: str = yaml.dump(self.to_dict(), Dumper=yaml.SafeDumper, sort_keys=False, allow_unicode=True, width=120)
        return text

    def to_markdown(self) -> str:
        """As a Markdown page, with tables; without pictures."""
        from datastack_fs.iterators.report.markdown import markdown

        return markdown(self)

    def to_html(self) -> str:
        """As one HTML page that needs nothing else: no script, no file beside it, no network."""
        from datastack_fs.iterators.report.page import page

        return page(self)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a file, all or nothing; its ending says what: ``.html``, ``.md``, ``.json``, ``.yaml`` or ``.yml``.

        Raises:
            ValueError: another ending.
        """
        name = os.fspath(path)
        write_whole(name, self._written(check_ending(name)))

    def _written(self, ending: str) -> str:
        if ending == ".html":
            return self.to_html()
        if ending == ".md":
            return self.to_markdown()
        return self.to_json() if ending == ".json" else self.to_yaml()

    def __str__(self) -> str:
        return self.to_markdown()

    def _repr_markdown_(self) -> str:
        """For notebooks."""
        return self.to_markdown()

    def __repr__(self) -> str:
        return f"<Report of {self.kind} {self.title}: {self.length:,} samples, {self.looked_at:,} looked at>"


def check_ending(path: str) -> str:
    """The ending of a file that a report can be written to.

    Raises:
        ValueError: a report is no such file.
    """
    ending = PurePath(path).suffix.lower()
    if ending not in ENDINGS:
        raise ValueError(f"{path}: a report ends in {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}")
    return ending


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        fields = [each for each in dataclasses.fields(value) if each.metadata.get("is_plain", True)]
        return {each.name: _plain(getattr(value, each.name)) for each in fields}
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    return list(map(_plain, value)) if isinstance(value, tuple) else value
