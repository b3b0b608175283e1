"""HDF5 files of all kinds, drawn by hypothesis."""

from __future__ import annotations

import tempfile
from typing import Any

import h5py
import numpy as np
from hypothesis import strategies as st

TYPES: list[Any] = [
    "u1",
    "<i2",
    ">i4",
    "<f8",
    ">f4",
    "c8",
    "?",
    "S5",
    "V3",
    [("x", "<f4"), ("at", ">i2", (2,)), ("name", "S3")],
    h5py.enum_dtype({"owl": 0, "wren": 7}, basetype="i2"),
    h5py.string_dtype(),
    h5py.string_dtype("ascii", 4),
    h5py.vlen_dtype(np.dtype("<i4")),
    np.dtype(("<i2", (2, 2))),
    h5py.ref_dtype,
    h5py.regionref_dtype,
    [("to", h5py.ref_dtype), ("axis", "<u4")],
    h5py.vlen_dtype(h5py.ref_dtype),
]

datasets = st.fixed_dictionaries(
    {
        "dtype": st.integers(0, len(TYPES) - 1),
        "shape": st.one_of(st.none(), st.lists(st.integers(0, 7), max_size=3).map(tuple)),
        "layout": st.sampled_from(["contiguous", "compact", "chunked", "gzip", "lzf", "checked"]),
        "grows": st.booleans(),
        "fill": st.booleans(),
        "written": st.sampled_from(["all", "some", "none"]),
        "attribute": st.integers(-1, len(TYPES) - 1),
        "group": st.sampled_from(["/", "/a", "/a/b"]),
    }
)
files = st.fixed_dictionaries(
    {
        "libver": st.sampled_from(["earliest", "v108", "latest"]),
        "ordered": st.booleans(),
        "userblock": st.sampled_from([0, 512]),
        "datasets": st.lists(datasets, max_size=6),
        "links": st.lists(
            st.sampled_from(["soft", "dangling", "external", "hard", "cycle", "type", "scale"]), max_size=6
        ),
        "seed": st.integers(0, 99),
    }
)


def file_of(drawn: dict[str, Any]) -> bytes:
    """The file that was drawn."""
    rng = np.random.default_rng(drawn["seed"])
    options = {"libver": drawn["libver"], "track_order": drawn["ordered"], "userblock_size": drawn["userblock"]}
    with tempfile.NamedTemporaryFile(suffix=".h5") as stream:  # h5py writes to a BytesIO less than HDF5 says it did
        with h5py.File(stream.name, "w", **options) as file:
            _fill(file, drawn, rng)
        return stream.read()


def _fill(file: h5py.File, drawn: dict[str, Any], rng: np.random.Generator) -> None:
    ordered = drawn["ordered"]
    file.create_group("z", track_order=ordered)
    file.create_group("a", track_order=ordered).create_group("b", track_order=ordered)
    file["target"] = np.arange(12.0).reshape(3, 4)
    for number, dataset in enumerate(drawn["datasets"]):
        _add(file, f"{dataset['group'].rstrip('/')}/d{number}", dataset, rng)
    for number, kind in enumerate(drawn["links"]):
        _link(file, f"z/{kind}{number}", kind)


def _add(file: h5py.File, name: str, drawn: dict[str, Any], rng: np.random.Generator) -> None:
    dtype, shape = np.dtype(TYPES[drawn["dtype"]]), drawn["shape"]
    if shape is None:
        made = file.create_dataset(name, data=h5py.Empty("f4"))
    else:
        made = _created(file, name, dtype, drawn)
        rows = {"all": slice(None), "some": slice(0, 1), "none": slice(0, 0)}[drawn["written"]]
        if not shape:
            rows = ()
        is_vlen = h5py.check_vlen_dtype(dtype) is not None
        if drawn["written"] != "none" and 0 not in shape:
            values = _values(file, dtype, shape, rng)
            if is_vlen:
                made.id.write(h5py.h5s.ALL, h5py.h5s.ALL, values, h5py.h5t.py_create(dtype))
            else:
                made[rows] = values[rows]
    if drawn["attribute"] >= 0:
        kind = np.dtype(TYPES[drawn["attribute"]])
        made.attrs.create("of", _values(file, kind, (2,), rng), (2, *kind.shape), kind)
        made.attrs["nothing"] = h5py.Empty("i4")


def _created(file: h5py.File, name: str, dtype: np.dtype[Any], drawn: dict[str, Any]) -> h5py.Dataset:
    shape, layout = drawn["shape"], drawn["layout"]
    is_chunked = bool(shape) and all(shape) and layout not in ("contiguous", "compact")
    options: dict[str, Any] = {}
    if is_chunked:
        options["chunks"] = tuple(max(1, size // 2) for size in shape)
        options["maxshape"] = (None, *shape[1:]) if drawn["grows"] else None
        options["fletcher32"] = layout == "checked" and not dtype.hasobject
        options["compression"] = layout if layout in ("gzip", "lzf") else None
    if drawn["fill"] and dtype.kind in "iuf" and dtype.subdtype is None:
        options["fillvalue"] = 3
    if layout == "compact" and not dtype.hasobject and dtype.subdtype is None:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_layout(h5py.h5d.COMPACT)
        kind = h5py.h5t.py_create(dtype, logical=True)
        space = h5py.h5s.create_simple(shape) if shape else h5py.h5s.create(h5py.h5s.SCALAR)
        return h5py.Dataset(h5py.h5d.create(file.id, name.encode(), kind, space, plist))
    return file.create_dataset(name, shape, dtype, **options)


def _values(file: h5py.File, dtype: np.dtype[Any], shape: tuple[int, ...], rng: np.random.Generator) -> Any:
    if dtype.subdtype is not None:
        return rng.integers(0, 99, (*shape, *dtype.shape)).astype(dtype.base)
    values = np.empty(shape, dtype)
    for place in np.ndindex(shape):
        values[place] = _value(file, dtype, rng)
    return values


def _value(file: h5py.File, dtype: np.dtype[Any], rng: np.random.Generator) -> Any:
    target, number = file["target"], int(rng.integers(0, 4))
    if h5py.check_string_dtype(dtype) is not None:
        return ["owl", "wren", "", "é"][number] if dtype.hasobject else [b"owl", b"wren", b"", b"jay"][number]
    element = h5py.check_vlen_dtype(dtype)
    if element is not None:
        if h5py.check_ref_dtype(element) is not None:
            return np.array([target.ref, file["a"].ref][: number % 3], dtype=element)
        return np.arange(number, dtype=element)
    reference = h5py.check_ref_dtype(dtype)
    if reference is h5py.Reference:
        return [target.ref, file["a/b"].ref, file.ref, h5py.Reference()][number]
    if reference is h5py.RegionReference:
        return target.regionref[0:2, number] if number else h5py.RegionReference()
    if dtype.names:
        if "to" in dtype.names:
            return (target.ref, number)
        return (number, (1, number), b"owl"[:number])
    return (
        np.frombuffer(rng.bytes(dtype.itemsize), "V1").view(dtype)[0] if dtype.kind == "V" else dtype.type(number % 2)
    )


def _link(file: h5py.File, place: str, kind: str) -> None:
    if kind == "soft":
        file[place] = h5py.SoftLink("/target")
    elif kind == "dangling":
        file[place] = h5py.SoftLink("nowhere/at all")
    elif kind == "external":
        file[place] = h5py.ExternalLink("/etc/passwd", "/a")
    elif kind == "hard":
        file[place] = file["target"]
    elif kind == "cycle":
        file[place] = file["a"]
    elif kind == "type":
        kind_of = np.dtype([("x", "<i4"), (f"y{place[-1]}", "f4")])
        early = file.create_group(f"a/before{place[-1]}")
        file[place] = kind_of
        file[place].attrs["what"] = "a point"
        early.create_dataset("points", (3,), file[place])
        early.attrs.create("of", np.zeros(2, kind_of), dtype=file[place])
    else:
        file[place] = np.arange(3.0)
        file[place].make_scale(place)
        file["target"].dims[0].attach_scale(file[place])
