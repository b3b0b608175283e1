"""An HDF5 file opened from a resource: pinned to its version, and confined to its own bytes."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import h5py

from datastack_fs.errors import (
    DatasetFileCorruptError,
    DatasetNotFoundError,
    DatastackError,
    MaliciousFilePathError,
)
from datastack_fs.formats.hdf5_checks import check_dataset
from datastack_fs.formats.hdf5_chunks import ChunkIndex, chunk_index
from datastack_fs.formats.hdf5_heaps import SIZE_BYTES, CheckedReads
from datastack_fs.formats.hdf5_index import remote_chunk_index
from datastack_fs.formats.local import PinnedFile, pinned_state
from datastack_fs.resource import StreamedResource

_MAGIC: Final = b"\x89HDF\r\n\x1a\n"
_MOST_LINKS: Final = 16
_MOST_LISTED: Final = 20


class HDF5File:
    """The open HDF5 file of a resource, for one process; not safe to share between threads.

    HDF5 reads it through the resource, also where that is a local file: there, the pin to the version is the
    resource's, HDF5 takes no lock that a writer would wait for, and shares nothing with other openings of the file in
    this process. (Of a path it does, and then reads memory that is no longer its own, once one of them is closed:
    h5py issue 2920.) Links, virtual datasets and external storage that lead to other files are refused: such a file
    could read any file of this machine.

    Attributes:
        resource: the file.
        pin: a local file, for reading its bytes without HDF5; None for a remote one.
        begins_with_magic: whether it has no user block before its first byte.
    """

    def __init__(self, resource: StreamedResource) -> None:
        self._what = f"{resource.identifier} in {resource.connector.url}"
        self._size = resource.size
        resource.seek(0)
        self.begins_with_magic = resource.read(len(_MAGIC)) == _MAGIC
        self.resource = resource
        self.pin: PinnedFile | None = None
        if resource.local_path is not None:
            self.pin = PinnedFile(resource.fileno(), pinned_state(resource), self._what)
        reads = CheckedReads(resource, self._what)
        with self.reading():
            self._file = h5py.File(reads, "r")
            _, reads.size_bytes = self._file.id.get_create_plist().get_sizes()
        if reads.size_bytes not in SIZE_BYTES:
            raise DatasetFileCorruptError(f"{self._what} has sizes of {reads.size_bytes} bytes, which HDF5 can't read")
        # HDF5 closes what is open when the process exits, and calls Python for it, which has ended by then: a crash
        # (h5py 3.16, HDF5 2.0). A finalizer runs before.
        self._finalizer = weakref.finalize(self, self._file.close)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Around everything that reads: errors become ours."""
        try:
            yield
        except DatastackError:
            raise
        except Exception as error:  # the translating edge: h5py raises whatever broken bytes lead it to
            reason = error.args[0] if isinstance(error, KeyError) and error.args else error
            raise DatasetFileCorruptError(f"{self._what} can't be read as HDF5: {reason}") from error

    def find(self, name: str) -> h5py.Dataset | h5py.Group:
        """The dataset or group of that name; a dataset is one that can be read.

        Raises:
            DatasetNotFoundError: there is none; the message lists the datasets that there are.
            MaliciousFilePathError: it leads to another file.
            MissingDependencyError: it needs a filter that is not installed.
            DatasetFileCorruptError: it holds nothing that numpy could.
        """
        found = self._follow(name)
        if isinstance(found, h5py.Dataset):
            check_dataset(found, f"{name!r} in {self._what}", self._size)
        elif not isinstance(found, h5py.Group):
            raise DatasetNotFoundError(f"no dataset {name!r} in {self._what}; it has {self._listing()}")
        return found

    def datasets_in(self, name: str, group: h5py.Group) -> dict[str, h5py.Dataset]:
        """The datasets that stand directly in the group of that name, by their names there; the errors of ``find``."""
        members = [member for member in group if isinstance(self._follow(f"{name}/{member}"), h5py.Dataset)]
        return {member: self.find(f"{name}/{member}") for member in members}

    def no_datasets(self, name: str) -> DatasetNotFoundError:
        """The error that a group has no dataset that could be read."""
        return DatasetNotFoundError(f"no dataset in the group {name!r} in {self._what}; the file has {self._listing()}")

    def chunk_index(self, dataset: h5py.Dataset) -> ChunkIndex | None:
        """Where the chunks of one of its datasets are; None if only HDF5 knows."""
        if self.pin is not None:
            return chunk_index(dataset)
        return remote_chunk_index(dataset, self.resource, has_plain_addresses=self.begins_with_magic)

    def names(self) -> list[str]:
        """The names of the datasets at the top of the file; links that lead out are passed over."""
        found = []
        for name in self._file:
            with suppress(MaliciousFilePathError):
                if isinstance(self._follow(name), h5py.Dataset):
                    found.append(name)
        return found

    def everything(self) -> dict[str, h5py.Group | h5py.Dataset]:
        """All groups and datasets by path, as far as hard links lead, each once; groups before what is in them."""
        found: dict[str, h5py.Group | h5py.Dataset] = {}
        self._file.visititems(found.__setitem__)
        return found

    def _follow(self, name: str) -> Any:
        """What stands at a path, followed link by link so that h5py never opens another file; None for nothing."""
        place: Any = self._file
        segments = _segments(name)
        links = 0
        while segments:
            segment = segments.pop(0)
            if not isinstance(place, h5py.Group):
                return None
            link = link_of(place, segment)
            if isinstance(link, h5py.HardLink):
                place = place[segment]
            elif isinstance(link, h5py.SoftLink) and links < _MOST_LINKS:
                links += 1
                place = self._file if link.path.startswith("/") else place
                segments = _segments(link.path) + segments
            elif link is None:
                return None
            else:
                raise self._leads_out(name, f"the link {segment!r}")
        return place

    def _leads_out(self, name: str, what: str) -> MaliciousFilePathError:
        return MaliciousFilePathError(f"{name!r} in {self._what}: {what} leads to another file, which is refused")

    def _listing(self) -> str:
        """The file's datasets, as far as hard links lead: ``images (100, 8, 8) uint8``."""
        found: list[str] = []

        def note(name: str, item: Any) -> bool | None:
            if isinstance(item, h5py.Dataset):
                found.append(f"{name} {item.shape} {item.dtype}")
            return True if len(found) > _MOST_LISTED else None

        self._file.visititems(note)
        more = ["…"] if len(found) > _MOST_LISTED else []
        return ", ".join(found[:_MOST_LISTED] + more) or "no datasets"


def _segments(path: str) -> list[str]:
    return [segment for segment in path.split("/") if segment not in {"", "."}]


def link_of(group: h5py.Group, name: str) -> Any:
    """What a name in a group is: one of h5py's kinds of links, a word for another, None for none."""
    try:
        return group.get(name, getlink=True)
    except TypeError:
        return "a link of some program's own kind"
