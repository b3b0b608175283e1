"""Datasets as random-access sequences of samples, and what stacks on them: views, shuffles, several joined.

Iterators know nothing of storage. Views and shuffles move integers; leaves move bytes, a whole batch at a time.
"""

from datastack_fs.iterators.base import DatasetIterator, DatasetMeta
from datastack_fs.iterators.columnar import ColumnarDatasetIterator
from datastack_fs.iterators.combined import CombinedDatasetIterator
from datastack_fs.iterators.in_memory import InMemoryDatasetIterator
from datastack_fs.iterators.indices import IndexArray, Indices
from datastack_fs.iterators.sequence import SequenceDatasetIterator
from datastack_fs.iterators.shuffled import ShuffledDatasetIterator
from datastack_fs.iterators.view import DatasetIteratorView

__all__ = [
    "ColumnarDatasetIterator",
    "CombinedDatasetIterator",
    "DatasetIterator",
    "DatasetIteratorView",
    "DatasetMeta",
    "InMemoryDatasetIterator",
    "IndexArray",
    "Indices",
    "SequenceDatasetIterator",
    "ShuffledDatasetIterator",
]
