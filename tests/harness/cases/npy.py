"""npy files."""

import io

import numpy as np

from harness.cases import FormatCase


def cases():
    """An array of numbers, and one of records."""
    numbers = np.arange(60, dtype=">i4").reshape(10, 3, 2)
    records = np.array([(1, 0.5), (2, np.nan)], dtype=[("a", "i8"), ("b", "f4")])
    return [
        case("npy", numbers),
        case("npy, records", records),
    ]


def case(name, array):
    """The rows of an array as samples."""
    return FormatCase(name, "a.npy", {"a.npy": saved(array)}, [(row, None, None) for row in array], format="npy")


def saved(array):
    """The array as an npy file."""
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()
