"""The stack of 3 views over 10 joined parts through a DataLoader, 0 workers."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from benchmarks import digests
from benchmarks.case import Case, Run
from benchmarks.setting import Setting
from benchmarks.workloads.stack_in_memory import BATCH, BATCHES, PARTS, Data, library_stack, made, torch_stack
from datastack_fs import ColumnBatches


def cases(setting: Setting) -> Iterator[Case]:
    """In batches of 256, in order of the stack, as tensors."""
    data = made(setting)
    count = min(BATCHES, len(data.order) // BATCH)
    case = Case("10 arrays", unit="batch", units=count)
    case.limit("one fancy index of numpy", partial(by_numpy, data))
    case.ours("columns, batch_size=None", partial(by_columns, data), 6.0)
    case.ours("samples, collated", partial(collated, data, library_stack))
    case.peer("torch Subset and ConcatDataset, collated", partial(collated, data, torch_stack))
    yield case


def by_numpy(data: Data, count: int) -> Run:
    """Without a loader."""
    order = data.order
    yield
    read = []
    for start in range(0, count * BATCH, BATCH):
        rows = order[start : start + BATCH]
        read.append((data.images[rows], data.labels[rows]))
    yield
    return _digests(read)


def by_columns(data: Data, count: int) -> Run:
    """The loader's sampler yields batches of indices."""
    from torch.utils.data import DataLoader

    batches = [range(start, start + BATCH) for start in range(0, count * BATCH, BATCH)]
    loader = DataLoader(ColumnBatches(library_stack(data, PARTS)), batch_size=None, sampler=batches)
    yield
    read = list(loader)
    yield
    return _digests(read)


def collated(data: Data, stack: Any, count: int) -> Run:
    """The loader collates samples, as it does by default."""
    from torch.utils.data import DataLoader, default_collate

    dataset = stack(data, PARTS)
    collate = default_collate if stack is torch_stack else _without_tags
    loader = DataLoader(dataset, BATCH, collate_fn=collate)
    yield
    read = [batch for batch, _ in zip(loader, range(count), strict=False)]
    yield
    return _digests(read)


def _without_tags(samples: Any) -> Any:
    from torch.utils.data import default_collate

    return default_collate([sample[:2] for sample in samples])


def _digests(pairs: Any) -> list[tuple[int, int]]:
    images = digests.of_batches(np.asarray(pair[0]) for pair in pairs)
    labels = digests.of_batches(np.asarray(pair[1]) for pair in pairs)
    return list(zip(images, labels, strict=True))
