"""npy files."""

import io

import numpy as np

from harness.cases import FormatCase


def cases():
    """An array of numbers, and one of records."""
    numbers = np.arange(60, dtype=">i4").reshape(10, 3, 2)
    records = np.array([(1, 0.5), (2, np.nan)], dtype=[("a", "i8"), ("b", "f4")])
    return [
        FormatCase("npy", "numbers.npy", {"numbers.npy": saved(numbers)}, [(row, None, None) for row in numbers]),
        FormatCase("npy, records", "r.npy", {"r.npy": saved(records)}, [(row, None, None) for row in records]),
    ]


def saved(array):
    """The array as an npy file."""
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()
