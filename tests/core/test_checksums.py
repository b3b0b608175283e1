"""Checksums as text."""

import hashlib
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datastack_fs.checksums import Hashing, checksum, parse_checksum
from datastack_fs.errors import DatasetFileCorruptError


@given(st.lists(st.binary(max_size=50)))
def test_hashing_in_blocks_is_hashing_the_whole(blocks):
    whole = b"".join(blocks)
    hashing = Hashing("sha256", "md5")
    hashing.drain(blocks)
    assert hashing.size == len(whole)
    assert hashing.checksum() == f"sha256:{hashlib.sha256(whole).hexdigest()}" == checksum(io.BytesIO(whole))
    hashing.verify(f"md5:{hashlib.md5(whole).hexdigest().upper()}", "whole")
    with pytest.raises(DatasetFileCorruptError, match="birds"):
        hashing.verify("md5:" + "0" * 32, "birds")


@pytest.mark.parametrize("text", ["", "md5", "md5:", "md5:" + "g" * 32, "sha256:" + "0" * 32, "sha1:" + "0" * 64])
def test_anything_else_is_refused(text):
    with pytest.raises(ValueError, match="expected"):
        parse_checksum(text)
