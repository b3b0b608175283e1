"""An Arrow IPC stream, which has no footer: one pass over the headers of its messages makes the one of such a file.

Source: https://arrow.apache.org/docs/format/Columnar.html#ipc-streaming-format, and Message.fbs and File.fbs there.
"""

from __future__ import annotations

import struct
from typing import Final

from datastack_fs.errors import DatasetFileCorruptError
from datastack_fs.formats.flatbuffer import FlatTable
from datastack_fs.resource import StreamedResource

CONTINUED: Final = b"\xff" * 4
"""What each message of a stream begins with, before the length of its metadata."""

HEADER_TYPE, HEADER, BODY_LENGTH = 1, 2, 3  # fields of Message
SCHEMA, DICTIONARY, RECORD_BATCH = 1, 2, 3  # types of header
BLOCK: Final = "<qi4xq"  # in a footer: offset, length of the metadata, length of the body

_VERSION: Final = 0  # of Message, as of Footer
_DICTIONARY_ID, _IS_DELTA = 0, 2  # of DictionaryBatch
_PREFIX: Final = struct.Struct("<4si")
_FEW: Final = 4
_DENSE_BYTES: Final = 256 << 10
_AHEAD_BYTES: Final = 8 << 20

Place = tuple[int, int, int]
"""Where a message begins, the bytes of its metadata with their prefix, and those of its body."""


def footer_of_stream(resource: StreamedResource, what: str) -> bytes:
    """The footer that the stream would have as a file, without what stands after it.

    Args:
        resource: the stream, read from its beginning. Small batches are read through, of larger ones the headers alone.
        what: names it in errors.

    Raises:
        DatasetFileCorruptError: it is cut off, or no stream from the byte on that the message names, or one that
            exchanges a dictionary midway, as no file can.
    """
    places: dict[int, list[Place]] = {DICTIONARY: [], RECORD_BATCH: []}
    schema: bytes | None = None
    dictionaries: set[int] = set()
    place = fetched = count = 0
    while metadata := _metadata(resource, place, what):
        try:
            kind, body, dictionary = _described(metadata, is_first=schema is None)
        except ValueError as error:
            raise DatasetFileCorruptError(f"{what} is no Arrow stream from byte {place:,} on: {error}") from error
        if kind == SCHEMA:
            schema = metadata
        else:
            places[kind].append((place, _PREFIX.size + len(metadata), body))
        if dictionary is not None:
            if dictionary in dictionaries:
                raise _exchanged(what, place)
            dictionaries.add(dictionary)
        place += _PREFIX.size + len(metadata) + body
        count += 1
        if count > _FEW and fetched <= place < count * _DENSE_BYTES:
            fetched = place + _AHEAD_BYTES
            resource.prefetch([(place, fetched)])
    if schema is None:
        raise DatasetFileCorruptError(f"{what} is an Arrow stream without a schema")
    return _footer(schema, places[DICTIONARY], places[RECORD_BATCH])


def _metadata(resource: StreamedResource, place: int, what: str) -> bytes:
    """The metadata of a message; none at the end mark."""
    resource.seek(place)
    prefix = resource.read(_PREFIX.size)
    if len(prefix) < _PREFIX.size:
        raise DatasetFileCorruptError(
            f"{what} is an Arrow stream that is cut off: no message, and no end mark, stands at byte {place:,} of "
            f"{resource.size:,}"
        )
    mark, length = _PREFIX.unpack(prefix)
    if mark != CONTINUED or not 0 <= length <= resource.size - place:
        raise DatasetFileCorruptError(f"{what} is no Arrow stream from byte {place:,} on: {prefix!r} stands there")
    return resource.read(length)


def _described(metadata: bytes, *, is_first: bool) -> tuple[int, int, int | None]:
    """The type of a message, the size of its body, and the number of the dictionary that it has as a whole, if any."""
    message = FlatTable(metadata)
    kind, body, header = message.number(HEADER_TYPE, "<B"), message.number(BODY_LENGTH, "<q"), message.table(HEADER)
    if header is None or kind not in (SCHEMA, DICTIONARY, RECORD_BATCH) or (kind == SCHEMA) != is_first or body < 0:
        raise ValueError(f"a message of type {kind}, with {body:,} bytes")
    whole = kind == DICTIONARY and not header.number(_IS_DELTA, "<B")
    return kind, body, header.number(_DICTIONARY_ID, "<q") if whole else None


def _exchanged(what: str, place: int) -> DatasetFileCorruptError:
    return DatasetFileCorruptError(
        f"{what} exchanges a dictionary at byte {place:,}, so that its rows can't be read one by one: with "
        "pyarrow.ipc.open_stream(old) as stream, pyarrow.ipc.new_file(new, stream.schema) as file: "
        "file.write_table(stream.read_all().unify_dictionaries()) writes it so that they can"
    )


def _footer(schema: bytes, dictionaries: list[Place], batches: list[Place]) -> bytes:
    """A FlatBuffer with the table Footer in front: offsets in it lead forwards, to vectors and to the schema."""
    message = FlatTable(schema)
    header = message.table(HEADER)
    vectors = [_vector(dictionaries), _vector(batches)]
    table = 16
    first = table + 24
    second = first + len(vectors[0])
    copied = second + len(vectors[1])
    fields = {4: copied + (header.place if header else 0), 8: first + 4, 12: second + 4}  # by their place in the table
    slots = struct.pack("<6H", 12, 18, 16, 4, 8, 12)  # two lengths; version, schema, dictionaries, record batches
    offsets = [target - (table + place) for place, target in fields.items()]
    root = struct.pack("<iIIIh6x", table - 4, *offsets, message.number(_VERSION, "<h"))
    return struct.pack("<I", table) + slots + root + b"".join(vectors) + schema


def _vector(places: list[Place]) -> bytes:
    """Padding, so that the places are aligned to eight bytes; their number; and they themselves."""
    return bytes(4) + struct.pack("<I", len(places)) + b"".join(struct.pack(BLOCK, *place) for place in places)
