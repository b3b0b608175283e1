"""The filters that HDF5 puts chunks through, undone without HDF5: deflate, shuffle, fletcher32 and lzf.

Sources: the HDF5 File Format Specification 3.0, section IV.A.2.l (filter pipeline message), and ``H5checksum.c`` for
the order in which fletcher32 sums.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final

import h5py
import numpy as np
import numpy.typing as npt

_DEFLATE: Final = h5py.h5z.FILTER_DEFLATE
_SHUFFLE: Final = h5py.h5z.FILTER_SHUFFLE
_FLETCHER32: Final = h5py.h5z.FILTER_FLETCHER32
_LZF: Final = h5py.h5z.FILTER_LZF
_CHECKSUM_BYTES: Final = 4
_DEFLATE_FRAME: Final = 64  # header, checksum and the heads of blocks, generously
_WORDS_AT_ONCE: Final = 1 << 20  # the weighted sum of so many 16-bit words fits into 63 bits
_SOUND_DEFLATE: Final = (0, 6)  # of the package: version 0.5 crashes on damaged bytes


class ChunkError(ValueError):
    """Bytes that are not those of a chunk that went through these filters."""


@dataclass(frozen=True)
class FilterPipeline:
    """The filters of one dataset, in the order in which they were applied.

    Attributes:
        codes: what they are.
        element_bytes: of the elements that shuffle takes apart.
        chunk_bytes: of a whole chunk, unpacked.
    """

    codes: tuple[int, ...]
    element_bytes: int
    chunk_bytes: int

    @classmethod
    def of(cls, dataset: h5py.Dataset, chunk_bytes: int) -> FilterPipeline | None:
        """That of a dataset; None if it has a filter that only HDF5 undoes."""
        plist = dataset.id.get_create_plist()
        filters = [plist.get_filter(position) for position in range(plist.get_nfilters())]
        codes = tuple(code for code, *_ in filters)
        if not {_DEFLATE, _SHUFFLE, _FLETCHER32, *(() if _lzf is None else (_LZF,))}.issuperset(codes):
            return None
        sizes = [values[0] for code, _, values, _ in filters if code == _SHUFFLE and values]
        if len(sizes) != codes.count(_SHUFFLE) or len(set(sizes)) > 1 or 0 in sizes:
            return None
        return cls(codes, sizes[0] if sizes else 1, chunk_bytes)

    @property
    def is_packed(self) -> bool:
        """Whether undoing them takes time."""
        return bool(self.codes)

    @property
    def has_checksum(self) -> bool:
        """Whether each chunk carries a checksum."""
        return _FLETCHER32 in self.codes

    def undone(self, content: Any, mask: int) -> Any:
        """The bytes of a chunk as they were before the filters.

        Args:
            content: what is stored, as bytes or memoryview.
            mask: bit *n* says that filter *n* was left out for this chunk.

        Raises:
            ChunkError: they can't have come out of these filters; or the checksum is another one.
        """
        for position in reversed(range(len(self.codes))):
            if mask >> position & 1:
                continue
            code = self.codes[position]
            if code == _DEFLATE:
                content = inflated(content, self._most(position, mask))
            elif code == _LZF and _lzf is not None:
                content = _lzf(content, self._most(position, mask))
            elif code == _SHUFFLE:
                content = unshuffled(content, self.element_bytes)
            else:
                content = checked(content)
        if len(content) != self.chunk_bytes:
            raise ChunkError(f"it unpacks to {len(content):,} bytes, and a chunk has {self.chunk_bytes:,}")
        return content

    def _most(self, position: int, mask: int) -> int:
        """How many bytes a filter can have got from the ones before it."""
        size = self.chunk_bytes
        for before, code in enumerate(self.codes[:position]):
            if mask >> before & 1:
                continue
            if code == _FLETCHER32:
                size += _CHECKSUM_BYTES
            elif code == _DEFLATE:  # what can't be packed grows a little
                size += (size >> 10) + _DEFLATE_FRAME
        return size


def inflated(content: Any, size: int) -> Any:
    """What deflate packed, which must not be more than ``size`` bytes.

    Examples:
        >>> bytes(inflated(zlib.compress(b"owl owl owl"), 11))
        b'owl owl owl'
    """
    return _inflate(content, size)


def _by_zlib(content: Any, size: int) -> bytes:
    stream = zlib.decompressobj()
    try:
        found = stream.decompress(content, size + 1)
    except zlib.error as error:
        raise ChunkError(f"deflate: {error}") from error
    if not stream.eof or len(found) > size:
        raise ChunkError(f"deflate: its end is not within {size:,} bytes")
    return found


def _inflater() -> Callable[[Any, int], Any]:
    """libdeflate's, where the package ``deflate`` is installed: more than twice as fast."""
    try:
        import deflate
    except ImportError:
        return _by_zlib
    if tuple(map(int, version("deflate").split(".")[:2])) < _SOUND_DEFLATE:
        return _by_zlib

    def by_libdeflate(content: Any, size: int) -> Any:
        try:
            return deflate.zlib_decompress(content, size)
        except deflate.DeflateError as error:
            raise ChunkError(f"deflate: {error}") from error

    return by_libdeflate


_inflate: Final = _inflater()


def _lzf_decoder() -> Callable[[Any, int], Any] | None:
    """That of the package ``imagecodecs``, where it is installed: in two thirds of HDF5's time, on all threads."""
    try:
        import imagecodecs
    except ImportError:
        return None

    def by_imagecodecs(content: Any, size: int) -> Any:
        try:
            return imagecodecs.lzf_decode(content, out=size)
        except imagecodecs.LzfError as error:
            raise ChunkError(f"lzf: {error}") from error

    return by_imagecodecs


_lzf: Final = _lzf_decoder()


def unshuffled(content: Any, element_bytes: int) -> Any:
    """Elements put together again, of which the first bytes stood first, then the second, and so on.

    Examples:
        >>> bytes(unshuffled(b"acbd", 2)), bytes(unshuffled(b"acbde", 2))
        (b'abcd', b'abcde')
    """
    count = len(content) // element_bytes
    if element_bytes < 2 or count < 2:
        return content
    shuffled = np.frombuffer(content, np.uint8)
    whole = np.empty(len(shuffled), np.uint8)
    stop = count * element_bytes
    whole[:stop].reshape(count, element_bytes)[...] = shuffled[:stop].reshape(element_bytes, count).T
    whole[stop:] = shuffled[stop:]
    return whole.data


def checked(content: Any) -> memoryview:
    """The bytes before a fletcher32 checksum, which must be theirs.

    Examples:
        >>> bytes(checked(b"owl!" + fletcher32(b"owl!").to_bytes(4, "little")))
        b'owl!'
    """
    if len(content) < _CHECKSUM_BYTES:
        raise ChunkError("it is too short to end with a fletcher32 checksum")
    view = memoryview(content)
    data, stored = view[:-_CHECKSUM_BYTES], int.from_bytes(view[-_CHECKSUM_BYTES:], "little")
    found = fletcher32(data)
    # HDF5 before 1.6.3 wrote, on little-endian machines, the bytes of each half the other way round.
    swapped = (found & 0x00FF00FF) << 8 | (found & 0xFF00FF00) >> 8
    if stored not in (found, swapped):
        raise ChunkError(f"its fletcher32 checksum is {stored:08x}, and its bytes have {found:08x}")
    return data


def fletcher32(content: Any) -> int:
    """The checksum as HDF5 counts it: of big-endian words of 16 bits, the last one filled up with zeros.

    Examples:
        >>> f"{fletcher32(b'abcde'):08x}"
        '4ff029c7'
    """
    data = np.frombuffer(content, np.uint8)
    words: npt.NDArray[np.int64] = data[: len(data) // 2 * 2].view(">u2").astype(np.int64)
    if len(data) % 2:
        words = np.append(words, np.int64(int(data[-1]) << 8))
    first = second = 0
    for start in range(0, len(words), _WORDS_AT_ONCE):
        part = words[start : start + _WORDS_AT_ONCE]
        second += first * len(part) + int(np.dot(part, np.arange(len(part), 0, -1)))
        first += int(part.sum())
    return _folded(second) << 16 | _folded(first)


def _folded(total: int) -> int:
    """Modulo 65535, where carries are added: 0 stays for nothing but zeros."""
    return total % 65535 or (65535 if total else 0)
