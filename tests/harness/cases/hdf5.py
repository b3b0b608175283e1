"""HDF5 files."""

import io

import h5py
import numpy as np

from harness.cases import FormatCase

IMAGES = np.arange(150, dtype=np.int16).reshape(10, 5, 3)
LABELS = np.arange(10) % 3
SITES = [f"Höhe {number}" for number in range(10)]
RECORDS = np.array([(n, n / 2, b"n%d" % n) for n in range(10)], dtype=[("id", ">i4"), ("place", "f8"), ("code", "S3")])


def cases():
    """Found by the usual names and compressed; several names and a group; text and records; plain chunks across."""
    labelled = [(image, label, None) for image, label in zip(IMAGES, LABELS, strict=True)]
    several = [
        ({"left": {"images": image}, "right": label}, (label, site), site)
        for image, label, site in zip(IMAGES, LABELS, SITES, strict=True)
    ]
    options = {"sample": {"left": "train", "right": "train/labels"}, "target": ["train/labels", "train/sites"]}
    options["tag"] = "sites"
    recorded_rows = [(site, record, "all") for site, record in zip(SITES, RECORDS, strict=True)]
    return [
        case("hdf5, gzip", saved(packed), labelled),
        case("hdf5, several names", saved(grouped, libver="latest"), several, options),
        case("hdf5, records", saved(recorded), recorded_rows, {"target": "y", "tag": "part"}),
        case("hdf5, chunks across", saved(across), labelled),
    ]


def case(name, content, expected, options=None):
    """A case of one file."""
    return FormatCase(name, "a.h5", {"a.h5": content}, expected, options or {}, format="hdf5")


def saved(build, **options):
    """The HDF5 file that ``build`` fills."""
    stream = io.BytesIO()
    with h5py.File(stream, "w", **options) as file:
        build(file)
    return stream.getvalue()


def packed(file):
    file.create_dataset("images", data=IMAGES, chunks=(4, 5, 3), compression="gzip", shuffle=True)
    file["labels"] = LABELS


def grouped(file):
    group = file.create_group("train")
    group["images"], group["labels"], group["sites"] = IMAGES, LABELS, SITES
    group["more/nothing"] = LABELS
    file["sites"] = h5py.SoftLink("/train/sites")


def recorded(file):
    file.create_dataset("x", data=SITES, chunks=(3,))
    file.create_dataset("y", data=RECORDS, chunks=(4,), fletcher32=True)
    file["part"] = "all"


def across(file):
    file.create_dataset("images", data=IMAGES, chunks=(4, 2, 2))
    file.create_dataset("labels", data=LABELS, chunks=(7,), maxshape=(None,))
