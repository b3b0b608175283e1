"""Stack of 3 views over 10 joined parts in memory, batches of 256."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial, reduce
from operator import add
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks import digests
from benchmarks.case import Case, Run
from benchmarks.setting import Setting
from datastack_fs.iterators import SequenceDatasetIterator

ROWS = 60_000
PARTS = 10
BATCH = 256
BATCHES = 40
SINGLES = 4_000

Views = Sequence[npt.NDArray[np.int64]]


class Data(NamedTuple):
    """Images and labels, and the three orders that are laid over them."""

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    views: Views

    @property
    def order(self) -> npt.NDArray[np.int64]:
        """The three in one."""
        return self.views[0][self.views[1]][self.views[2]]


def cases(setting: Setting) -> Iterator[Case]:
    """By batches over one array and over ten, and sample by sample."""
    data = made(setting)
    count = min(BATCHES, len(data.order) // BATCH)
    for parts, mark in ((1, 1.4), (PARTS, 3.0)):
        case = Case(f"take, {parts} array{'s' if parts > 1 else ''}", unit="batch", units=count)
        case.limit("one fancy index of numpy", partial(by_numpy, data))
        case.ours("take", partial(by_take, library_stack(data, parts)), mark)
        stack, tables = cache(partial(torch_stack, data, parts)), cache(partial(datasets_stack, data, parts))
        case.peer("torch Subset and ConcatDataset, collated", partial(by_torch, stack))
        case.peer("torch Subset with __getitems__, collated", partial(by_torch_getitems, stack), 4)
        case.peer("Hugging Face datasets, select", partial(by_datasets, tables), 4)
        yield case
    case = Case("sample by sample, 10 arrays", unit="sample", units=min(SINGLES, len(data.order)))
    case.limit("images[i], labels[i]: views, which read no image", partial(one_by_one_numpy, data, copy=False))
    case.ours("iterator[i]", partial(one_by_one, library_stack(data, PARTS)), 3.0)
    case.peer("images[i].copy(), labels[i]", partial(one_by_one_numpy, data, copy=True))
    case.peer("torch Subset and ConcatDataset: views", partial(one_by_one_torch, data))
    yield case


def made(setting: Setting) -> Data:
    """60,000 images of 28 x 28 bytes; each view leaves a tenth out."""
    rng = np.random.default_rng(5)
    rows = setting.scaled(ROWS) // PARTS * PARTS
    views, length = [], rows
    for _ in range(3):
        views.append(rng.permutation(length)[: length * 9 // 10])
        length = len(views[-1])
    images = rng.integers(0, 256, (rows, 28, 28), dtype=np.uint8)
    return Data(images, rng.integers(0, 10, rows), views)


def library_stack(data: Data, parts: int) -> Any:
    """The stack, by this library."""
    pairs = zip(np.split(data.images, parts), np.split(data.labels, parts), strict=True)
    joined = reduce(add, [SequenceDatasetIterator(images, labels) for images, labels in pairs])
    return reduce(lambda iterator, view: iterator.view(view), data.views, joined)


def torch_stack(data: Data, parts: int) -> Any:
    """The stack, by torch."""
    from torch.utils.data import ConcatDataset, Subset, TensorDataset

    pairs = zip(np.split(data.images, parts), np.split(data.labels, parts), strict=True)
    joined: Any = ConcatDataset([TensorDataset(_tensor(images), _tensor(labels)) for images, labels in pairs])
    return reduce(lambda dataset, view: Subset(dataset, view.tolist()), data.views, joined)


def datasets_stack(data: Data, parts: int) -> Any:
    """The stack, by Hugging Face: tables in memory, joined and selected, with numpy's format."""
    import datasets

    datasets.disable_progress_bars()
    pairs = zip(np.split(data.images, parts), np.split(data.labels, parts), strict=True)
    features = datasets.Features({"x": datasets.Array2D((28, 28), "uint8"), "y": datasets.Value("int64")})
    tables = [datasets.Dataset.from_dict({"x": images, "y": labels}, features) for images, labels in pairs]
    joined = datasets.concatenate_datasets(tables)
    return reduce(lambda stack, view: stack.select(view), data.views, joined).with_format("numpy")


def _tensor(array: Any) -> Any:
    import torch

    return torch.from_numpy(np.ascontiguousarray(array))


def _batches(count: int) -> list[range]:
    return [range(start, start + BATCH) for start in range(0, count * BATCH, BATCH)]


def by_numpy(data: Data, count: int) -> Run:
    """The three orders composed beforehand."""
    order = data.order
    yield
    read = []
    for batch in _batches(count):
        rows = order[batch.start : batch.stop]
        read.append((data.images[rows], data.labels[rows]))
    yield
    return _digests(read)


def by_take(iterator: Any, count: int) -> Run:
    """Columns."""
    yield
    read = [iterator.take(batch)[:2] for batch in _batches(count)]
    yield
    return _digests(read)


def by_torch(stack: Callable[[], Any], count: int) -> Run:
    """As a DataLoader without workers does it."""
    from torch.utils.data import default_collate

    dataset = stack()
    yield
    read = [default_collate([dataset[i] for i in batch]) for batch in _batches(count)]
    yield
    return _digests(read)


def by_torch_getitems(stack: Callable[[], Any], count: int) -> Run:
    """The batched way of Subset."""
    from torch.utils.data import default_collate

    dataset = stack()
    yield
    read = [default_collate(dataset.__getitems__(list(batch))) for batch in _batches(count)]
    yield
    return _digests(read)


def by_datasets(stack: Callable[[], Any], count: int) -> Run:
    """Slices of it."""
    dataset = stack()
    yield
    found = [dataset[batch.start : batch.stop] for batch in _batches(count)]
    yield
    return _digests([(batch["x"].astype(np.uint8), batch["y"]) for batch in found])


def one_by_one_numpy(data: Data, count: int, *, copy: bool) -> Run:
    """Two indices a sample; a copy of the image is what a caller may change."""
    order = data.order[:count].tolist()
    images, labels = data.images, data.labels
    yield
    if copy:
        read = [(images[row].copy(), labels[row]) for row in order]
    else:
        read = [(images[row], labels[row]) for row in order]
    yield
    return _digests(read)


def one_by_one(iterator: Any, count: int) -> Run:
    """One index a sample."""
    yield
    read = [iterator[i] for i in range(count)]
    yield
    return _digests([sample[:2] for sample in read])


def one_by_one_torch(data: Data, count: int) -> Run:
    """One index a sample."""
    dataset = torch_stack(data, PARTS)
    yield
    read = [dataset[i] for i in range(count)]
    yield
    return _digests(read)


def _digests(pairs: Sequence[Sequence[Any]]) -> list[tuple[int, int]]:
    images = digests.of_batches(np.asarray(pair[0]) for pair in pairs)
    labels = digests.of_batches(np.atleast_1d(np.asarray(pair[1], dtype=np.int64)) for pair in pairs)
    return list(zip(images, labels, strict=True))
