"""Damaged files of every format: an error of this library or right samples; never a crash, a hang or another error."""

import os
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datastack_fs import open_dataset
from datastack_fs.errors import DatastackError
from datastack_fs.testing.iterators import assert_same
from harness.cases import all_cases
from harness.damaged import DamagedFileReader, store_with

CASES = {case.name: case for case in all_cases() if case.identifier in case.contents}
EXAMPLES = 2000 if os.environ.get("DATASTACK_SOAK") else 100

relaxed = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def child():
    reader = DamagedFileReader()
    yield reader
    reader.close()


@pytest.fixture
def reader(child):
    child.forgive()
    return child


@pytest.mark.parametrize("name", CASES)
@given(data=st.data())
@relaxed
def test_a_truncated_file_is_an_error_or_ends_early(reader, name, data):
    case = CASES[name]
    whole = case.contents[case.identifier]
    kept = data.draw(st.integers(0, len(whole) - 1), label="bytes kept")
    samples = reader.read(case, whole[:kept])
    if samples is None:
        return
    assert case.is_text or kept >= len(whole) - case.slack, (
        f"{kept} of {len(whole)} bytes were read as a whole {case.identifier}"
    )
    # A text file that ends early is one with fewer rows, and the last of them may have lost its end.
    for sample, expected in zip(samples[:-1], case.expected, strict=False):
        assert_same(sample, expected)


@pytest.mark.parametrize("name", CASES)
@given(data=st.data())
@relaxed
def test_a_damaged_file_is_an_error_or_has_samples(reader, name, data):
    case = CASES[name]
    content = bytearray(case.contents[case.identifier])
    for _ in range(data.draw(st.integers(1, 4), label="damages")):
        at = data.draw(st.integers(0, len(content)), label="at")
        verb = data.draw(st.sampled_from(["flip", "insert", "delete", "zero"]), label="damage")
        if verb == "flip" and at < len(content):
            content[at] ^= 1 << data.draw(st.integers(0, 7))
        elif verb == "insert":
            content[at:at] = data.draw(st.binary(min_size=1, max_size=9))
        elif verb == "delete":
            del content[at : at + data.draw(st.integers(1, 9))]
        else:
            content[at : at + 8] = bytes(len(content[at : at + 8]))
    reader.read(case, bytes(content))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("content", [b"", b"\0", b"\xff" * 100, b"<html>", b"\n" * 50], ids=repr)
def test_what_is_no_such_file_is_an_error_that_names_it(name, content):
    case = CASES[name]
    connector = store_with(case, content)
    if case.is_text:  # any text is a table of some kind
        return
    with pytest.raises(DatastackError, match=re.escape(case.identifier)):
        open_dataset(case.identifier, storage=connector, format=case.format, **case.options)
