"""Workbooks of Excel."""

import datetime as dt
import io

import numpy as np
import openpyxl

from harness.cases import FormatCase

NAMES = ["owl", None, "wren", "ästrild", "emu", "kea", "ibis", "roc", "tui", "rook"]
DAYS = [dt.datetime(2020, 1, 1 + day, day) for day in range(10)]
GRAMS = [None if number == 4 else number * 7 for number in range(10)]


def cases():
    """Cells of several types, and the second sheet of a workbook without a header."""
    rows = list(zip(NAMES, DAYS, GRAMS, [0, 1, 2, 0, 1, 2, 0, 1, 2, 0], strict=True))
    expected = [
        (
            {"name": name, "seen": np.datetime64(day, "us"), "grams": np.float64(np.nan if gram is None else gram)},
            np.int64(label),
            None,
        )
        for name, day, gram, label in rows
    ]
    content = saved({"birds": [("name", "seen", "grams", "label"), *rows]})
    plain = FormatCase("excel", "a.xlsx", {"a.xlsx": content}, expected, format="excel")
    flags = [(number / 2, number % 2 == 0) for number in range(10)]
    content = saved({"notes": [("nothing",)], "flags": [("made by hand",), *flags]})
    options = {"sheet": "flags", "header": False, "skip": 1, "sample": "A", "target": "B"}
    expected = [(np.float64(half), np.bool_(flag), None) for half, flag in flags]
    return [plain, FormatCase("excel, second sheet", "b.xlsm", {"b.xlsm": content}, expected, options, format="excel")]


def saved(sheets):
    """A workbook with these rows in its sheets."""
    workbook = openpyxl.Workbook()
    workbook.remove(workbook.active)
    for name, rows in sheets.items():
        sheet = workbook.create_sheet(name)
        for row in rows:
            sheet.append(row)
    stream = io.BytesIO()
    workbook.save(stream)
    return stream.getvalue()
