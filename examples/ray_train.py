"""Trains a classifier on a Ray cluster: each worker reads its share of the samples from the store by itself.

python examples/ray_train.py --dataset fashion-mnist --storage s3://lab/datasets --workers 2 --epochs 3

Needs "datastack-fs[ray]", "ray[train]" and torch. Without a cluster (RAY_ADDRESS), it makes one of this machine.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from typing import Any

import ray
import ray.train
import torch
from ray.train.torch import TorchTrainer, prepare_model
from torch import nn

from datastack_fs import load_dataset, to_ray


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Trains, and gives what the last epoch came to."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dataset", default="digits", help="digits, mnist, fashion-mnist, or another of images")
    parser.add_argument("--storage", help="a URL, a path or a profile; by default what is configured")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch", type=int, default=64, help="samples in a batch of each worker")
    parser.add_argument("--checkpoints", default="checkpoints", help="a folder that all nodes share")
    chosen = parser.parse_args(arguments)
    train, test = (load_dataset(chosen.dataset, split=split, storage=chosen.storage) for split in ("train", "test"))
    if not ray.is_initialized():
        ray.init(num_cpus=None if chosen.workers == 1 else 2 * chosen.workers)
    shares = {"train": to_ray(train.shuffle(seed=1), blocks=4 * chosen.workers), "test": to_ray(test)}
    sizes = {"features": train.take([0])[0].size, "classes": len(train.meta.class_names or ())}
    trainer = TorchTrainer(
        train_share,
        train_loop_config={"epochs": chosen.epochs, "batch": chosen.batch, **sizes},
        datasets={name: share.select_columns(["sample", "target"]) for name, share in shares.items()},
        scaling_config=ray.train.ScalingConfig(num_workers=chosen.workers, resources_per_worker={"CPU": 0.5}),
        run_config=ray.train.RunConfig(storage_path=os.path.abspath(chosen.checkpoints)),
    )
    result = trainer.fit()
    print(f"test accuracy {result.metrics['accuracy']:.3f} after {chosen.epochs} epochs")
    return dict(result.metrics)


def train_share(config: dict[str, Any]) -> None:
    """What each worker runs: its share of every batch comes from ``get_dataset_shard``."""
    torch.manual_seed(1)
    layers = nn.Linear(config["features"], 256), nn.ReLU(), nn.Linear(256, config["classes"])
    network = nn.Sequential(nn.Flatten(), *layers)
    train, test = ray.train.get_dataset_shard("train"), ray.train.get_dataset_shard("test")
    model = prepare_model(network)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for epoch in range(config["epochs"]):
        total = count = 0
        for batch in train.iter_torch_batches(
            batch_size=config["batch"], drop_last=True, local_shuffle_buffer_size=1024, local_shuffle_seed=epoch
        ):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(inputs(batch)), batch["target"].long())
            loss.backward()
            optimizer.step()
            total, count = total + loss.item(), count + 1
        report(network, {"epoch": epoch, "loss": total / max(1, count), "accuracy": accuracy(network, test)})


def report(network: nn.Module, metrics: dict[str, float]) -> None:
    """Tells Ray how it goes; the first worker leaves the weights beside."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = None
        if ray.train.get_context().get_world_rank() == 0:
            torch.save(network.state_dict(), os.path.join(folder, "weights.pt"))
            checkpoint = ray.train.Checkpoint.from_directory(folder)
        ray.train.report(metrics, checkpoint=checkpoint)


def accuracy(network: nn.Module, test: Any) -> float:
    """The part of the test samples that is classified right, over all workers."""
    right = torch.zeros(2)
    with torch.no_grad():
        for batch in test.iter_torch_batches(batch_size=512):
            right[0] += (network(inputs(batch)).argmax(1) == batch["target"]).sum()
            right[1] += len(batch["target"])
    if torch.distributed.is_initialized():
        torch.distributed.all_reduce(right)
    return float(right[0] / right[1])


def inputs(batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Images with values from 0 to 1."""
    images = batch["sample"].float()
    return images / images.max().clamp(min=1)


if __name__ == "__main__":
    main()
