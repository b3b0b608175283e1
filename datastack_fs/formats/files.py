"""A folder of files in any store, or in an archive, as a dataset: each file, or each group of files, is a sample."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from datastack_fs.formats.files_decoding import Decode, Decoder
from datastack_fs.formats.files_groups import FileGroups
from datastack_fs.formats.files_labels import as_targets, label_values, named_labels
from datastack_fs.formats.files_listing import FileList, find_files
from datastack_fs.formats.images import MAX_PIXELS
from datastack_fs.iterators.base import DatasetIterator
from datastack_fs.iterators.blocks import Blocks
from datastack_fs.iterators.columnar import check_triple, constant
from datastack_fs.iterators.indices import IndexArray
from datastack_fs.iterators.labels import as_column, label_array
from datastack_fs.iterators.meta import DatasetMeta
from datastack_fs.iterators.origin import Origin
from datastack_fs.iterators.planning import Answers, ByteRanges, Plan
from datastack_fs.storage import StorageConnector


class FilesDatasetIterator(DatasetIterator[tuple[Any, Any, Any]]):
    """The files below a prefix as (sample, target, tag), sorted by name; the tag is the file's identifier.

    The store is listed once, when the iterator is made; labels come from names or a table, never from the files. A
    batch reads all its files at once: one request for each, or one for all in an archive. Where the listing tells
    versions (everywhere but HTTP and plain fsspec), a file that is replaced later raises ``ResourceChangedError``.
    Passed over are hidden files, ``Thumbs.db``, ``desktop.ini`` and ``__MACOSX``.

    Args:
        connector: the store; for an archive, an ``ArchiveStorageConnector``.
        prefix: the folder in it; "" for all of it.
        labels: where targets come from.

            - "folder": the class of a file is its topmost folder below the prefix;
            - "auto": the same if all files lie in such folders, else None;
            - None: every target is None;
            - a mapping of names of files (below the prefix) to labels: the dataset is these files, in this order;
            - the name of a table below the prefix, of CSV (``.csv``, ``.tsv``) or JSON Lines (``.jsonl``), in the
              same sense;
            - with ``group``, an ending: the target is what is in that file of each group.

            Labels that are text become numbers of classes, with their names in ``meta.class_names``.
        classes: the names of the classes in the order of their numbers; by default sorted.
        columns: of the table: that of the files and that of the labels. By default those of the usual names.
        endings: which files count (".png"); by default all.
        decode: "auto" decodes by ending (images by Pillow, ``.txt``, ``.npy``, ``.json``, the number or name of a class
            in ``.cls``, other files as bytes); "image", "text" and "bytes" are for all files, and so is a function from
            bytes to a sample.
        mode: what Pillow converts images to ("RGB", "L", …); None leaves them as they are. Images stand upright, as
            their EXIF orientation says.
        max_pixels: of an image; more are refused.
        group: files that share the name up to its first dot are one sample, a mapping of endings to what is decoded,
            as WebDataset has it.
        meta: what is known about it.

    Raises:
        ResourceNotFoundError: there is no file below the prefix.
        DatasetNotFoundError: none that counts, or labels don't fit the files; the message says what there is.

    Examples:
        >>> from datastack_fs.connectors.memory import MemoryStorageConnector
        >>> connector = MemoryStorageConnector("files-example")
        >>> for name in ("owl/1.txt", "owl/2.txt", "wren/1.txt"):
        ...     info = connector.set_resource(f"birds/{name}", f"I am {name}".encode())
        >>> birds = FilesDatasetIterator(connector, "birds/")
        >>> birds[1]
        ('I am owl/2.txt', np.int64(0), 'birds/owl/2.txt')
        >>> birds.targets().tolist(), birds.meta.class_names
        ([0, 0, 1], ('owl', 'wren'))
    """

    def __init__(
        self,
        connector: StorageConnector,
        prefix: str = "",
        *,
        labels: str | Mapping[str, Any] | None = "auto",
        classes: Sequence[str] | None = None,
        columns: tuple[str, str] | None = None,
        endings: str | Iterable[str] | None = None,
        decode: Decode = "auto",
        mode: str | None = None,
        max_pixels: int = MAX_PIXELS,
        group: bool = False,
        meta: DatasetMeta | None = None,
    ) -> None:
        folder = f"{prefix.rstrip('/')}/" if prefix else ""
        what = f"{folder} in {connector.url}" if folder else connector.url
        self._part = labels.lower() if group and isinstance(labels, str) and labels.startswith(".") else None
        named = None if self._part else named_labels(connector, folder, labels, columns)
        if group and named is not None:
            raise ValueError("with group=True, labels= is 'folder', None, or the ending of the files with the targets")
        found = find_files(connector, folder, what, named=named, endings=endings)
        names = found.identifiers
        self._groups = FileGroups(names, what) if group else None
        if self._groups is not None:
            found = found.taken(self._groups.order)
            if self._part is not None:
                self._groups.check_part(names, self._part, what)
        self._files = FileList(folder, found)
        self._keys = self._files.names if self._groups is None else self._groups.keys
        values = label_values(None if group and labels == "auto" else labels, named, list(self._keys), what)
        self._labels, class_names = as_targets(values, classes, what)
        if meta is None:
            meta = DatasetMeta(folder.rstrip("/") or connector.url, PurePosixPath(folder or connector.url).stem)
        super().__init__(meta if class_names is None else meta.replace(class_names=class_names))
        check_triple(self.meta)
        self._connector, self._store, self._folder = connector, connector.url, folder
        self._is_local = connector.url.startswith("file:")
        # A split that was saved must not be read with other files, whose classes happen to be the same.
        self._origin = Origin(
            connector.url,
            folder or "/",
            checksum=f"names:{self._files.names.digest()}",
            is_local=self._is_local,
        )
        self._decoder = Decoder(decode, mode, max_pixels)
        self._decoder.check(names)
        self._are_bytes = not group and self._decoder.keeps_bytes(names)

    def __len__(self) -> int:
        return len(self._keys)

    def _samples(self, indices: IndexArray) -> list[tuple[Any, Any, Any]]:
        return self._rows(indices, self._read_files(self._files_in(indices)))

    def _plan(self, indices: IndexArray) -> Plan[tuple[Any, ...]]:
        files = self._files_in(indices)
        wanted = self._files.at(files)
        plan = self._connector.plan_resources(wanted) if wanted.are_known() else None
        if plan is None:
            return super()._plan(indices)

        def unpack(answers: Sequence[Answers]) -> dict[int, bytes]:
            return dict(zip(files, plan.contents(answers), strict=True))

        def decode(contents: Mapping[int, bytes]) -> tuple[Any, ...]:
            return self._columns(indices, contents)

        requests = [ByteRanges(source, info.identifier, info, ranges) for source, info, ranges in plan.requests]
        if callable(self._decoder.decode):  # the caller's own, which perhaps only one thread may call
            return Plan(requests, unpack, decode)
        return Plan.of(requests, lambda answers: decode(unpack(answers)))

    def _is_planned(self) -> bool:
        return not self._is_local

    def _take(self, indices: IndexArray) -> tuple[Any, ...]:
        return self._columns(indices, self._read_files(self._files_in(indices)))

    def _columns(self, indices: IndexArray, contents: Mapping[int, bytes]) -> tuple[Any, ...]:
        tags = self._tags_of(indices)
        targets = self._targets_in(indices, contents)
        meta = self.meta
        columns = {
            meta.sample_pos: as_column(self._values(indices, tags, contents)),
            meta.target_pos: as_column(list(targets)) if targets.dtype.hasobject else targets,
            meta.tag_pos: label_array(tags),
        }
        return columns[0], columns[1], columns[2]

    def _rows(self, indices: IndexArray, contents: Mapping[int, bytes]) -> list[tuple[Any, Any, Any]]:
        rows = []
        tags = self._tags_of(indices)
        parts = zip(self._values(indices, tags, contents), self._targets_in(indices, contents), tags, strict=True)
        for content, target, tag in parts:
            values = {self.meta.sample_pos: content, self.meta.target_pos: target, self.meta.tag_pos: tag}
            rows.append((values[0], values[1], values[2]))
        return rows

    def _values(self, indices: IndexArray, tags: Sequence[str], contents: Mapping[int, bytes]) -> list[Any]:
        if self._are_bytes:
            return [contents[sample] for sample in indices.tolist()]
        return [self._decoded(sample, tag, contents) for sample, tag in zip(indices.tolist(), tags, strict=True)]

    def _targets(self, indices: IndexArray) -> npt.NDArray[Any]:
        if self._part is None:
            return self._targets_in(indices, {})
        files = sorted({self._part_of(sample) for sample in set(indices.tolist())})
        return self._targets_in(indices, self._read_files(files))

    def _tags(self, indices: IndexArray) -> npt.NDArray[Any]:
        return label_array(self._tags_of(indices))

    def _targets_in(self, indices: IndexArray, contents: Mapping[int, bytes]) -> npt.NDArray[Any]:
        if self._labels is not None:
            return np.take(self._labels, indices, axis=0)
        if self._part is None:
            return constant(None, len(indices))
        files = [self._part_of(sample) for sample in indices.tolist()]
        return label_array([self._decoded_file(file, self._files.identifier(file), contents) for file in files])

    def _tags_of(self, indices: IndexArray) -> list[str]:
        keys = self._keys.at(indices.tolist())
        return [self._folder + key for key in keys] if self._folder else keys

    def _blocks(self) -> Blocks | None:
        files = [self._files_of(sample)[0] for sample in range(len(self))]
        wanted = self._files.at(files)
        offsets = self._connector.offsets(wanted) if wanted.are_known() else None
        return None if offsets is None else Blocks.of_offsets(offsets)

    def _files_of(self, sample: int) -> Sequence[int]:
        return (sample,) if self._groups is None else self._groups.files_of(sample)

    def _part_of(self, sample: int) -> int:
        """The file with the target of a group."""
        return next(file for file in self._files_of(sample) if self._ending(file, sample) == self._part)

    def _ending(self, file: int, sample: int) -> str:
        return "" if self._groups is None else self._groups.ending(self._files.names[file], sample)

    def _files_in(self, indices: IndexArray) -> list[int]:
        """The files that samples are made of, each once."""
        if self._groups is None:
            return sorted(set(indices.tolist()))
        return sorted({file for sample in set(indices.tolist()) for file in self._files_of(sample)})

    def _read_files(self, files: Sequence[int]) -> dict[int, bytes]:
        contents = self._connector.read_resources(self._files.at(files))
        return dict(zip(files, contents, strict=True))

    def _decoded(self, sample: int, tag: str, contents: Mapping[int, bytes]) -> Any:
        if self._groups is None:  # its tag is the identifier of its file
            return self._decoded_file(sample, tag, contents)
        parts = {self._ending(file, sample): file for file in self._files_of(sample)}
        return {
            ending: self._decoded_file(file, self._files.identifier(file), contents)
            for ending, file in parts.items()
            if ending != self._part
        }

    def _decoded_file(self, file: int, identifier: str, contents: Mapping[int, bytes]) -> Any:
        return self._decoder(contents[file], identifier, f"{identifier} in {self._store}")
