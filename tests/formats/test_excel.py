"""Workbooks of Excel: sheets, types, what is missing in them, and what is refused."""

import datetime as dt
import io
import re
import warnings
import zipfile

import numpy as np
import pandas as pd
import pytest

from datastack_fs import open_dataset
from datastack_fs.connectors import MemoryStorageConnector
from datastack_fs.errors import DatasetFileCorruptError, DatasetNotFoundError
from datastack_fs.formats.excel import ExcelDatasetIterator
from datastack_fs.testing import DatasetIteratorTests
from datastack_fs.testing.iterators import assert_same
from harness.cases.excel import cases, saved

BIRDS = [("name", "grams"), ("owl", 480), ("wren", 9)]


def opened(content, **options):
    content = content if isinstance(content, bytes) else saved({"birds": content})
    store = MemoryStorageConnector("excel-own")
    store.set_resource("a.xlsx", content)
    return ExcelDatasetIterator(store.get_resource("a.xlsx"), **options)


class TestInOneStore(DatasetIteratorTests):
    @pytest.fixture
    def iterator(self):
        case = cases()[0]
        store = MemoryStorageConnector("excel-contract")
        store.set_resource(case.identifier, case.contents[case.identifier])
        return open_dataset(case.identifier, storage=store, **case.options)

    @pytest.fixture
    def expected(self):
        return cases()[0].expected


NAN = float("nan")
DAY, TIME = dt.datetime(2020, 1, 2, 3), dt.time(4, 5)
COLUMNS = {
    "integers": ([1, 2], np.array([1, 2])),
    "integers, one missing": ([1, None], np.array([1, NAN])),
    "numbers": ([1, 2.5], np.array([1, 2.5])),
    "numbers, one not available": ([1, "N/A", 3], np.array([1, NAN, 3])),
    "bools": ([True, False], np.array([True, False])),
    "bools, one missing": ([True, None, False], [True, None, False]),
    "dates": ([DAY, None], np.array([DAY, "NaT"], "M8[us]")),
    "durations": ([dt.timedelta(1), None], np.array([86_400_000_000, "NaT"], "m8[us]")),
    "times of day": ([TIME, TIME], [TIME, TIME]),
    "text": (["a", None, "NA"], ["a", None, "NA"]),
    "numbers as text": (["007", "8"], ["007", "8"]),
    "mixed": ([1, "a", True, None], [1, "a", True, None]),
    "nothing": ([None, None], [None, None]),
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_every_kind_of_cells_has_its_type(kind):
    values, expected = COLUMNS[kind]
    if isinstance(expected, list):
        found = np.empty(len(expected), dtype=object)
        found[:] = expected
        expected = found
    iterator = opened([("row", "x"), *enumerate(values)], sample="x")
    assert_same(iterator.take(range(len(values)))[0], expected)


def test_texts_that_are_said_to_be_missing_are_so_in_text_too():
    iterator = opened([("x", "z"), ("a", 1), ("-", "-"), ("NA", 3)], missing=["-"])
    assert iterator.to_pandas()["x"].tolist()[::2] == ["a", "NA"]
    assert iterator[1][0]["x"] is None
    assert np.isnan(iterator[1][0]["z"])


def test_sheets_by_name_and_number():
    content = saved({"a": [("x",), (1,)], "b": [("x",), (2,)]})
    assert [opened(content, sheet=sheet)[0][0]["x"] for sheet in (0, 1, "a", "b")] == [1, 2, 1, 2]
    for sheet in ("c", 2, -1):
        with pytest.raises(
            DatasetNotFoundError, match=rf"no sheet {sheet!r} in a\.xlsx in .*; it has 'a', 'b', numbered"
        ):
            opened(content, sheet=sheet)


def test_blank_and_short_rows_and_columns():
    rows = [("title",), (), ("name", None, "grams", None), ("owl", None, 480, "late"), (None,), ("wren",)]
    iterator = opened(rows, skip=1)
    assert iterator.column_names == ("name", "grams", "D")
    assert iterator[0][0] == {"name": "owl", "grams": 480.0, "D": "late"}
    assert iterator[1][0]["name"] == "wren"
    assert np.isnan(iterator[1][0]["grams"])
    assert len(iterator) == 2


def test_names_of_columns():
    assert opened(BIRDS, header=False).column_names == ("A", "B")
    assert opened(BIRDS[1:], header=["bird", "weight"])[0][0] == {"bird": "owl", "weight": 480}
    with pytest.raises(DatasetFileCorruptError, match="header names 1 columns, and the sheet has 2"):
        opened(BIRDS, header=["bird"])
    with pytest.raises(DatasetFileCorruptError, match="several columns 'name'"):
        opened([("name", "name"), (1, 2)])
    with pytest.raises(TypeError, match="lists of texts"):
        opened(BIRDS, header="bird")
    with pytest.raises(DatasetFileCorruptError, match="the sheet is empty"):
        opened([])


def test_errors_are_missing_values_with_a_warning():
    with pytest.warns(
        UserWarning, match=r"a\.xlsx in .*: 1 cells of the sheet 'birds' hold errors.* is B3 \(#DIV/0!\)"
    ):
        iterator = opened([("name", "grams"), ("owl", 480), ("wren", "#DIV/0!")])
    assert np.isnan(iterator[1][0]["grams"])


def test_a_formula_is_its_saved_value():
    content = replaced(saved({"birds": [("x",), (1,)]}), "xl/worksheets/sheet1.xml", b"<v>1</v>", b"<f>2+3</f><v>5</v>")
    assert opened(content)[0][0]["x"] == 5
    assert np.isnan(opened([("x", "z"), (1, "=A2+1"), (1, 2)])[0][0]["z"])  # never calculated


def test_a_frame_comes_back(tmp_path):
    frame = pd.DataFrame(
        {
            "name": ["owl", "wren", None],
            "grams": [480.5, np.nan, 9.25],
            "seen": pd.array(["2020-01-01", "2021-05-05", None], dtype="datetime64[us]"),
            "count": [1, 2, 3],
            "is_big": [True, False, False],
        }
    )
    frame.to_excel(tmp_path / "a.xlsx", index=False)
    pd.testing.assert_frame_equal(opened((tmp_path / "a.xlsx").read_bytes()).to_pandas(), frame)


# What is refused.


def replaced(content, member, old, new):
    """The workbook with something else in one of its members."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as target:
        for info in source.infolist():
            data = source.read(info)
            if info.filename == member:
                assert old in data
                data = data.replace(old, new, 1)
            target.writestr(info.filename, data)
    return stream.getvalue()


def test_an_older_workbook_says_what_to_do():
    store = MemoryStorageConnector("excel-old")
    store.set_resource("a.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(512))
    with pytest.raises(
        DatasetFileCorruptError, match=r"a\.xls in .* is a workbook of Excel before 2007 .*: save it as"
    ):
        open_dataset("a.xls", storage=store)


def test_a_workbook_that_unpacks_to_too_much_is_refused():
    content = replaced(
        saved({"birds": BIRDS}), "xl/worksheets/sheet1.xml", b"<sheetData>", b"<sheetData>" + b" " * 9_000_000
    )
    assert len(content) < 50_000
    with pytest.raises(
        DatasetFileCorruptError, match=r"unpacks to 9,\d+,\d+ bytes of XML, more than max_bytes=1,000,000"
    ):
        opened(content, max_bytes=1_000_000)
    assert len(opened(content)) == 2


@pytest.mark.parametrize("member", ["xl/worksheets/sheet1.xml", "xl/workbook.xml", "[Content_Types].xml"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "latin-1"])
def test_a_document_type_is_refused_in_any_encoding(member, encoding):
    bomb = f'<?xml version="1.0" encoding="{encoding}"?><!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><x>&b;</x>'
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(saved({"birds": BIRDS}))) as source, zipfile.ZipFile(stream, "w") as target:
        for name in source.namelist():
            target.writestr(name, bomb.encode(encoding) if name == member else source.read(name))
    with pytest.raises(DatasetFileCorruptError, match=rf"{re.escape(member)} has a document type"):
        opened(stream.getvalue())


def test_cells_far_out_make_no_room_for_all_between():
    far = replaced(saved({"birds": BIRDS}), "xl/worksheets/sheet1.xml", b'r="A3"', b'r="A1048576"')
    far = replaced(far, "xl/worksheets/sheet1.xml", b'<row r="3"', b'<row r="1048576"')
    assert len(opened(far)) == 2
    with pytest.raises(DatasetFileCorruptError, match="more than 1,048,576 rows, or max_bytes"):
        opened(far, max_bytes=1_000_000)
    wrong = replaced(saved({"birds": BIRDS}), "xl/worksheets/sheet1.xml", b'<row r="3"', b'<row r="9999999999"')
    with pytest.raises(DatasetFileCorruptError, match=r"a\.xlsx in memory://excel-own"):
        opened(replaced(wrong, "xl/worksheets/sheet1.xml", b'r="A3"', b'r="A9999999999"'))


def test_what_is_no_workbook_is_refused():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a.txt", "a")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for content in (stream.getvalue(), b"PK\3\4 and more", b"name,grams\n"):
            with pytest.raises(DatasetFileCorruptError, match=r"a\.xlsx in .* can't be read as a workbook of Excel"):
                opened(content)
