"""Handwritten digits from the UCI repository, 8 by 8 pixels, as they come in scikit-learn's package."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from datastack_fs.datasets.holdout import rows_of
from datastack_fs.errors import DatasetFileCorruptError
from datastack_fs.factory import DatasetFactory
from datastack_fs.formats.hdf5_writing import store_hdf5
from datastack_fs.preprocessing import Preprocessor, gunzip
from datastack_fs.resource import ResourceInfo
from datastack_fs.retrieval import ResourceDefinition
from datastack_fs.storage import StorageConnector

_SIDE = 8
_HIGHEST = 16
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
    description = "1,797 handwritten digits, 8 by 8 pixels"
    licence = "CC BY 4.0"
    homepage = "https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits"
    download_bytes = 57_523
    class_names = _CLASSES

    @classmethod
    def definitions(cls) -> Sequence[ResourceDefinition]:
        """The file in scikit-learn's package."""
        checksum = "sha256:09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22"
        return [ResourceDefinition(cls._raw(), "package://sklearn/datasets/data/digits.csv.gz", checksum)]

    @classmethod
    def preprocessors(cls) -> Sequence[Preprocessor]:
        """One for each split."""
        return [
            DigitsPreprocessor(cls._raw(), cls.identifier(f"preprocessed/{split}.h5"), split) for split in cls.splits
        ]

    @classmethod
    def _raw(cls) -> str:
        return cls.identifier("raw/digits.csv.gz")


class DigitsPreprocessor(Preprocessor):
    """One split of the gzipped table of pixels and digits, stored as HDF5.

    Args:
        table: the identifier of the table.
        identifier: what to store.
        split: ``train`` or ``test``.
    """

    def __init__(self, table: str, identifier: str, split: str) -> None:
        self._table = table
        self._identifier = identifier
        self._split = split

    def preprocess(self, connector: StorageConnector) -> ResourceInfo:
        """Unpacks all of the table, which is small, and stores its rows of the split."""
        with connector.get_resource(self._table) as resource:
            images, targets = _parse(b"".join(gunzip(resource)), self._table)
        chosen = rows_of(self._split, targets)
        rows = [(images[chosen], targets[chosen])]
        return store_hdf5(connector, self._identifier, rows, int(chosen.sum()), class_names=_CLASSES)


def _parse(content: bytes, name: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Images and targets from lines of 64 pixels and the digit."""
    try:
        rows = np.array([line.split(",") for line in content.decode("ascii").split()], dtype=np.int64)
    except ValueError as error:
        raise DatasetFileCorruptError(f"{name} does not hold lines of numbers: {error}") from error
    if rows.shape[1:] != (_SIDE * _SIDE + 1,):
        raise DatasetFileCorruptError(f"{name}: expected lines of 64 pixels and the digit, not {rows.shape} numbers")
    pixels, targets = rows[:, :-1], rows[:, -1]
    if rows.min() < 0 or pixels.max() > _HIGHEST or targets.max() >= len(_CLASSES):
        raise DatasetFileCorruptError(f"{name}: pixels are 0 to 16 and targets 0 to 9, and others came")
    return pixels.reshape(-1, _SIDE, _SIDE).astype(np.uint8), targets
