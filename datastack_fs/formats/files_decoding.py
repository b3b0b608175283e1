"""What becomes of a file's bytes: an image, text, an array, an object of JSON, or the bytes themselves."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from datastack_fs.errors import DatasetFileCorruptError, DatastackError
from datastack_fs.formats.files_listing import ending_of, endings_of
from datastack_fs.formats.images import ENDINGS, MAX_PIXELS, check_mode, check_pillow, decode_image

Decode: TypeAlias = "str | Callable[[bytes], Any]"
"""``"auto"``, ``"image"``, ``"text"``, ``"bytes"``, or a function."""

_KINDS: Final = ("auto", "image", "text", "bytes")
_BY_ENDING: Final = {**dict.fromkeys(ENDINGS, "image"), ".txt": "text", ".npy": "npy", ".json": "json", ".cls": "class"}


@dataclass(frozen=True)
class Decoder:
    """Makes samples of files.

    Attributes:
        decode: by ending ("auto"), as one kind for all ("image", "text", "bytes"), or a function from bytes to a
            sample, which must pickle if the iterator is to.
        mode: what images are converted to; None leaves them as they are.
        max_pixels: of an image.

    Examples:
        >>> decoder = Decoder()
        >>> decoder(b"hoo", "birds/owl.txt", "birds/owl.txt"), decoder(b"[1]", "a.json", "a.json"), decoder(b"x", "a", "a")
        ('hoo', [1], b'x')
    """  # noqa: E501

    decode: Decode = "auto"
    mode: str | None = None
    max_pixels: int = MAX_PIXELS

    def check(self, names: Iterable[str]) -> None:
        """Refuses what can't work for files of these names, before any is read."""
        if not callable(self.decode) and self.decode not in _KINDS:
            raise ValueError(f"decode={self.decode!r}: it is one of {', '.join(_KINDS)}, or a function of bytes")
        if "image" in self._kinds(names):
            check_pillow()
            check_mode(self.mode)

    def __call__(self, content: bytes, name: str, what: str) -> Any:
        """The sample in a file.

        Args:
            content: its bytes.
            name: its name, whose ending may decide.
            what: names it in messages.

        Raises:
            DatasetFileCorruptError: it can't be decoded.
        """
        kind = self._kind(name)
        if kind == "image":
            return decode_image(content, what, mode=self.mode, max_pixels=self.max_pixels)
        if kind == "bytes":
            return content
        function = self.decode if callable(self.decode) else _FUNCTIONS[kind]
        try:
            return function(content)
        except DatastackError:
            raise
        except Exception as error:  # the translating edge: only here is it known which file it was
            raise DatasetFileCorruptError(f"{what} can't be decoded: {type(error).__name__}: {error}") from error

    def keeps_bytes(self, names: Iterable[str]) -> bool:
        """Whether the samples in files of these names are their bytes."""
        return self._kinds(names) == {"bytes"}

    def _kinds(self, names: Iterable[str]) -> set[str]:
        return set(map(self._kind, endings_of(names)))

    def _kind(self, name: str) -> str:
        if callable(self.decode):
            return "function"
        return _BY_ENDING.get(ending_of(name), "bytes") if self.decode == "auto" else self.decode


def _array(content: bytes) -> npt.NDArray[Any]:
    file = io.BytesIO(content)
    array: npt.NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    if file.read(1):
        raise ValueError("it goes on after the end that its header says")
    return array


def _class(content: bytes) -> int | str:
    """A class as WebDataset writes it: its number, or its name."""
    text = content.decode().strip()
    return int(text) if text.isdecimal() else text


_FUNCTIONS: Final[dict[str, Callable[[bytes], Any]]] = {
    "text": bytes.decode,
    "json": json.loads,
    "npy": _array,
    "class": _class,
}
