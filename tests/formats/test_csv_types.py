"""Types of columns, told in whole blocks: the same as field by field."""

import csv
import io
import re

from hypothesis import given, settings
from hypothesis import strategies as st

from datastack_fs.formats.csv_dialect import CSVDialect
from datastack_fs.formats.csv_scan import TableScanner
from datastack_fs.formats.csv_types import MISSING

INTEGER = re.compile(r"[+-]?([0-9]+)", re.ASCII)
FLOAT = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|[+-]?[iI]nf(inity)?", re.ASCII)

NUMBERS = st.integers(-(10**20), 10**20).map(str) | st.floats().map(str) | st.integers(0, 99).map(str)
ODD = st.text(alphabet='0019+-.eE _"na', max_size=8) | st.sampled_from([*MISSING, "1" * 63, "1" * 64, "-" * 64, "٣"])


def one_by_one(fields):
    """The type of a column, and how many of its fields are missing, where it is one of numbers."""
    integers, floats, missing, digits = 0, 0, 0, 0
    for field in fields:
        number = field.strip(" ")
        if field in MISSING:
            missing += 1
        elif len(number) > 63 or not FLOAT.fullmatch(number):
            return "text"
        elif INTEGER.fullmatch(number):
            size = len(INTEGER.fullmatch(number)[1])
            if size > 18 or (size > 1 and number.lstrip("+-").startswith("0")):
                return "text"
            integers, digits = integers + 1, max(digits, size)
        else:
            floats += 1
    if not integers + floats:
        return "text"
    if not floats and not missing:
        return "int64"
    return "text" if digits > 15 else "float64"


@settings(max_examples=600, deadline=None)
@given(
    columns=st.lists(
        st.lists(st.one_of(NUMBERS, ODD), min_size=6, max_size=6) | st.lists(NUMBERS, min_size=6, max_size=6),
        min_size=1,
        max_size=3,
    ),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    line_end=st.sampled_from(["\r\n", "\n"]),
    size=st.integers(1, 200),
    whole=st.booleans(),
)
def test_types_are_those_of_field_by_field(columns, quoting, line_end, size, whole):
    stream = io.StringIO(newline="")
    rows = [["begin", *row] for row in zip(*columns, strict=True)]
    csv.writer(stream, quoting=quoting, lineterminator=line_end).writerows(rows)
    data = stream.getvalue().encode()
    data = data if whole else data.removesuffix(line_end.encode())
    scanner = TableScanner(CSVDialect(header=False, delimiter=",", missing=MISSING), "a.csv", "a.csv")
    index = scanner.scan(data[start : start + size] for start in range(0, len(data), size))
    expected = [one_by_one(column) for column in columns]
    assert index.summary["types"] == ("text", *expected)
    for kind, column, missing in zip(expected, columns, index.summary["missing"][1:], strict=True):
        if kind != "text":
            assert missing == sum(field in MISSING for field in column)
