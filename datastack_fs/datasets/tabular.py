"""Iris, wine and breast cancer: small tables of numbers with a class, as they come in scikit-learn's package."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from datastack_fs.datasets.holdout import rows_of
from datastack_fs.errors import DatasetFileCorruptError
from datastack_fs.factory import DatasetFactory
from datastack_fs.formats.hdf5_writing import store_hdf5
from datastack_fs.preprocessing import Preprocessor
from datastack_fs.resource import ResourceInfo
from datastack_fs.retrieval import ResourceDefinition
from datastack_fs.storage import StorageConnector


class TablePreprocessor(Preprocessor):
    """One split of a table, stored as HDF5. Its lines are the features, then the number of the class.

    The first line says how many rows and features there are, and what the classes are called.

    Args:
        table: the identifier of the table.
        identifier: what to store.
        split: ``train`` or ``test``.
        feature_names: what the features are called.
        class_names: what the classes must be called.
    """

    def __init__(
        self, table: str, identifier: str, split: str, feature_names: Sequence[str], class_names: Sequence[str]
    ) -> None:
        self._table = table
        self._identifier = identifier
        self._split = split
        self._feature_names = feature_names
        self._class_names = class_names

    def preprocess(self, connector: StorageConnector) -> ResourceInfo:
        """Reads all of the table, which is small, and stores its rows of the split."""
        with connector.get_resource(self._table) as resource:
            features, targets = self._parse(resource.read())
        chosen = rows_of(self._split, targets)
        return store_hdf5(
            connector,
            self._identifier,
            [(features[chosen], targets[chosen])],
            int(chosen.sum()),
            class_names=self._class_names,
            feature_names=self._feature_names,
        )

    def _parse(self, content: bytes) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
        width, classes = len(self._feature_names), len(self._class_names)
        try:
            header, *lines = [line.split(",") for line in content.decode("ascii").splitlines()]
            rows = np.array(lines, dtype=np.float64)
        except ValueError as error:
            raise DatasetFileCorruptError(f"{self._table} does not hold lines of numbers: {error}") from error
        expected = [str(len(rows)), str(width), *self._class_names]
        if header != expected or rows.shape[1:] != (width + 1,):
            raise DatasetFileCorruptError(
                f"{self._table}: expected {','.join(expected)} and then lines of {width} features and the class, not "
                f"{','.join(header)[:80]!r} and {rows.shape} numbers"
            )
        if not (np.isfinite(rows).all() and np.isin(rows[:, -1], np.arange(classes)).all()):
            raise DatasetFileCorruptError(f"{self._table}: classes are 0 to {classes - 1}, and others came")
        return rows[:, :-1].copy(), rows[:, -1].astype(np.int64)


class TableFactory(DatasetFactory):
    """A table of scikit-learn's package, which is not imported: its rows in two splits that are the same everywhere.

    A sample is a vector of float64, named by ``meta.feature_names``; its target the number of a class, named by
    ``meta.class_names``. The attributes ``feature_names`` and ``class_names`` in ``<name>/preprocessed/<split>.h5``
    say the same. Every fifth row of each class is for testing, as in ``DigitsFactory``.
    """

    file: ClassVar[str]
    """Its name in the package."""

    checksum: ClassVar[str]
    """That of the file, which is the same in scikit-learn 1.5 to 1.9."""

    feature_names: ClassVar[tuple[str, ...]]
    class_names: ClassVar[tuple[str, ...]]
    licence = "CC BY 4.0"

    @classmethod
    def definitions(cls) -> Sequence[ResourceDefinition]:
        """The file in scikit-learn's package."""
        return [ResourceDefinition(cls._table(), f"package://sklearn/datasets/data/{cls.file}", cls.checksum)]

    @classmethod
    def preprocessors(cls) -> Sequence[Preprocessor]:
        """One for each split."""
        return [
            TablePreprocessor(
                cls._table(), cls.identifier(f"preprocessed/{split}.h5"), split, cls.feature_names, cls.class_names
            )
            for split in cls.splits
        ]

    @classmethod
    def _table(cls) -> str:
        return cls.identifier(f"raw/{cls.name}.csv")


class IrisFactory(TableFactory):
    """150 irises of three species, four lengths in cm of each: Fisher's, of 1936.

    The numbers are those of Fisher's paper and of R; the file in UCI's repository differs in two rows.

    Examples:
        >>> from datastack_fs.connectors.memory import MemoryStorageConnector
        >>> iterator, meta = IrisFactory(MemoryStorageConnector("iris-example")).get_dataset_iterator()
        >>> features, target, tag = iterator[0]
        >>> dict(zip(meta.feature_names, features.tolist()))["petal length (cm)"], meta.class_names[target]
        (1.4, 'setosa')
    """

    name = "iris"
    description = "150 irises of three species, by four lengths"
    homepage = "https://archive.ics.uci.edu/dataset/53/iris"
    file = "iris.csv"
    checksum = "sha256:f13ffa8fdd56fd8e6c8d16d4081a3fbd3114bcd0aae4256c43205169cd9d1449"
    download_bytes = 2_734
    class_names = ("setosa", "versicolor", "virginica")
    feature_names = ("sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)")


class WineFactory(TableFactory):
    """178 wines of three growers from one region, by 13 measurements of a chemical analysis."""

    name = "wine"
    description = "178 wines of three growers, by 13 chemical measurements"
    homepage = "https://archive.ics.uci.edu/dataset/109/wine"
    file = "wine_data.csv"
    checksum = "sha256:10e8a802908b34f86e5da8ce962f3c806694bc98450a18f61851af59f324bede"
    download_bytes = 11_157
    class_names = ("class_0", "class_1", "class_2")
    feature_names = (
        "alcohol",
        "malic_acid",
        "ash",
        "alcalinity_of_ash",
        "magnesium",
        "total_phenols",
        "flavanoids",
        "nonflavanoid_phenols",
        "proanthocyanins",
        "color_intensity",
        "hue",
        "od280/od315_of_diluted_wines",
        "proline",
    )


_CELL_FEATURES = (
    "radius",
    "texture",
    "perimeter",
    "area",
    "smoothness",
    "compactness",
    "concavity",
    "concave points",
    "symmetry",
    "fractal dimension",
)


class BreastCancerFactory(TableFactory):
    """569 tumours of the breast, malignant or benign, by 30 measurements of cell nuclei: UCI's "Wisconsin Diagnostic".

    Of ten measurements each there are the mean, the standard error, and the worst (the mean of the three largest).
    """

    name = "breast_cancer"
    description = "569 tumours, malignant or benign, by 30 measurements of cell nuclei"
    homepage = "https://archive.ics.uci.edu/dataset/17/breast+cancer+wisconsin+diagnostic"
    file = "breast_cancer.csv"
    checksum = "sha256:fed3eb72d0575ef6192293f5093c6e801b1476b577d0386bf4455504522172ed"
    download_bytes = 119_913
    class_names = ("malignant", "benign")
    feature_names = (
        *(f"mean {name}" for name in _CELL_FEATURES),
        *(f"{name} error" for name in _CELL_FEATURES),
        *(f"worst {name}" for name in _CELL_FEATURES),
    )
