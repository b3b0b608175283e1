"""What processes of a training test run; spawned ones import it by name."""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np

from datastack_fs import DatasetIterator, to_torch


def loader_of(
    iterator: DatasetIterator[Any], batch_size: int, *, state: Any = None, method: str | None = None, **options: Any
) -> Any:
    """A loader of tensors, read in the main process or by two workers of a start method."""
    workers = 0 if method is None else 2
    loader = to_torch(iterator, batch_size, seed=7, workers=workers, start_method=method, **options)
    if state is not None:
        loader.load_state_dict(state)
    return loader


def train_as_rank(rank: int, world_size: int, port: int, path: str, steps: int, state: str | None) -> None:
    """Trains a line on a share of each batch, and leaves its weights and the state beside the data."""
    import torch
    from torch.nn.parallel import DistributedDataParallel

    from datastack_fs import open_dataset

    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.distributed.init_process_group("gloo", rank=rank, world_size=world_size)
    torch.set_num_threads(1)
    iterator = open_dataset(path)
    loader = loader_of(iterator, 16, state=json.loads(state) if state else None)
    assert (loader.sampler.rank, loader.sampler.plan.world_size) == (rank, world_size)
    line = torch.nn.Linear(4, 1, dtype=torch.float64)
    torch.nn.init.zeros_(line.weight)
    torch.nn.init.zeros_(line.bias)
    model = DistributedDataParallel(line)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    seen = []
    for _, (samples, _, _) in zip(range(steps), loader, strict=False):
        optimizer.zero_grad()
        (model(samples) - samples.sum(dim=1, keepdim=True)).square().mean().backward()
        optimizer.step()
        seen.append(samples[:, 0].tolist())
    np.savez(f"{path}.{world_size}.{rank}.npz", weight=line.weight.detach().numpy(), seen=np.array(seen))
    if rank == 0:
        with open(f"{path}.{world_size}.json", "w", encoding="utf-8") as file:
            json.dump(loader.state_dict(), file)
    torch.distributed.destroy_process_group()
