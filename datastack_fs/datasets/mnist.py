"""MNIST and Fashion-MNIST: 70,000 images of 28 by 28 pixels each, published as IDX files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from datastack_fs.datasets.idx import IDXPreprocessor
from datastack_fs.factory import DatasetFactory
from datastack_fs.preprocessing import Preprocessor
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

    Examples:
        ``MNISTFactory(connector)`` downloads them. Here a folder serves as a mirror, with zeros for digits:

        >>> import gzip, struct, tempfile
        >>> from pathlib import Path
        >>> from datastack_fs.connectors.memory import MemoryStorageConnector
        >>> folder = Path(tempfile.mkdtemp())
        >>> for file in MNISTFactory.checksums:
        ...     shape = (5, 28, 28) if "images" in file else (5,)
        ...     header = struct.pack(f">{1 + len(shape)}I", 0x800 + len(shape), *shape)
        ...     written = (folder / file).write_bytes(gzip.compress(header + bytes(5 * 28 ** (len(shape) - 1))))
        >>> mirror = MNISTFactory.mirror(str(folder), dict.fromkeys(MNISTFactory.checksums))
        >>> factory = MNISTFactory(MemoryStorageConnector("mnist-example"), resource_definitions=mirror)
        >>> iterator, meta = factory.get_dataset_iterator(config={"split": "train"})
        >>> img, target, tag = iterator[0]
        >>> img.shape, int(target), tag, len(meta.class_names)
        ((28, 28), 0, 'train', 10)
    """

    name = "mnist"
    description = "70,000 handwritten digits, 28 by 28 pixels"
    licence = "CC BY-SA 3.0"
    homepage = "http://yann.lecun.com/exdb/mnist/"
    download_bytes = 11_594_722
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
            ResourceDefinition(cls.identifier(f"raw/{stored}"), f"{source.rstrip('/')}/{file}", known[file])
            for stored, file in _FILES.items()
        ]

    @classmethod
    def preprocessors(cls) -> Sequence[Preprocessor]:
        """One for each split."""
        return [
            IDXPreprocessor(
                cls.identifier(f"raw/samples_{split}.gz"),
                cls.identifier(f"raw/labels_{split}.gz"),
                cls.identifier(f"preprocessed/{split}.h5"),
                cls.class_names,
                cls.sample_shape,
            )
            for split in cls.splits
        ]


class FashionMNISTFactory(MNISTFactory):
    """Zalando's images of clothes: as many as in MNIST, and of the same shape."""

    name = "fashion-mnist"
    description = "70,000 images of clothes in ten classes, 28 by 28 pixels"
    licence = "MIT"
    homepage = "https://github.com/zalandoresearch/fashion-mnist"
    download_bytes = 30_878_645
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
