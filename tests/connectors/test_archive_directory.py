"""The directory of a zip is read as Python's zipfile reads it."""

import contextlib
import io
import os
import zipfile

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from datastack_fs.connectors.archive_directory import read_directory
from datastack_fs.connectors.archive_index import IndexingError

_name = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)
_member = st.tuples(_name, st.binary(max_size=40), st.booleans(), st.binary(max_size=9), st.booleans())


def written(members, comment, before):
    stream = io.BytesIO()
    stream.write(before)
    with zipfile.ZipFile(stream, "a" if before else "w") as file:
        for name, content, is_packed, comment_of_member, is_wide in {each[0]: each for each in members}.values():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED if is_packed else zipfile.ZIP_STORED
            info.comment = comment_of_member
            info.create_system = len(content) % 4
            info.external_attr = len(name) << 28
            with file.open(info, "w", force_zip64=is_wide) as member:
                member.write(content)
            if comment_of_member:  # another extra field, of which nothing is read
                info.extra += b"\xfe\xca\3\0abc"
        file.comment = comment
    return stream.getvalue()


def as_zipfile_reads(content):
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        return file.start_dir, [
            (
                each.orig_filename,
                each.header_offset,
                each.file_size,
                each.compress_size,
                each.compress_type,
                each.CRC,
                each.flag_bits,
                each.create_system,
                each.external_attr,
            )
            for each in file.infolist()
        ]


def as_we_read(content):
    found = read_directory(io.BytesIO(content))
    numbers = [
        (found.wide["offset"].astype(np.int64) + found.shift).tolist(),
        *(found.wide[name].tolist() for name in ("size", "stored_size")),
        *(found.records[name].tolist() for name in ("method", "crc", "flags", "system", "attributes")),
    ]
    return found.start, list(zip(found.names, *numbers, strict=True))


_around = st.binary(max_size=50).filter(lambda text: b"PK" not in text)  # zipfile takes that for a record of the end


@settings(max_examples=5_000 if os.environ.get("DATASTACK_SOAK") else 100, deadline=None)
@given(st.lists(_member, max_size=6), _around, _around, st.data())
def test_a_directory_is_read_as_zipfile_does(members, comment, before, data):
    content = written(members, comment, before)
    assume(b"PK\6" not in content)
    assert as_we_read(content) == as_zipfile_reads(content)
    damaged = bytearray(content)
    start = as_zipfile_reads(content)[0]
    for at in data.draw(st.lists(st.integers(start, len(content) - 1), max_size=2)):
        damaged[at] ^= data.draw(st.integers(1, 255))
    damaged = bytes(damaged[: data.draw(st.integers(start, len(content)) | st.just(len(content)))])
    try:
        found = as_we_read(damaged)
    except (IndexingError, UnicodeDecodeError):  # we refuse more: what goes on beyond the end of the directory
        return
    with contextlib.suppress(zipfile.BadZipFile):  # newer ones refuse more of what is not used
        assert found == as_zipfile_reads(damaged)


@pytest.mark.parametrize("number", [0, 1])
def test_a_zip_of_more_than_32_bits(number, monkeypatch):
    for name, value in (("ZIP64_LIMIT", 10), ("ZIP_FILECOUNT_LIMIT", 2)):
        monkeypatch.setattr(zipfile, name, value)
    content = written([(f"m{each}", bytes(30), False, b"", True) for each in range(5)], b"comment", b"x" * number)
    assert b"PK\6\6" in content
    assert as_we_read(content) == as_zipfile_reads(content)
    with pytest.raises(IndexingError, match="several disks"):
        read_directory(io.BytesIO(content.replace(b"PK\6\7\0", b"PK\6\7\1")))
