"""Attributes and references of an HDF5 file, made anew in another one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import h5py
import numpy as np
import numpy.typing as npt

from datastack_fs.errors import DatasetFileCorruptError
from datastack_fs.formats.hdf5_checks import holds_references

Address: TypeAlias = tuple[int, int]

_CUSTOM_REFERENCES: Final = "references of HDF5's newer kind, which h5py can't make"


def address(item: h5py.h5d.DatasetID | h5py.h5g.GroupID | h5py.h5t.TypeID) -> Address:
    """Where the header of an object is: two names of one object have the same."""
    low, high = h5py.h5g.get_objinfo(item).objno
    return int(low), int(high)


class NewPlaces:
    """Where the objects of one file stand in another, for what tells of them: references, and types with a name.

    Args:
        source: the one file.
        made: the other.
        paths: of the objects there, by their addresses in ``source``.
        what: names ``source`` in errors.
    """

    def __init__(self, source: h5py.File, made: h5py.File, paths: Mapping[Address, str], what: str) -> None:
        self._source, self._made, self._paths, self._what = source, made, paths, what

    def type_of(self, item: h5py.h5d.DatasetID | h5py.h5a.AttrID) -> h5py.h5t.TypeID:
        """The type of a dataset or an attribute; the new file's own one if it has a name."""
        found = item.get_type()
        if not isinstance(found, h5py.h5t.TypeID) or not found.committed():
            return found
        path = self._paths.get(address(found))
        return self._made[path].id if path else found.copy()

    def copy_attributes(self, source: h5py.HLObject, made: h5py.HLObject) -> None:
        """Gives an object all attributes of another, in their order."""
        for name in source.attrs:
            old = source.attrs.get_id(name)
            new = h5py.h5a.create(made.id, encoded(name), self.type_of(old), old.get_space())
            if old.get_space().get_simple_extent_type() != h5py.h5s.NULL:
                self._copy_value(old, new, f"the attribute {name!r} of {source.name!r}")

    def copy_references(self, source: h5py.Dataset, made: h5py.Dataset) -> None:
        """Gives a dataset of references the values of another."""
        values = _buffer(source.shape, source.dtype)
        memory = h5py.h5t.py_create(source.dtype)
        source.id.read(h5py.h5s.ALL, h5py.h5s.ALL, values, memory)
        self._renew(values, source.dtype, repr(source.name))
        made.id.write(h5py.h5s.ALL, h5py.h5s.ALL, values, memory)

    def _copy_value(self, old: h5py.h5a.AttrID, new: h5py.h5a.AttrID, what: str) -> None:
        stored = old.get_type()
        try:
            dtype = old.dtype
        except TypeError:  # h5py knows no such type
            if stored.detect_class(h5py.h5t.REFERENCE):
                raise DatasetFileCorruptError(f"{what} in {self._what} holds {_CUSTOM_REFERENCES}") from None
            dtype = None
        if dtype is None or not dtype.hasobject:
            content = np.empty(old.shape, np.dtype((np.void, stored.get_size())))
            old.read(content, mtype=stored)
            new.write(content, mtype=stored)
            return
        values, memory = _buffer(old.shape, dtype), h5py.h5t.py_create(dtype)
        old.read(values, mtype=memory)
        self._renew(values, dtype, what)
        new.write(values, mtype=memory)

    def _renew(self, values: npt.NDArray[Any], dtype: np.dtype[Any], what: str) -> None:
        """Lets references lead to the same objects of the new file, in place."""
        if not holds_references(dtype):
            return
        if dtype.subdtype is not None:
            self._renew(values, dtype.base, what)
        elif dtype.names is not None:
            for name in dtype.names:
                self._renew(values[name], dtype[name], what)
        elif isinstance(element := h5py.check_vlen_dtype(dtype), np.dtype):
            for each in values.flat:
                self._renew(each, element, what)
        else:
            for place, reference in np.ndenumerate(values):
                values[place] = self._renewed(reference, what)

    def _renewed(self, reference: Any, what: str) -> Any:
        if not reference:
            return reference
        try:
            path = self._paths.get(address(h5py.h5r.dereference(reference, self._source.id)))
        except (ValueError, KeyError, RuntimeError, OSError):  # what was removed after it was referred to
            path = None
        if path is None:
            raise DatasetFileCorruptError(
                f"{what} in {self._what} holds a reference to what has no name in the file any more: it would lead "
                "nowhere in a new one; give the object a name, or remove the reference"
            )
        if isinstance(reference, h5py.RegionReference):
            region = h5py.h5r.get_region(reference, self._source.id)
            return h5py.h5r.create(self._made.id, encoded(path), h5py.h5r.DATASET_REGION, region)
        return h5py.h5r.create(self._made.id, encoded(path), h5py.h5r.OBJECT)


def encoded(path: str) -> bytes:
    """A path as HDF5 has it."""
    return path.encode(errors="surrogateescape")


def _buffer(shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """An array that HDF5 can fill with values of a type, which may be arrays themselves."""
    return np.empty((*shape, *dtype.shape), dtype.base)
