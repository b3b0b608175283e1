"""A ``.safetensors`` file in any store: its tensors by name, read lazily by exact byte ranges."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from typing import Any, Final

import numpy as np

from datastack_fs.errors import DatasetFileCorruptError
from datastack_fs.formats.named_arrays import NamedArraysDatasetIterator
from datastack_fs.formats.stored_array import StoredArray
from datastack_fs.iterators.columnar import Names
from datastack_fs.iterators.meta import DatasetMeta
from datastack_fs.resource import StreamedResource

DTYPES: Final = {
    "BOOL": "?",
    "U8": "u1",
    "I8": "i1",
    "U16": "<u2",
    "I16": "<i2",
    "F16": "<f2",
    "U32": "<u4",
    "I32": "<i4",
    "F32": "<f4",
    "U64": "<u8",
    "I64": "<i8",
    "F64": "<f8",
    "C64": "<c8",
}
"""Types by their name in the header, as far as numpy has them: BF16 and the 8-bit floats it has not."""

MAX_HEADER_BYTES: Final = 100_000_000
"""Source of this limit and of the format: https://github.com/huggingface/safetensors, README, section Format."""


class SafetensorsDatasetIterator(NamedArraysDatasetIterator):
    """Tensors of a ``.safetensors`` file as (sample, target, tag), as numpy arrays: their first axes count the samples.

    A batch is one request for exactly its rows of all tensors; a file of this machine is mapped into memory.

    Args:
        resource: the file. It may be closed afterwards.
        sample: the tensor of the samples; or several, as a list (samples are tuples) or a mapping (they are mappings).
            Without, samples and targets are found by the usual names (``samples images data features x X``, and
            ``targets labels target label y Y``), or the samples are the only tensor there.
        target: the same for the targets; with ``sample`` alone, every target is None.
        tag: the same for the tags; without, every tag is that of ``meta``.
        meta: what is known about it.

    Raises:
        DatasetNotFoundError: no tensor of that name; the message lists those that there are.
        DatasetFileCorruptError: it is no whole ``.safetensors`` file, or a tensor has a type that numpy has not.

    Examples:
        >>> from datastack_fs.connectors.memory import MemoryStorageConnector
        >>> connector = MemoryStorageConnector("safetensors-example")
        >>> header = b'{"x":{"dtype":"U8","shape":[3,2],"data_offsets":[0,6]}}'
        >>> content = len(header).to_bytes(8, "little") + header + bytes(range(6))
        >>> info = connector.set_resource("x.safetensors", content)
        >>> SafetensorsDatasetIterator(connector.get_resource("x.safetensors"))[2][0].tolist()
        [4, 5]
    """

    def __init__(
        self,
        resource: StreamedResource,
        *,
        sample: Names | None = None,
        target: Names | None = None,
        tag: Names | None = None,
        meta: DatasetMeta | None = None,
    ) -> None:
        tensors = _read_header(resource)

        def open_array(name: str) -> StoredArray:
            kind, shape, start = tensors[name]
            what = f"tensor {name!r} of {resource.identifier} in {resource.connector.url}"
            if kind not in DTYPES:
                raise DatasetFileCorruptError(f"{what} is of type {kind}, which numpy has not: save it as F32 or F16")
            if not shape:
                raise DatasetFileCorruptError(f"{what} is a single value: there is no first axis to count samples by")
            return StoredArray(resource, shape, np.dtype(DTYPES[kind]), start)

        super().__init__(resource, tensors, open_array, sample=sample, target=target, tag=tag, meta=meta)


def _read_header(resource: StreamedResource) -> dict[str, tuple[str, tuple[int, ...], int]]:
    """Type, shape and place of each tensor, all checked against each other and the size of the file."""
    what = f"{resource.identifier} in {resource.connector.url}"
    resource.seek(0)
    length = int.from_bytes(resource.read(8), "little")
    if resource.size < 8 or not 2 <= length <= min(MAX_HEADER_BYTES, resource.size - 8):
        raise DatasetFileCorruptError(
            f"{what} is no safetensors file: it has {resource.size:,} bytes, and its first 8 say that a header of "
            f"{length:,} bytes follows"
        )
    text = resource.read(length)
    start = 8 + length
    try:
        header = json.loads(text)
        header.pop("__metadata__", None)
        tensors = {name: _checked(tensor) for name, tensor in header.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DatasetFileCorruptError(f"{what} has a header that is none of safetensors: {error}") from error
    spans = sorted((begin, end) for _, _, begin, end in tensors.values())
    gaps = [0, *(edge for span in spans for edge in span), resource.size - start]
    if any(left != right for left, right in list(pairwise(gaps))[::2]):
        raise DatasetFileCorruptError(
            f"{what}: the tensors don't fill the {resource.size - start:,} bytes after the header one after the other"
        )
    return {name: (kind, shape, start + begin) for name, (kind, shape, begin, _) in tensors.items()}


def _checked(tensor: Any) -> tuple[str, tuple[int, ...], int, int]:
    kind, shape, (begin, end) = tensor["dtype"], tuple(tensor["shape"]), tensor["data_offsets"]
    if not all(type(number) is int and number >= 0 for number in (*shape, begin, end)) or not isinstance(kind, str):
        raise ValueError(f"a tensor of type {kind!r:.40}, shape {shape!r:.80}, at {begin!r:.40} to {end!r:.40}")
    if kind in DTYPES and end - begin != math.prod(shape) * np.dtype(DTYPES[kind]).itemsize:
        raise ValueError(f"{end - begin} bytes for a tensor of {kind} with shape {shape}")
    return kind, shape, begin, end
