"""IDX, the format of MNIST's files: a header with the shape, then all bytes of an array; read as a stream."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from datastack_fs.errors import DatasetFileCorruptError
from datastack_fs.formats.hdf5_writing import rows_per_block, store_hdf5
from datastack_fs.preprocessing import Preprocessor, gunzip

if TYPE_CHECKING:
    from datastack_fs.resource import ResourceInfo, StreamedResource
    from datastack_fs.storage import StorageConnector

_UNSIGNED_BYTE: Final = 0x08


class IDXReader:
    r"""An array of unsigned bytes in IDX format, read from front to back in blocks of rows.

    Args:
        blocks: the bytes of the file.
        name: what to call it in errors.
        dimensions: how many axes it must have.

    Attributes:
        shape: the shape that the header says.

    Raises:
        DatasetFileCorruptError: it is no such file; later, if it ends early or goes on after its end.

    Examples:
        >>> reader = IDXReader([b"\0\0\x08\1\0\0\0\3" + bytes([4, 5, 6])], "labels", dimensions=1)
        >>> reader.shape, [block.tolist() for block in reader.rows(2)]
        ((3,), [[4, 5], [6]])
    """

    def __init__(self, blocks: Iterable[bytes], name: str, *, dimensions: int) -> None:
        self._blocks = iter(blocks)
        self._name = name
        self._rest = bytearray()
        zeros, kind, axes = struct.unpack(">HBB", self._read(4))
        if (zeros, kind, axes) != (0, _UNSIGNED_BYTE, dimensions):
            raise DatasetFileCorruptError(
                f"{name} is no IDX file of unsigned bytes with {dimensions} axes: it begins with "
                f"{struct.pack('>HBB', zeros, kind, axes).hex(' ')}, not 00 00 08 {dimensions:02x}"
            )
        self.shape: tuple[int, ...] = struct.unpack(f">{axes}I", self._read(4 * axes))

    def rows(self, count: int) -> Iterator[npt.NDArray[np.uint8]]:
        """Yields all rows, ``count`` at a time, the last time fewer."""
        row_bytes = math.prod(self.shape[1:])
        for start in range(0, self.shape[0], count):
            rows = min(count, self.shape[0] - start)
            yield np.frombuffer(self._read(rows * row_bytes), dtype=np.uint8).reshape(rows, *self.shape[1:])
        if self._rest or any(self._blocks):
            raise DatasetFileCorruptError(f"{self._name} goes on after the end that its header says {self.shape}")

    def _read(self, size: int) -> bytes:
        while len(self._rest) < size:
            block = next(self._blocks, None)
            if block is None:
                raise DatasetFileCorruptError(f"{self._name} ends too early: it is a part of an IDX file")
            self._rest += block
        found = bytes(self._rest[:size])
        del self._rest[:size]
        return found


class IDXPreprocessor(Preprocessor):
    """Images and labels in two gzipped IDX files, stored as one HDF5 file.

    Args:
        samples: the identifier of the images.
        labels: the identifier of their labels.
        identifier: what to store.
        class_names: the names of the classes; a label must be the number of one of them.
        sample_shape: what each image must have.
    """

    def __init__(
        self, samples: str, labels: str, identifier: str, class_names: Sequence[str], sample_shape: tuple[int, ...]
    ) -> None:
        self._samples = samples
        self._labels = labels
        self._identifier = identifier
        self._class_names = class_names
        self._sample_shape = sample_shape

    def preprocess(self, connector: StorageConnector) -> ResourceInfo:
        """Unpacks both files side by side, in bounded memory."""
        with connector.get_resource(self._samples) as samples, connector.get_resource(self._labels) as labels:
            images = _reader(samples, 1 + len(self._sample_shape))
            targets = _reader(labels, 1)
            if images.shape[1:] != self._sample_shape:
                raise DatasetFileCorruptError(
                    f"{self._samples} holds images of shape {images.shape[1:]}, not {self._sample_shape}"
                )
            if images.shape[0] != targets.shape[0]:
                raise DatasetFileCorruptError(
                    f"{self._samples} holds {images.shape[0]:,} images, {self._labels} {targets.shape[0]:,} labels"
                )
            blocks = self._blocks(images, targets)
            length = images.shape[0]
            return store_hdf5(connector, self._identifier, blocks, length, class_names=self._class_names)

    def _blocks(
        self, images: IDXReader, targets: IDXReader
    ) -> Iterator[tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]]:
        count = rows_per_block(math.prod(self._sample_shape))
        for samples, labels in zip(images.rows(count), targets.rows(count), strict=True):
            if labels.max() >= len(self._class_names):
                raise DatasetFileCorruptError(
                    f"{self._labels} holds the label {labels.max()}; there are {len(self._class_names)} classes"
                )
            yield samples, labels.astype(np.int64)


def _reader(resource: StreamedResource, dimensions: int) -> IDXReader:
    return IDXReader(gunzip(resource), resource.identifier, dimensions=dimensions)
