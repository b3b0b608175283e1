"""The body of one request to S3, and how the store is held to keep just those bytes."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import zlib
from typing import IO, Any, Final

from datastack_fs.errors import StorageUnavailableError

Answer = dict[str, Any]

_MIB: Final = 1 << 20
_MD5 = re.compile(r"[0-9a-f]{32}")


class Body:
    """The bytes of one request, which the store checks before it keeps them.

    Args:
        content: the bytes.
        md5: of them, if it is known.
        with_crc32: send a CRC32, at an eighth of the MD5's cost: for a store that has said that it checks those.
    """

    def __init__(self, content: bytes | IO[bytes], md5: Any = None, *, with_crc32: bool = False) -> None:
        self._content = content
        self._known_md5 = md5
        self._crc32 = ""
        if with_crc32 and isinstance(content, bytes):
            self._crc32 = base64.b64encode(zlib.crc32(content).to_bytes(4, "big")).decode()

    @property
    def _md5(self) -> Any:
        self._known_md5 = self._known_md5 or hashlib.md5(self._content, usedforsecurity=False)  # type: ignore[arg-type]
        return self._known_md5

    def parameters(self) -> dict[str, Any]:
        """Those of ``put_object`` and ``upload_part``."""
        if self._crc32:
            return {"Body": self._from_start(), "ChecksumCRC32": self._crc32}
        return {"Body": self._from_start(), "ContentMD5": base64.b64encode(self._md5.digest()).decode()}

    def crc32_in(self, answer: Answer) -> dict[str, str]:
        """What the completion of an upload tells of this part's CRC32, if the store has said that it is right."""
        return {"ChecksumCRC32": self._crc32} if self._is_checked(answer) else {}

    def _is_checked(self, answer: Answer) -> bool:
        return bool(self._crc32) and answer.get("ChecksumCRC32") == self._crc32

    def _from_start(self) -> bytes | IO[bytes]:
        if not isinstance(self._content, bytes):
            self._content.seek(0)
            return self._content
        # A file shows how far it was sent, but costs a round trip: it waits for "100 Continue".
        return io.BytesIO(self._content) if len(self._content) > _MIB else self._content

    def etag_in(self, answer: Answer) -> str:
        """The ETag of an answer; where it tells no CRC32 and the ETag is a plain MD5, that must be of these bytes.

        Raises:
            StorageUnavailableError: it is another: the store did not heed what it was sent to check.
        """
        etag = str(answer["ETag"])
        if self._is_checked(answer):
            return etag
        plain = etag.strip('"').lower()
        encrypted = answer.get("ServerSideEncryption", "AES256") != "AES256" or "SSECustomerAlgorithm" in answer
        if _MD5.fullmatch(plain) and not encrypted and plain != self._md5.hexdigest():
            raise StorageUnavailableError(f"the store kept other bytes than were sent: {plain}")
        return etag
