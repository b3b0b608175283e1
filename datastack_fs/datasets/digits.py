"""Handwritten digits from the UCI repository, 8 by 8 pixels, as they come in scikit-learn's package."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from datastack_fs.errors import DatasetFileCorruptError
from datastack_fs.factory import DatasetFactory
from datastack_fs.formats.hdf5 import HDF5DatasetIterator
from datastack_fs.formats.hdf5_writing import store_hdf5
from datastack_fs.iterators.base import DatasetMeta
from datastack_fs.preprocessing import gunzip
from datastack_fs.resource import ResourceInfo
from datastack_fs.retrieval import ResourceDefinition

RAW: Final = "digits/raw/digits.csv.gz"
_SIDE = 8
_HIGHEST = 16
_TEST_EVERY = 5
_CLASSES = tuple(map(str, range(10)))


class DigitsFactory(DatasetFactory):
    """1,797 handwritten digits, 8 by 8 pixels with values from 0 to 16: UCI's "Optical Recognition" test set.

    They come from the installed scikit-learn (``pip install 'datastack-fs[sklearn]'``), which is not imported.

    The splits ``train`` (1,437) and ``test`` (360) are the same on every machine, and every class has its share of
    each: in the order of the classes, and within a class in that of the file, every fifth digit, from the first on,
    is for testing. Both splits keep the order of the file.

    Examples:
        >>> from datastack_fs.connectors.memory import MemoryStorageConnector
        >>> factory = DigitsFactory(MemoryStorageConnector("digits-example"))
        >>> iterator, meta = factory.get_dataset_iterator({"split": "test"})
        >>> image, target, tag = iterator[0]
        >>> image.shape, int(image.max()), int(target), tag
        ((8, 8), 15, 0, 'test')
    """

    name = "digits"
    splits = ("train", "test")

    @classmethod
    def definitions(cls) -> Sequence[ResourceDefinition]:
        """The file in scikit-learn's package."""
        checksum = "sha256:09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22"
        return [ResourceDefinition(RAW, "package://sklearn/datasets/data/digits.csv.gz", checksum)]

    def _preprocess(self) -> Sequence[ResourceInfo]:
        with self.storage_connector.get_resource(RAW) as resource:
            images, targets = _parse(b"".join(gunzip(resource)))
        chosen = {"test": for_testing(targets)}
        chosen["train"] = ~chosen["test"]
        return [
            store_hdf5(
                self.storage_connector,
                _identifier(split),
                [(images[chosen[split]], targets[chosen[split]])],
                int(chosen[split].sum()),
                class_names=_CLASSES,
            )
            for split in self.splits
        ]

    def _open(self, split: str) -> HDF5DatasetIterator:
        meta = DatasetMeta(_identifier(split), self.name, tag=split, class_names=_CLASSES)
        resource = self.storage_connector.get_resource(_identifier(split))
        return HDF5DatasetIterator(resource, sample="samples", target="targets", meta=meta)


def for_testing(targets: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which samples the test split has: every fifth, when sorted by class and, within a class, by place.

    Examples:
        >>> for_testing(np.array([1, 0, 1, 0, 1, 1, 0])).tolist()
        [False, True, False, False, True, False, False]
    """
    chosen = np.zeros(len(targets), dtype=np.bool_)
    chosen[np.argsort(targets, kind="stable")[::_TEST_EVERY]] = True
    return chosen


def _identifier(split: str) -> str:
    return f"digits/preprocessed/{split}.h5"


def _parse(content: bytes) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Images and targets from lines of 64 pixels and the digit."""
    try:
        rows = np.array([line.split(",") for line in content.decode("ascii").split()], dtype=np.int64)
    except ValueError as error:
        raise DatasetFileCorruptError(f"{RAW} does not hold lines of numbers: {error}") from error
    if rows.shape[1:] != (_SIDE * _SIDE + 1,):
        raise DatasetFileCorruptError(f"{RAW}: expected lines of 64 pixels and the digit, not {rows.shape} numbers")
    pixels, targets = rows[:, :-1], rows[:, -1]
    if rows.min() < 0 or pixels.max() > _HIGHEST or targets.max() >= len(_CLASSES):
        raise DatasetFileCorruptError(f"{RAW}: pixels are 0 to 16 and targets 0 to 9, and others came")
    return pixels.reshape(-1, _SIDE, _SIDE).astype(np.uint8), targets
