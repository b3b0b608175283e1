"""Training on an iterator: which batch comes at which step of which rank, and how a killed job goes on with the next.

Needs no framework: a batch sampler is what torch's DataLoader takes, and every other loop can ask the plan itself.
"""

from datastack_fs.training.bad_samples import BadSample, TolerantBatches
from datastack_fs.training.batch_plan import BatchPlan, BlockOrder, Order, ShuffledOrder, StoredOrder
from datastack_fs.training.fingerprint import DataFingerprint
from datastack_fs.training.loader import ResumableLoader
from datastack_fs.training.planned_batches import PlannedBatches
from datastack_fs.training.sampler import ResumableBatchSampler
from datastack_fs.training.shuffle_quality import ShuffleQuality, shuffle_quality

__all__ = [
    "BadSample",
    "BatchPlan",
    "BlockOrder",
    "DataFingerprint",
    "Order",
    "PlannedBatches",
    "ResumableBatchSampler",
    "ResumableLoader",
    "ShuffleQuality",
    "ShuffledOrder",
    "StoredOrder",
    "TolerantBatches",
    "shuffle_quality",
]
