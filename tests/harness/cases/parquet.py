"""Parquet files."""

import datetime as dt
import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from harness.cases import FormatCase

NAMES = ["owl", None, "wren", "ästrild", "", "kea", "ibis", "emu", "tui", "rook"]
DAYS = [dt.date(2020, 1, 1 + day) for day in range(10)]
LABELS = np.arange(10) % 3


def cases():
    """Values of many types in small row groups, and lists and structs in compressed pages with checksums."""
    return [plain(), nested()]


def plain():
    """Text, dates, numbers of which one is missing."""
    grams = [None if number == 4 else number * 7 for number in range(10)]
    table = pa.table({"name": NAMES, "day": DAYS, "grams": pa.array(grams, pa.int16()), "label": LABELS})
    expected = [
        (
            {"name": name, "day": np.datetime64(day), "grams": np.float64(np.nan if gram is None else gram)},
            np.int64(label),
            None,
        )
        for name, day, gram, label in zip(NAMES, DAYS, grams, LABELS, strict=True)
    ]
    content = saved(table, row_group_size=3, compression="none")
    return FormatCase("parquet", "a.parquet", {"a.parquet": content}, expected, format="parquet")


def nested():
    """Lists of one length and of several, mappings, and texts from a dictionary."""
    pairs = np.arange(20, dtype=np.float32).reshape(10, 2)
    lists = [np.arange(length) for length in range(10)]
    table = pa.table(
        {
            "pair": pa.FixedSizeListArray.from_arrays(pairs.ravel(), 2),
            "list": pa.array([each.tolist() for each in lists]),
            "place": [{"x": number, "name": name} for number, name in enumerate(NAMES)],
            "kind": pa.array(["a", "b"] * 5).dictionary_encode(),
        }
    )
    expected = [
        ((pair, each, {"x": np.int64(number), "name": name}), "ab"[number % 2], None)
        for number, (pair, each, name) in enumerate(zip(pairs, lists, NAMES, strict=True))
    ]
    options = {"sample": ["pair", "list", "place"], "target": "kind"}
    content = saved(table, row_group_size=4, compression="zstd", write_page_checksum=True)
    return FormatCase("parquet, nested", "b.pq", {"b.pq": content}, expected, options, format="parquet")


def saved(table, **options):
    """The table as a Parquet file."""
    stream = io.BytesIO()
    pq.write_table(table, stream, **options)
    return stream.getvalue()
