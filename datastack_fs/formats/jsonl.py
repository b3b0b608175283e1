"""JSON Lines in any store: an object a line, each read by its byte range, which an index of the lines gives."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, islice
from pathlib import PurePosixPath
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from datastack_fs.errors import DatasetNotFoundError
from datastack_fs.formats.kept_column import KeptColumn
from datastack_fs.formats.kept_index import IndexPlace
from datastack_fs.formats.record_scan import LineScanner
from datastack_fs.formats.row_index import Run
from datastack_fs.formats.text_content import MAX_BYTES
from datastack_fs.formats.text_rows import RunBytes, TextRows, ascending
from datastack_fs.index_cache import IndexKey
from datastack_fs.iterators.base import DatasetIterator
from datastack_fs.iterators.blocks import Blocks
from datastack_fs.iterators.chunks import MAX_SAMPLES
from datastack_fs.iterators.columnar import Names, check_triple, constant, names_in
from datastack_fs.iterators.indices import IndexArray
from datastack_fs.iterators.labels import columns_of, label_array
from datastack_fs.iterators.meta import DatasetMeta
from datastack_fs.iterators.planning import Plan
from datastack_fs.resource import StreamedResource

LOOKED_AT: Final = 100
"""Rows at the top of the file of which at least one must have each key that is asked for."""

_KIND: Final = "lines-1"
_COLUMN_KIND: Final = "lines-column-1"
_LINE_END: Final = re.compile(rb"\n")
_MOST_LISTED: Final = 20
_UNCHANGEABLE: Final = frozenset({str, int, float, bool, type(None)})
_ABSENT: Final = object()


class JSONLinesDatasetIterator(DatasetIterator[tuple[Any, Any, Any]]):
    r"""The objects of a JSON Lines file as (sample, target, tag), plain or gzipped.

    The first time, one pass over the file finds its lines; where they begin is kept in the user's cache folder (or
    beside the data), by the version of the file. A batch is one request for exactly its lines, nearby ones joined.
    Lines are taken apart when they are read. Blank ones are passed over; ``NaN`` and ``Infinity``, which Python and
    pandas write, are read.

    Labels lie among the samples in such a file, so ``targets()`` reads all of it, in pieces; what it found is kept.

    A gzipped file is unpacked once, into the cache folder: see ``UnpackedText`` for what that costs.

    Args:
        resource: the file. It may be closed afterwards.
        sample: a key; several, as a list (samples are tuples) or a mapping of new names to keys (they are mappings);
            without, the sample is the whole object. A dot leads into objects within: ``"meta.id"`` (a key with a dot
            in it goes first). An object without the key has None there.
        target: the same for the target; without, every target is None.
        tag: the same for the tag; without, every tag is that of ``meta``.
        meta: what is known about it.
        index: ``"cache"``, or ``"beside"`` to keep the index also as ``<identifier>.dsindex`` in the same store, for
            all who read it. One that is there is used either way.
        max_bytes: the most that a gzipped file may unpack to.

    Raises:
        DatasetNotFoundError: none of the first 100 objects has such a key; the message lists those that they have.
        DatasetFileCorruptError: a line is no object in JSON; the message names line and byte.

    Examples:
        >>> from datastack_fs.connectors.memory import MemoryStorageConnector
        >>> connector = MemoryStorageConnector("jsonl-example")
        >>> lines = b'{"text": "hoo", "meta": {"bird": "owl"}}\n{"text": "tick", "meta": {"bird": "wren"}}\n'
        >>> info = connector.set_resource("calls.jsonl", lines)
        >>> calls = JSONLinesDatasetIterator(connector.get_resource("calls.jsonl"), sample="text", target="meta.bird")
        >>> calls[1], calls.targets().tolist()
        (('tick', 'wren', None), ['owl', 'wren'])
    """

    labels_apart = False

    def __init__(
        self,
        resource: StreamedResource,
        *,
        sample: Names | None = None,
        target: Names | None = None,
        tag: Names | None = None,
        meta: DatasetMeta | None = None,
        index: IndexPlace = "cache",
        max_bytes: int = MAX_BYTES,
    ) -> None:
        super().__init__(
            meta or DatasetMeta(resource.identifier, PurePosixPath(resource.identifier).name.partition(".")[0])
        )
        check_triple(self.meta)
        scanner = partial(LineScanner, f"{resource.identifier} in {resource.connector.url}")
        self._rows = TextRows(resource, _KIND, None, scanner, _LINE_END, repr, place=index, max_bytes=max_bytes)
        self._names: tuple[Names | None, ...] = (sample, target, tag)
        labels = [names for names in (target, tag) if isinstance(names, str)]
        self._kept = {name: KeptColumn(IndexKey.of(resource, _COLUMN_KIND, name)) for name in labels}
        self._check_names([name for names in self._names for name in names_in(names)])

    def __len__(self) -> int:
        return len(self._rows)

    def _samples(self, indices: IndexArray) -> list[tuple[Any, Any, Any]]:
        rows, places = ascending(indices)
        return self._samples_of(list(self._lines(rows)), places)

    def _plan(self, indices: IndexArray) -> Plan[tuple[Any, ...]]:
        rows, places = ascending(indices)
        plan = self._rows.plan(rows)
        if plan is None:
            return super()._plan(indices)
        return plan.decoded_by(lambda runs: columns_of(self._samples_of(list(self._split(runs)), places)))

    def _blocks(self) -> Blocks | None:
        return self._rows.blocks

    def _is_planned(self) -> bool:
        return self._rows.is_remote

    def _samples_of(self, lines: Sequence[RunBytes], places: IndexArray | None) -> list[tuple[Any, Any, Any]]:
        """The samples of lines, in the order of their places; each gets objects of its own, the caller's to change."""
        ordered = lines if places is None else [lines[place] for place in places.tolist()]
        return [self._sample_of(self._parsed(*line)) for line in ordered]

    def _chunks(self) -> Iterator[list[tuple[Any, Any, Any]]]:
        """All samples in order: the file is read in large pieces, from front to back."""
        for rows in self._rows.in_order():
            lines = self._lines(rows)
            while samples := [self._sample_of(self._parsed(*line)) for line in islice(lines, MAX_SAMPLES)]:
                yield samples

    def _targets(self, indices: IndexArray) -> npt.NDArray[Any]:
        return self._labels(self._names[1], indices, None)

    def _tags(self, indices: IndexArray) -> npt.NDArray[Any]:
        return self._labels(self._names[2], indices, self.meta.tag)

    def _labels(self, names: Names | None, indices: IndexArray, otherwise: Any) -> npt.NDArray[Any]:
        if names is None:
            return constant(otherwise, len(indices))
        kept = self._kept.get(names) if isinstance(names, str) else None
        found = None if kept is None else kept.find(len(indices), len(self))
        if found is not None:
            return label_array(list(found[indices]))
        rows, places = ascending(indices)
        values = [_value(names, self._parsed(*line), None) for line in self._lines(rows)]
        if kept is not None and len(rows) == len(self) and set(map(type, values)) <= _UNCHANGEABLE:
            column = np.empty(len(values), dtype=object)
            column[:] = values
            kept.keep(column)
        return label_array(values if places is None else [values[place] for place in places.tolist()])

    def _lines(self, rows: IndexArray) -> Iterator[RunBytes]:
        return chain.from_iterable(map(self._split, self._rows.read(rows)))

    def _split(self, runs: Sequence[RunBytes]) -> Iterator[RunBytes]:
        """The lines of runs, one by one."""
        for run, content in runs:
            yield from self._rows.split(run, content)

    def _parsed(self, run: Run, content: bytes) -> dict[str, Any]:
        try:
            found = json.loads(content.decode())
        except json.JSONDecodeError as error:
            place = run.start + len(error.doc[: error.pos].encode())
            raise self._rows.error(run.first, f"is no JSON at byte {place:,}: {error.msg}") from error
        except UnicodeDecodeError as error:
            raise self._rows.error(
                run.first, f"is no UTF-8 at byte {run.start + error.start:,}: {error.reason}"
            ) from error
        except (ValueError, RecursionError) as error:  # a number of thousands of digits; nesting without end
            raise self._rows.error(run.first, f"can't be read as JSON: {error}") from error
        if not isinstance(found, dict):
            raise self._rows.error(run.first, f"holds {type(found).__name__} in JSON, not an object: {found!r:.40}")
        return found

    def _sample_of(self, found: dict[str, Any]) -> tuple[Any, Any, Any]:
        sample, target, tag = self._names
        meta = self.meta
        parts = {
            meta.sample_pos: _value(sample, found, found),
            meta.target_pos: _value(target, found, None),
            meta.tag_pos: _value(tag, found, meta.tag),
        }
        return parts[0], parts[1], parts[2]

    def _check_names(self, names: list[str]) -> None:
        """Refuses a key that is in none of the first objects: it is most often misspelt."""
        if not names or not len(self):
            return
        found = [self._parsed(*line) for line in self._lines(np.arange(min(LOOKED_AT, len(self))))]
        for name in names:
            if all(_looked_up(each, name) is _ABSENT for each in found):
                keys = sorted({key for each in found for key in each})
                listed = ", ".join(map(repr, keys[:_MOST_LISTED])) or "none"
                more = f" and {len(keys) - _MOST_LISTED} more" if len(keys) > _MOST_LISTED else ""
                raise DatasetNotFoundError(
                    f"no key {name!r} in the first {len(found)} objects of {self.meta.identifier}; they have "
                    f"{listed}{more}"
                )


def _value(names: Names | None, found: dict[str, Any], otherwise: Any) -> Any:
    """What an object has under the names, arranged as they are."""
    if names is None:
        return otherwise
    values = [None if value is _ABSENT else value for value in (_looked_up(found, name) for name in names_in(names))]
    if isinstance(names, str):
        return values[0]
    return dict(zip(names, values, strict=True)) if isinstance(names, Mapping) else tuple(values)


def _looked_up(found: Any, name: str) -> Any:
    """The value under a key, or under keys within each other that dots join."""
    if not isinstance(found, dict):
        return _ABSENT
    if name in found:
        return found[name]
    first, dot, rest = name.partition(".")
    return _looked_up(found[first], rest) if dot and first in found else _ABSENT
