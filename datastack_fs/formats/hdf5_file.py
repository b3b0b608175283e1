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
    MissingDependencyError,
    ResourceChangedError,
)
from datastack_fs.formats.local import pinned_state, state_of
from datastack_fs.resource import StreamedResource

_MOST_LINKS: Final = 16
_MOST_LISTED: Final = 20


class HDF5File:
    """The open HDF5 file of a resource, for one process; not safe to share between threads.

    A local file is read by its path, at C speed, others through the resource. Links, virtual datasets and external
    storage that lead to other files are refused: such a file could read any file of this machine.
    """

    def __init__(self, resource: StreamedResource) -> None:
        self._what = f"{resource.identifier} in {resource.connector.url}"
        self._descriptor: int | None = None
        with self.reading():
            if resource.local_path is None:
                self.resource: StreamedResource | None = resource
                self._file = h5py.File(resource, "r")
            else:
                self.resource = None
                self._file = self._open_path(resource)
        # HDF5 closes what is open when the process exits, and calls Python for it, which has ended by then: a crash
        # (h5py 3.16, HDF5 2.0). A finalizer runs before.
        self._finalizer = weakref.finalize(self, self._file.close)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Around everything that reads: errors become ours, and a file changed in place meanwhile is noticed."""
        try:
            yield
        except DatastackError:
            raise
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            self._check_state()
            reason = error.args[0] if isinstance(error, KeyError) and error.args else error
            raise DatasetFileCorruptError(f"{self._what} can't be read as HDF5: {reason}") from error
        self._check_state()

    def dataset(self, name: str) -> h5py.Dataset:
        """The dataset of that name, if samples can be read from it.

        Raises:
            DatasetNotFoundError: there is none; the message lists those that there are.
            MaliciousFilePathError: it leads to another file.
            MissingDependencyError: it needs a filter that is not installed.
            DatasetFileCorruptError: it has no rows that numpy could hold.
        """
        found = self._follow(name)
        if not isinstance(found, h5py.Dataset):
            raise DatasetNotFoundError(f"no dataset {name!r} in {self._what}; it has {self._listing()}")
        if found.is_virtual or found.external:
            raise self._leads_out(name, "its data")
        if not found.shape:
            raise DatasetFileCorruptError(f"{name!r} in {self._what} is a single value: it has no axis of samples")
        if h5py.check_ref_dtype(found.dtype) is not None:
            raise DatasetFileCorruptError(f"{name!r} in {self._what} holds references, not data")
        _check_filters(found, f"{name!r} in {self._what}")
        return found

    def names(self) -> list[str]:
        """The names of the datasets at the top of the file; links that lead out are passed over."""
        found = []
        for name in self._file:
            with suppress(MaliciousFilePathError):
                if isinstance(self._follow(name), h5py.Dataset):
                    found.append(name)
        return found

    def _open_path(self, resource: StreamedResource) -> h5py.File:
        """The file under a local resource, which is closed: h5py has a descriptor of its own."""
        with resource:
            file = h5py.File(resource.local_path, "r")
            descriptor = file.id.get_vfd_handle()
            self._state = state_of(descriptor)
            if self._state != pinned_state(resource):  # the path may have led to another file by now
                file.close()
                raise self._changed()
            self._descriptor = descriptor
            return file

    def _check_state(self) -> None:
        if self._descriptor is not None and state_of(self._descriptor) != self._state:
            raise self._changed()

    def _changed(self) -> ResourceChangedError:
        return ResourceChangedError(f"{self._what} was replaced or changed since it was opened")

    def _follow(self, name: str) -> Any:
        """What stands at a path, followed link by link so that h5py never opens another file; None for nothing."""
        place: Any = self._file
        segments = _segments(name)
        links = 0
        while segments:
            segment = segments.pop(0)
            if not isinstance(place, h5py.Group):
                return None
            link = _link(place, segment)
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


def _link(group: h5py.Group, name: str) -> Any:
    try:
        return group.get(name, getlink=True)
    except TypeError:
        return "a link of some program's own kind"


def _check_filters(dataset: h5py.Dataset, what: str) -> None:
    filters = dataset.id.get_create_plist()
    for position in range(filters.get_nfilters()):
        code, _, _, name = filters.get_filter(position)
        if not h5py.h5z.filter_avail(code):
            label = name.decode(errors="replace").strip("\0") or "unnamed"
            raise MissingDependencyError(
                f"{what} is compressed by the HDF5 filter {code} ({label}), which is not there: "
                "pip install hdf5plugin, then import hdf5plugin"
            )
