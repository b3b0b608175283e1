"""Datasets as random-access sequences of samples, and what stacks on them: views, shuffles, several joined.

Iterators know nothing of storage. Views and shuffles move integers; leaves move bytes, a whole batch at a time.
"""

from datastack_fs.iterators.base import DatasetIterator
from datastack_fs.iterators.block_shuffled import BlockShuffledDatasetIterator
from datastack_fs.iterators.column_batches import ColumnBatches
from datastack_fs.iterators.columnar import ColumnarDatasetIterator
from datastack_fs.iterators.combined import CombinedDatasetIterator
from datastack_fs.iterators.data_frame import DataFrameDatasetIterator
from datastack_fs.iterators.encoded import FeatureEncodedDatasetIterator
from datastack_fs.iterators.filtered import FilteredDatasetIterator
from datastack_fs.iterators.in_memory import InMemoryDatasetIterator
from datastack_fs.iterators.indices import IndexArray, Indices
from datastack_fs.iterators.mapped import MappedDatasetIterator
from datastack_fs.iterators.meta import DatasetMeta
from datastack_fs.iterators.repeated import RepeatedDatasetIterator
from datastack_fs.iterators.sampled import SampledDatasetIterator
from datastack_fs.iterators.sequence import SequenceDatasetIterator
from datastack_fs.iterators.shuffled import ShuffledDatasetIterator
from datastack_fs.iterators.target_mapped import TargetMappedDatasetIterator
from datastack_fs.iterators.view import DatasetIteratorView
from datastack_fs.iterators.zipped import ZippedDatasetIterator

__all__ = [
    "BlockShuffledDatasetIterator",
    "ColumnBatches",
    "ColumnarDatasetIterator",
    "CombinedDatasetIterator",
    "DataFrameDatasetIterator",
    "DatasetIterator",
    "DatasetIteratorView",
    "DatasetMeta",
    "FeatureEncodedDatasetIterator",
    "FilteredDatasetIterator",
    "InMemoryDatasetIterator",
    "IndexArray",
    "Indices",
    "MappedDatasetIterator",
    "RepeatedDatasetIterator",
    "SampledDatasetIterator",
    "SequenceDatasetIterator",
    "ShuffledDatasetIterator",
    "TargetMappedDatasetIterator",
    "ZippedDatasetIterator",
]
