"""Which of a job's processes this one is, as torch knows it: looked up where torch is loaded already, never by it."""

from __future__ import annotations

import os
import sys


def rank_and_world_size() -> tuple[int, int]:
    """This process among the ranks: by ``torch.distributed``, else by ``$RANK`` and ``$WORLD_SIZE``, as torchrun.

    Examples:
        >>> rank_and_world_size()
        (0, 1)
    """
    torch = sys.modules.get("torch")
    if torch is not None and torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def loader_workers() -> int:
    """How many workers share the batches of the DataLoader that this process reads for; 1 outside of its workers.

    Examples:
        >>> loader_workers()
        1
    """
    data = sys.modules.get("torch.utils.data")
    info = None if data is None else data.get_worker_info()
    return 1 if info is None else int(info.num_workers)
