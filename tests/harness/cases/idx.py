"""IDX files."""

import gzip
import struct

import numpy as np

from harness.cases import FormatCase

CODES = {"uint8": 8, "int8": 9, "int16": 11, "int32": 12, "float32": 13, "float64": 14}


def cases():
    """Images with labels beside them, numbers of another type, and a gzipped file."""
    images = np.arange(60, dtype=np.uint8).reshape(10, 3, 2)
    labels = np.arange(10, dtype=np.uint8) % 3
    floats = np.linspace(-1, 1, 8).astype(">f4").reshape(4, 2)
    alone = [(row, None, None) for row in images]
    contents = {"images-ubyte": saved(images), "labels.idx": saved(labels)}
    labelled = [(image, label, None) for image, label in zip(images, labels, strict=True)]
    options = {"targets": "labels.idx"}
    return [
        FormatCase("idx", "images-ubyte", contents, labelled, options, format="idx"),
        FormatCase("idx, floats", "f.idx", {"f.idx": saved(floats)}, [(r, None, None) for r in floats], format="idx"),
        FormatCase("idx, gzipped", "a.idx.gz", {"a.idx.gz": gzip.compress(saved(images))}, alone, format="idx"),
    ]


def saved(array):
    """The array as an IDX file."""
    header = struct.pack(f">HBB{array.ndim}I", 0, CODES[array.dtype.name], array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()
