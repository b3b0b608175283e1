"""A ``.pt`` file of tensors in any store, as numpy arrays: read by exact byte ranges, and nothing of it is run."""

from __future__ import annotations

import math
import pickle
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from datastack_fs.errors import DatasetFileCorruptError, DatastackError, MissingDependencyError
from datastack_fs.formats.bfloat16 import BFloat16Array, widened
from datastack_fs.formats.named_arrays import NamedArraysDatasetIterator
from datastack_fs.formats.npz import content_start
from datastack_fs.formats.stored_array import LoadedArray, StoredArray
from datastack_fs.iterators.columnar import Names
from datastack_fs.iterators.columns import Column
from datastack_fs.iterators.meta import DatasetMeta
from datastack_fs.resource import ResourceInfo, ResourceOpener, StreamedResource

MAX_BYTES: Final = 1 << 30
OLDEST: Final = (2, 6)
"""Before, ``weights_only=True`` could be made to run code: CVE-2025-32434."""

DTYPES: Final = {
    "bool": "?",
    "uint8": "u1",
    "int8": "i1",
    "uint16": "u2",
    "int16": "i2",
    "uint32": "u4",
    "int32": "i4",
    "uint64": "u8",
    "int64": "i8",
    "float16": "f2",
    "float32": "f4",
    "float64": "f8",
    "complex64": "c8",
    "complex128": "c16",
    "bfloat16": "u2",  # its bits, which are widened
}
"""Types of torch as far as numpy has them."""

_ZIP: Final = b"PK\3\4"


class TorchDatasetIterator(NamedArraysDatasetIterator):
    """Tensors that ``torch.save`` wrote, as (sample, target, tag): their first axes count the samples.

    The file holds one tensor, a list or tuple of tensors, or a mapping of names to tensors (of a ``TensorDataset``,
    save ``dataset.tensors``); what else is in a mapping is passed over. Samples are numpy arrays, as those of any other
    format; ``torch.from_numpy`` and the ``DataLoader`` make tensors of them without a copy. ``bfloat16`` comes as
    float32, exactly.

    A batch is one request for exactly its rows of all tensors, and a file of this machine is mapped into memory. Only
    tensors that are not contiguous, and files of torch before 1.6, are loaded as a whole, with a warning.

    Args:
        resource: the file. It may be closed afterwards.
        sample: the tensor of the samples; or several, as a list (samples are tuples) or a mapping (they are mappings).
            Tensors without names are called ``"0"``, ``"1"``, ... Without, samples and targets are found by the usual
            names (``samples images data features x X``, and ``targets labels target label y Y``), or are the first and
            the second of a list.
        target: the same for the targets; with ``sample`` alone, every target is None.
        tag: the same for the tags; without, every tag is that of ``meta``.
        meta: what is known about it.
        max_bytes: the most that is loaded as a whole.

    Raises:
        DatasetNotFoundError: no tensor of that name; the message lists those that there are.
        DatasetFileCorruptError: it is no whole file of torch, or holds what could run code, or a tensor that numpy has
            not.
        MissingDependencyError: torch is older than 2.6, where loading could run code of the file.

    Examples:
        >>> import io, torch
        >>> from datastack_fs.connectors.memory import MemoryStorageConnector
        >>> connector, file = MemoryStorageConnector("torch-example"), io.BytesIO()
        >>> torch.save({"images": torch.zeros(3, 8, 8), "labels": torch.tensor([4, 5, 6])}, file)
        >>> info = connector.set_resource("birds.pt", file.getvalue())
        >>> image, label, _ = TorchDatasetIterator(connector.get_resource("birds.pt"))[2]
        >>> image.shape, int(label)
        ((8, 8), 6)
    """

    def __init__(
        self,
        resource: StreamedResource,
        *,
        sample: Names | None = None,
        target: Names | None = None,
        tag: Names | None = None,
        meta: DatasetMeta | None = None,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        check_version()
        what = f"{resource.identifier} in {resource.connector.url}"
        file = _File(resource, what)
        if sample is None and target is None and "0" in file.tensors:
            sample, target = "0", "1" if "1" in file.tensors else None

        def open_array(name: str) -> Column:
            return file.column(name, max_bytes)

        super().__init__(resource, file.tensors, open_array, sample=sample, target=target, tag=tag, meta=meta)


def check_version() -> None:
    """Refuses a torch whose loading is not safe."""
    import torch

    if tuple(map(int, torch.__version__.split("+")[0].split(".")[:2])) < OLDEST:
        raise MissingDependencyError(
            f"format torch needs torch 2.6 or newer, since older ones can run code of a file (CVE-2025-32434); this is "
            f"{torch.__version__}: pip install 'datastack-fs[torch]'",
            name="torch",
        )


@contextmanager
def _reading(what: str) -> Iterator[None]:
    try:
        yield
    except DatastackError:
        raise
    except pickle.UnpicklingError as error:  # its text advises to load it all the same
        raise DatasetFileCorruptError(
            f"{what} holds other things than tensors, or is damaged: what could run code is not loaded. Save tensors "
            "alone, in a list or a mapping"
        ) from error
    except NotImplementedError as error:  # torch from 2.14 on looks at the values of sparse tensors, also without any
        raise DatasetFileCorruptError(
            f"{what} holds a sparse tensor, which numpy has not: save it as a dense one, tensor.to_dense()"
        ) from error
    except Exception as error:  # the translating edge: torch and zipfile raise whatever a broken file leads to
        lines = str(error).splitlines() or [type(error).__name__]
        raise DatasetFileCorruptError(f"{what} can't be read as a file of torch: {lines[0]:.200}") from error


class _File:
    """The tensors in a file without their bytes, and where those lie."""

    def __init__(self, resource: StreamedResource, what: str) -> None:
        self._resource, self._what = resource, what
        with _reading(what):
            self.tensors = _load(resource, "meta")
            resource.seek(0)
            is_zip = resource.read(len(_ZIP)) == _ZIP
            self._is_big, self._storages = self._find_storages() if is_zip else (False, {})
        if not self.tensors:
            raise DatasetFileCorruptError(f"{what} holds no tensors by name, in a list, or alone")

    def column(self, name: str, max_bytes: int) -> Column:
        """The rows of a tensor: read where they lie, or all of them loaded when they are first read."""
        tensor = self.tensors[name]
        what = f"tensor {name!r} of {self._what}"
        kind = str(tensor.dtype).removeprefix("torch.")
        layout = str(tensor.layout).removeprefix("torch.")
        if tensor.is_quantized or layout != "strided" or kind not in DTYPES:
            raise DatasetFileCorruptError(
                f"{what} is {'quantized' if tensor.is_quantized else layout} of type {kind}, which numpy has not: save "
                "it as a dense tensor of float32 or an integer type"
            )
        if not tensor.dim():
            raise DatasetFileCorruptError(f"{what} is a single value: there is no first axis to count samples by")
        shape, dtype = tuple(tensor.shape), np.dtype(DTYPES[kind]).newbyteorder(">" if self._is_big else "<")
        start = self._start(tensor, dtype.itemsize, what)
        if start is not None:
            make = BFloat16Array if kind == "bfloat16" else StoredArray
            return make(self._resource, shape, dtype, start)
        size = max(math.prod(shape) * dtype.itemsize, self._resource.size)
        if size > max_bytes:
            raise DatasetFileCorruptError(f"{what} has to be loaded, {size:,} bytes, more than max_bytes={max_bytes:,}")
        load = partial(_load_array, self._resource.connector, self._resource.info, name)
        reason = (
            f"{what} is not contiguous, or of an old file, so all of it is loaded into memory: save tensor.contiguous()"
        )
        return LoadedArray(load, shape[0], reason)

    def _start(self, tensor: Any, itemsize: int, what: str) -> int | None:
        """Where the tensor's first byte lies, if all of it lies there row by row."""
        begin = getattr(tensor.untyped_storage(), "_checkpoint_offset", None)
        if not tensor.is_contiguous() or tensor.is_conj() or tensor.is_neg() or begin is None:
            return None
        if begin not in self._storages:
            raise DatasetFileCorruptError(f"{what}: no storage lies at byte {begin:,} of the file")
        start = begin + tensor.storage_offset() * itemsize
        stop = start + tensor.numel() * itemsize
        if not begin <= start <= stop <= self._storages[begin]:
            raise DatasetFileCorruptError(f"{what} ends at byte {stop:,}, and its storage at {self._storages[begin]:,}")
        return int(start)

    def _find_storages(self) -> tuple[bool, dict[int, int]]:
        """Whether bytes are in big-endian order, and where each storage begins and ends.

        Source: https://docs.pytorch.org/docs/stable/notes/serialization.html
        """
        resource, found = self._resource, {}
        with zipfile.ZipFile(resource) as archive:
            members = archive.infolist()
            orders = [archive.read(member) for member in members if member.filename.endswith("/byteorder")]
        for member in members:
            if "/data/" in member.filename and member.compress_type == zipfile.ZIP_STORED:
                begin = content_start(resource, member, self._what)
                found[begin] = begin + member.file_size
        return orders == [b"big"], found


def _load(resource: StreamedResource, place: str) -> dict[str, Any]:
    """The tensors of a file by name."""
    import torch

    resource.seek(0)
    loaded = torch.load(resource, map_location=place, weights_only=True)
    if isinstance(loaded, torch.Tensor):
        return {"0": loaded}
    if isinstance(loaded, (list, tuple)):
        loaded = dict(enumerate(loaded))
    named = loaded.items() if isinstance(loaded, Mapping) else ()
    return {str(name): value.detach() for name, value in named if isinstance(value, torch.Tensor)}


def _load_array(connector: ResourceOpener, info: ResourceInfo, name: str) -> npt.NDArray[Any]:
    import torch

    what = f"{info.identifier} in {connector.url}"
    with connector.get_resource(info.identifier, info=info) as resource, _reading(what):
        tensor = _load(resource, "cpu")[name].resolve_conj().resolve_neg().contiguous()
        if tensor.dtype == torch.bfloat16:
            return widened(tensor.view(torch.int16).numpy().view(np.uint16))
        array: npt.NDArray[Any] = tensor.numpy()
        return array
