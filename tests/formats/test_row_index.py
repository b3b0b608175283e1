"""Where the records of a text begin: just where Python's own readers begin them, whatever the blocks."""

import csv
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datastack_fs.errors import DatasetFileCorruptError
from datastack_fs.formats.csv_dialect import CSVDialect
from datastack_fs.formats.csv_scan import TableScanner
from datastack_fs.formats.record_scan import LineScanner
from datastack_fs.formats.row_index import GROUP, RowIndex, RowIndexBuilder

many = settings(max_examples=400, deadline=None)
RAW = st.text(alphabet='ab,;"\n\r', max_size=40)


def blocks(data, size):
    return [data[start : start + size] for start in range(0, len(data), size)]


def starts_by_csv(text, **options):
    """The first byte and the fields of each record that the csv module reads, blank lines apart."""
    place = 0

    def lines():
        nonlocal place
        for line in io.StringIO(text, newline=""):
            place += len(line.encode())
            yield line

    found, start = [], 0
    for record in csv.reader(lines(), **options):
        if record:
            found.append((start, record))
        start = place
    return found


def scanned(data, size, **options):
    scanner = TableScanner(CSVDialect(header=False, **options), "a.csv", "a.csv")
    return scanner.scan(blocks(data, size))


def starts(index):
    return index.starts(np.arange(len(index))).tolist()


@many
@given(text=RAW, size=st.integers(1, 50))
def test_any_text_is_cut_where_the_csv_module_cuts_it(text, size):
    expected = starts_by_csv(text, delimiter="\t")  # of one column, so that no row is ragged
    try:
        index = scanned(text.encode(), size, delimiter="\t")
    except DatasetFileCorruptError:
        quote = text.count('"') > 0  # one may never be closed
        assert quote or not expected
        return
    assert starts(index) == [start for start, _ in expected]


@many
@given(text=RAW, size=st.integers(1, 50), delimiter=st.sampled_from(",;"))
def test_any_text_is_a_table_if_the_csv_module_finds_equally_many_fields(text, size, delimiter):
    expected = starts_by_csv(text, delimiter=delimiter)
    widths = {len(record) for _, record in expected}
    try:
        index = scanned(text.encode(), size, delimiter=delimiter)
    except DatasetFileCorruptError as error:
        reason = str(error)
        assert (" fields" in reason and len(widths) > 1) or ("never closed" in reason and '"' in text) or not expected
        return
    assert len(widths) == 1
    assert starts(index) == [start for start, _ in expected]


@many
@given(
    rows=st.integers(1, 4).flatmap(
        lambda width: st.lists(
            st.lists(st.text(alphabet='ab,;"\n\r é', max_size=6), min_size=width, max_size=width),
            min_size=1,
            max_size=12,
        )
    ),
    delimiter=st.sampled_from(",;\t"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    line_end=st.sampled_from(["\r\n", "\n"]),
    size=st.integers(1, 60),
)
def test_a_table_of_the_csv_module_is_cut_into_its_rows(rows, delimiter, quoting, line_end, size):
    stream = io.StringIO(newline="")
    csv.writer(stream, delimiter=delimiter, quoting=quoting, lineterminator=line_end).writerows(rows)
    expected = starts_by_csv(stream.getvalue(), delimiter=delimiter)
    try:
        index = scanned(stream.getvalue().encode(), size, delimiter=delimiter)
    except DatasetFileCorruptError:
        # Until Python 3.13, csv.writer leaves a lone CR unquoted where lines end with LF; its reader ends a row there.
        assert [record for _, record in expected] != rows
        return
    assert starts(index) == [start for start, _ in expected]


@many
@given(text=st.text(alphabet=' ab\t\n\r{}"', max_size=40), size=st.integers(1, 50))
def test_lines_are_those_that_are_not_blank(text, size):
    expected, place = [], 0
    for line in text.encode().split(b"\n"):
        if line.strip():
            expected.append(place)
        place += len(line) + 1
    index = LineScanner("a.jsonl").scan(blocks(text.encode(), size))
    assert starts(index) == expected
    assert index.end <= len(text.encode())


def test_the_line_of_every_anchor_counts_line_ends_in_quotes_and_blank_lines():
    records = [f'"{number}\r\nb"\r\n' + "\r\n" * (number % 3) for number in range(5 * GROUP)]
    text = "".join(records)
    for size in (7, 1000, len(text)):
        index = scanned(text.encode(), size)
        found = starts(index)
        assert len(found) == len(records)
        assert index.lines.tolist() == [1 + text.count("\n", 0, place) for place in found[::GROUP]]


@many
@given(
    lengths=st.lists(st.sampled_from([1, 3, 200, 70_000, 2**33]), max_size=300),
    sizes=st.lists(st.integers(1, 90), min_size=1, max_size=5),
)
def test_any_row_is_found_again_in_what_is_kept(lengths, sizes):
    edges = np.cumsum([5, *lengths])
    builder, done = RowIndexBuilder(), 0
    while done < len(lengths):
        size = sizes[done % len(sizes)]
        builder.add(edges[done : min(done + size, len(lengths))], lambda found: found * 2)
        done += size
    made = builder.finished(int(edges[-1]), {"names": ["é"]})
    index = RowIndex.from_bytes(memoryview(b"".join(made.parts())))
    assert index.summary == {"names": ["é"]}
    assert index.ascends()
    assert index.starts(np.arange(len(lengths) + 1)).tolist() == edges.tolist()
    assert index.lines.tolist() == (edges[:-1][::GROUP] * 2).tolist()
    rows = np.arange(0, len(lengths), 2)
    if len(rows):
        assert [run.range for run in index.runs(rows)] == [(edges[row], edges[row + 1]) for row in rows]
        assert np.concatenate(list(index.pieces(rows, 100))).tolist() == rows.tolist()


def test_neighbours_are_one_run_and_pieces_are_bounded():
    builder = RowIndexBuilder()
    builder.add(np.arange(0, 1000, 10), lambda found: found)
    index = builder.finished(1000, None)
    assert [run.range for run in index.runs(np.array([3, 4, 5, 9]))] == [(30, 60), (90, 100)]
    assert max(map(len, index.pieces(np.arange(100), 200))) <= 21


def test_two_bytes_a_row_for_rows_of_usual_length():
    index = scanned(b"some,thing,like,this,12345,0.5\n" * 10_000, 1 << 16)
    assert sum(len(bytes(part)) for part in index.parts()) < 2.5 * 10_000
    assert scanned(b"x" * 2000 + b"\n" + b"y\n" * 100, 1 << 16).distances.dtype == np.uint16
    assert scanned((b"x" * 5000 + b"\n") * 100, 1 << 16).distances.dtype == np.uint32


def test_an_index_that_does_not_ascend_is_told():
    index = RowIndex(np.array([4]), np.array([1]), np.array([0, 9, 9], np.uint8), 30, None)
    assert not index.ascends()


def test_a_record_without_end_is_refused_in_bounded_memory(monkeypatch):
    monkeypatch.setattr("datastack_fs.formats.record_scan.LONGEST_RECORD", 10_000)
    endless = (b"x" * 1000 for _ in range(10**9))
    with pytest.raises(
        DatasetFileCorruptError, match=r"a\.jsonl: line 1 \(byte 0\) goes on for more than 10,000 bytes"
    ):
        LineScanner("a.jsonl").scan(endless)
