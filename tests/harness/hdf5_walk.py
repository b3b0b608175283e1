"""Everything that is in an HDF5 file, as values that compare: what another layout must leave as it is."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np


def everything_in(file: h5py.File) -> dict[str, Any]:
    """Links, types, shapes, values and attributes by path, names in the order in which the file lists them."""
    return _Walk(file).found


class _Walk:
    def __init__(self, file: h5py.File) -> None:
        self._file = file
        self._places: dict[Any, str] = {}
        self.found: dict[str, Any] = {}
        self._walk("/", file["/"])
        for path in self._places.values():
            item = file[path]
            attributes = [(name, self._attribute(item, name)) for name in item.attrs]
            self.found[path] = self._described(item), attributes

    def _walk(self, path: str, item: Any) -> None:
        first = self._places.setdefault(_address(item.id), path)
        self.found[path] = "the same as", first
        if first != path or not isinstance(item, h5py.Group):
            return
        for name in sorted(item):
            place, link = f"{path.rstrip('/')}/{name}", item.get(name, getlink=True)
            if isinstance(link, h5py.HardLink):
                self._walk(place, item[name])
            else:
                self.found[place] = type(link).__name__, link.path, getattr(link, "filename", None)

    def _described(self, item: Any) -> Any:
        if isinstance(item, h5py.Group):
            return "group", item.id.get_create_plist().get_link_creation_order(), list(item)
        if isinstance(item, h5py.Datatype):
            return "type", _type(item.id)
        plist = item.id.get_create_plist()
        fill = None if item.dtype.hasobject or item.shape is None else np.asarray(item.fillvalue).tobytes()
        filled = plist.fill_value_defined(), plist.get_fill_time(), fill
        return _type(item.id.get_type()), item.shape, item.maxshape, filled, self._comparable(item[()])

    def _attribute(self, item: Any, name: str) -> Any:
        attribute = item.attrs.get_id(name)
        return _type(attribute.get_type()), attribute.shape, self._comparable(item.attrs[name])

    def _comparable(self, value: Any) -> Any:
        if isinstance(value, h5py.Empty):
            return "empty", str(value.dtype)
        if isinstance(value, (h5py.RegionReference, h5py.Reference)):
            return self._referred(value) if value else None
        if isinstance(value, np.void) and value.dtype.names:
            return [self._comparable(value[name]) for name in value.dtype.names]
        if isinstance(value, np.ndarray) and (value.dtype.hasobject or value.dtype.names):
            return [self._comparable(each) for each in value.ravel()]
        if isinstance(value, (np.ndarray, np.generic)):
            return str(value.dtype), value.shape, value.tobytes()
        return value

    def _referred(self, reference: Any) -> Any:
        place = self._places[_address(h5py.h5r.dereference(reference, self._file.id))]
        if not isinstance(reference, h5py.RegionReference):
            return place
        region = h5py.h5r.get_region(reference, self._file.id)
        return place, region.get_select_bounds(), region.get_select_npoints()


def _address(item: Any) -> Any:
    return h5py.h5g.get_objinfo(item).objno


def _type(tid: Any) -> Any:
    return tid.committed(), type(tid).__name__, tid.get_size(), str(tid.dtype), tid.dtype.metadata is None
