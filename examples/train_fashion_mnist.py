"""Trains a small network on Fashion-MNIST, from any store, and goes on after a kill with the very next batch.

python examples/train_fashion_mnist.py --storage s3://lab/datasets --checkpoint fashion.pt

Needs "datastack-fs[torch]", and the extra of the store ("s3", "gcs", "gridfs"). The same seed gives the same losses, on
every store and with any number of workers, broken off or not.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import torch
from torch import nn

from datastack_fs import DatasetIterator, ResumableLoader, load_dataset, to_torch


def main(arguments: list[str] | None = None) -> float:
    """Trains from where the checkpoint is, or from the beginning, and gives the accuracy on the test images."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--storage", help="a URL, a path or a profile; by default what is configured")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--workers", type=int, default=0, help="processes that read; 0: threads of this one")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--checkpoint", type=Path, help="a file from which a job that was broken off goes on")
    parser.add_argument("--checkpoint-every", type=int, default=100, help="batches from one checkpoint to the next")
    parser.add_argument("--log-every", type=int, default=100, help="batches from one line to the next")
    parser.add_argument("--limit", type=int, help="use so many images only, to try it out")
    chosen = parser.parse_args(arguments)
    torch.manual_seed(chosen.seed)
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)  # sums of floats depend on how many there are; so small a network is no faster with more

    train, test = (load_dataset("fashion-mnist", split=each, storage=chosen.storage) for each in ("train", "test"))
    if chosen.limit is not None:
        train, test = train[: chosen.limit], test[: chosen.limit]
    loader = to_torch(train, chosen.batch_size, seed=chosen.seed, workers=chosen.workers)
    model = network(len(train.meta.class_names or ()))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    parts = {"model": model, "optimizer": optimizer, "loader": loader}
    if chosen.checkpoint is not None and chosen.checkpoint.exists():
        load(chosen.checkpoint, parts)
        print(f"goes on from {chosen.checkpoint}, epoch {loader.epoch}, after step {loader.step}", flush=True)

    for epoch in range(loader.epoch, chosen.epochs):
        for images, targets, _ in loader:
            loss = nn.functional.cross_entropy(model(pixels(images)), targets.long())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            is_last = loader.step == len(loader)
            if is_last or loader.step % chosen.log_every == 0:
                print(f"epoch {epoch} step {loader.step} loss {loss.item():.9g}", flush=True)
            if chosen.checkpoint is not None and (is_last or loader.step % chosen.checkpoint_every == 0):
                save(chosen.checkpoint, parts)
    found = accuracy(model, test)
    print(f"test accuracy {found:.4f}")
    return found


def network(classes: int) -> nn.Module:
    """A hidden layer, for images of 28 by 28 pixels."""
    return nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 256), nn.ReLU(), nn.Linear(256, classes))


def pixels(images: torch.Tensor) -> torch.Tensor:
    """Images with values from 0 to 1."""
    return images.float() / 255


def accuracy(model: nn.Module, test: DatasetIterator[Any]) -> float:
    """The part of the images that is classified right; the mask leaves out what only fills the last batch up."""
    loader: ResumableLoader[Any] = to_torch(test, 500, shuffle=False, last="pad")
    right = counted = 0
    model.eval()
    with torch.no_grad():
        for images, targets, _ in loader:
            counts = torch.from_numpy(loader.mask)
            right += int(((model(pixels(images)).argmax(1) == targets) & counts).sum())
            counted += int(counts.sum())
    return right / counted


def save(path: Path, parts: dict[str, Any]) -> None:
    """Writes the states to one file, all or nothing: what kills the job on the way leaves the file before."""
    unfinished = path.with_name(f"{path.name}.unfinished")
    with unfinished.open("wb") as file:
        torch.save({name: part.state_dict() for name, part in parts.items()}, file)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def load(path: Path, parts: dict[str, Any]) -> None:
    """Sets all parts to their states in the file."""
    states = torch.load(path, weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(states[name])


if __name__ == "__main__":
    main()
