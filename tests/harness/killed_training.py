"""A job that reads batches, keeps its place, and may be killed at any time; spawned children import it."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from itertools import chain
from pathlib import Path

from datastack_fs import ResumableBatchSampler

BATCH = 12


def read_epochs(pickled: bytes, folder: str, world_size: int, prefetch: int, epochs: int) -> None:
    """Reads the batches of all ranks, step by step, and notes each in a journal; goes on where another process was.

    A step is a line of epoch, step and digest; the state after it is published whole.
    """
    iterator = pickle.loads(pickled)
    place = Path(folder, "state.json")
    samplers = [
        ResumableBatchSampler(iterator, BATCH, seed=3, rank=rank, world_size=world_size) for rank in range(world_size)
    ]
    if place.exists():
        for sampler in samplers:
            sampler.load_state_dict(json.loads(place.read_text()))
    with open(Path(folder, "journal"), "a", encoding="utf-8") as journal:
        while samplers[0].epoch < epochs:
            epoch, first = samplers[0].epoch, samplers[0].first_step
            indices = [list(chain.from_iterable(sampler)) for sampler in samplers]
            shares = [iterator.batches(BATCH // world_size, each, prefetch=prefetch) for each in indices]
            for step, batches in enumerate(zip(*shares, strict=True), first):
                content = b"".join(columns[0].tobytes() for columns in batches)
                journal.write(f"{epoch} {step} {hashlib.sha256(content).hexdigest()}\n")
                journal.flush()
                unfinished = place.with_suffix(".part")
                unfinished.write_text(json.dumps(samplers[0].state_after(step + 1, epoch)))
                os.replace(unfinished, place)
            for sampler in samplers:
                sampler.set_epoch(epoch + 1)
