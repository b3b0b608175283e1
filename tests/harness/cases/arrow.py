"""Arrow IPC files."""

import io
from dataclasses import replace

import numpy as np
import pyarrow as pa

from harness.cases import FormatCase

NAMES = ["owl", None, "wren", "ästrild", "", "kea", "ibis", "emu", "tui", "rook"]
LABELS = np.arange(10) % 3


def cases():
    """Plain columns in several batches; a compressed file with a dictionary, lists and mappings; both as streams."""
    return [plain(), nested(), streamed(plain(), 3), streamed(nested(), 4)]


def plain():
    """Text, times, numbers of which one is missing."""
    times = np.datetime64("2020-01-01T00:00", "us") + np.arange(10)
    grams = [None if number == 4 else number * 7 for number in range(10)]
    table = pa.table({"name": NAMES, "time": times, "grams": pa.array(grams, pa.int16()), "label": LABELS})
    expected = [
        (
            {"name": name, "time": time, "grams": np.float64(np.nan if gram is None else gram)},
            np.int64(label),
            None,
        )
        for name, time, gram, label in zip(NAMES, times, grams, LABELS, strict=True)
    ]
    return FormatCase("arrow", "a.arrow", {"a.arrow": saved(table, 3)}, expected, format="arrow")


def nested():
    """Lists, mappings, and texts from a dictionary."""
    lists = [np.arange(length) for length in range(10)]
    table = pa.table(
        {
            "list": pa.array([each.tolist() for each in lists]),
            "other": LABELS,
            "place": [{"x": number, "name": name} for number, name in enumerate(NAMES)],
            "kind": pa.array(["a", "b"] * 5).dictionary_encode(),
        }
    )
    expected = [
        ((each, {"x": np.int64(number), "name": name}), "ab"[number % 2], None)
        for number, (each, name) in enumerate(zip(lists, NAMES, strict=True))
    ]
    options = {"sample": ["list", "place"], "target": "kind"}
    content = saved(table, 4, compression="zstd")
    return FormatCase("arrow, nested", "b.feather", {"b.feather": content}, expected, options, format="arrow")


def saved(table, rows=None, **options):
    """The table as an Arrow IPC file, in batches of some rows."""
    stream = io.BytesIO()
    with pa.ipc.new_file(stream, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table, max_chunksize=rows)
    return stream.getvalue()


def streamed(case, rows):
    """The same samples from a stream."""
    (content,) = case.contents.values()
    stream = io.BytesIO()
    table = pa.ipc.open_file(content).read_all()
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table, max_chunksize=rows)
    contents = {"c.arrows": stream.getvalue()}
    return replace(case, name=f"{case.name}, streamed", identifier="c.arrows", contents=contents)
