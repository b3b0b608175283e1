"""MNIST and Fashion-MNIST: 70,000 images of 28 by 28 pixels each, published as IDX files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from datastack_fs.datasets.idx import IDXPreprocessor
from datastack_fs.factory import DatasetFactory
from datastack_fs.formats.hdf5 import HDF5DatasetIterator
from datastack_fs.iterators.base import DatasetMeta
from datastack_fs.resource import ResourceInfo
from datastack_fs.retrieval import ResourceDefinition

_FILES: Mapping[str, str] = {
    "samples_train.gz": "train-images-idx3-ubyte.gz",
    "labels_train.gz": "train-labels-idx1-ubyte.gz",
    "samples_test.gz": "t10k-images-idx3-ubyte.gz",
    "labels_test.gz": "t10k-labels-idx1-ubyte.gz",
}
"""What the four files are called in the store, and where they are published."""


class MNISTFactory(DatasetFactory):
    """Handwritten digits: 60,000 images for training and 10,000 for testing, 28 by 28 pixels from 0 to 255.

    A sample is ``(image, target, split)``. The files as they are published are kept as ``mnist/raw/*.gz``, what is
    read stands in ``mnist/preprocessed/<split>.h5``.

    Example::

        iterator, meta = MNISTFactory(connector).get_dataset_iterator(config={"split": "train"})
        img, target, tag = iterator[0]

    With a mirror, and another compression of the same files::

        definitions = MNISTFactory.mirror("https://host/mnist", {"t10k-labels-idx1-ubyte.gz": "sha256:…", …})
        MNISTFactory(connector, resource_definitions=definitions)
    """

    name = "mnist"
    splits = ("train", "test")
    source: ClassVar[str] = "https://ossci-datasets.s3.amazonaws.com/mnist"
    """The folder of the four files."""

    checksums: ClassVar[Mapping[str, str]] = {
        "train-images-idx3-ubyte.gz": "md5:f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte.gz": "md5:d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte.gz": "md5:9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte.gz": "md5:ec29112dd5afa0611ce80d1b7f02629c",
    }
    """Those of the files as they are published."""

    class_names: ClassVar[tuple[str, ...]] = tuple(map(str, range(10)))
    sample_shape: ClassVar[tuple[int, ...]] = (28, 28)

    @classmethod
    def definitions(cls) -> Sequence[ResourceDefinition]:
        """The four files, where they are published."""
        return cls.mirror(cls.source)

    @classmethod
    def mirror(cls, source: str, checksums: Mapping[str, str | None] | None = None) -> list[ResourceDefinition]:
        """The four files in another place, for ``resource_definitions``.

        Args:
            source: a URL or the path of a folder, which has them under their published names.
            checksums: those that differ from the published ones, by file name; None takes what comes.

        Examples:
            >>> MNISTFactory.mirror("/data/mnist")[0]
            ResourceDefinition('mnist/raw/samples_train.gz', '/data/mnist/train-images-idx3-ubyte.gz', 'md5:f68b3c2dcbeaaa9fbdd348bbdeb94873')
        """  # noqa: E501
        unknown = sorted(set(checksums or {}) - set(_FILES.values()))
        if unknown:
            raise ValueError(f"checksums of unknown files {unknown}; the files are {', '.join(_FILES.values())}")
        known: dict[str, str | None] = {**cls.checksums, **(checksums or {})}
        return [
            ResourceDefinition(f"{cls.name}/raw/{stored}", f"{source.rstrip('/')}/{file}", known[file])
            for stored, file in _FILES.items()
        ]

    def _preprocess(self) -> Sequence[ResourceInfo]:
        return [
            IDXPreprocessor(
                f"{self.name}/raw/samples_{split}.gz",
                f"{self.name}/raw/labels_{split}.gz",
                self._identifier(split),
                self.class_names,
                self.sample_shape,
            ).preprocess(self.storage_connector)
            for split in self.splits
        ]

    def _open(self, split: str) -> HDF5DatasetIterator:
        meta = DatasetMeta(self._identifier(split), self.name, tag=split, class_names=self.class_names)
        resource = self.storage_connector.get_resource(self._identifier(split))
        return HDF5DatasetIterator(resource, sample="samples", target="targets", meta=meta)

    def _identifier(self, split: str) -> str:
        return f"{self.name}/preprocessed/{split}.h5"


class FashionMNISTFactory(MNISTFactory):
    """Zalando's images of clothes: as many as in MNIST, and of the same shape."""

    name = "fashion-mnist"
    source = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
    checksums: ClassVar[Mapping[str, str]] = {
        "train-images-idx3-ubyte.gz": "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte.gz": "md5:25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte.gz": "md5:bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte.gz": "md5:bb300cfdad3c16e7a12a480ee83cd310",
    }
    class_names = (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    )
