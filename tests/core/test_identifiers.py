"""The grammar of identifiers."""

import posixpath
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datastack_fs.errors import MalformedIdentifierError, MaliciousFilePathError
from datastack_fs.identifiers import MAX_BYTES, MAX_SEGMENT_BYTES, check_identifier, check_prefix, is_identifier


@given(st.text(max_size=30) | st.text("./\\a:%\0", max_size=12))
@settings(max_examples=2000, deadline=None)
def test_what_passes_stays_below_any_root(text):
    if is_identifier(text):
        assert posixpath.normpath(posixpath.join("/root", text)) == f"/root/{text}"
        assert check_identifier(text) == check_prefix(text) == text
        assert len(text.encode()) <= MAX_BYTES


@given(st.text(max_size=30))
@settings(deadline=None)
def test_every_beginning_of_an_identifier_is_a_prefix(text):
    if is_identifier(text):
        for end in range(len(text) + 1):
            beginning = text[:end]
            try:
                assert check_prefix(beginning) == beginning
            except MalformedIdentifierError:  # a cut may part what belongs together in normal form C
                assert not unicodedata.is_normalized("NFC", beginning)


@pytest.mark.parametrize("text", ["a" * MAX_SEGMENT_BYTES, "é" * (MAX_SEGMENT_BYTES // 2), "/".join(["abcd"] * 180)])
def test_the_limits_are_inclusive(text):
    assert check_identifier(text) == text


@pytest.mark.parametrize("text", ["a" * (MAX_SEGMENT_BYTES + 1), "é" * 101, "a/" * 450 + "a"])
def test_beyond_the_limits_is_malformed(text):
    with pytest.raises(MalformedIdentifierError, match="bytes"):
        check_identifier(text)


@pytest.mark.parametrize("text", ["../a", "a/..", "/a", "C:a", "a\\b", "a\0"])
def test_escapes_are_malicious(text):
    with pytest.raises(MaliciousFilePathError):
        check_identifier(text)
    with pytest.raises(MaliciousFilePathError):
        check_prefix(text if text != "a/.." else "a/../")


@pytest.mark.parametrize("text", ["%2e%2e/a", "a%00", "..a", "...", "\uff0e\uff0e/a"])
def test_what_only_looks_like_an_escape_is_text(text):
    assert check_identifier(text) == text
