"""npz files."""

import io

import numpy as np

from harness.cases import FormatCase

IMAGES = np.arange(60, dtype=np.int16).reshape(10, 3, 2)
LABELS = np.arange(10) % 3


def cases():
    """Found by the usual names, said by name, and compressed."""
    labelled = [(image, label, None) for image, label in zip(IMAGES, LABELS, strict=True)]
    several = [({"a": a, "b": b}, (b, a), None) for a, b in zip(IMAGES, LABELS, strict=True)]
    options = {"sample": {"a": "images", "b": "labels"}, "target": ["labels", "images"]}
    return [
        case("npz", saved(), labelled),
        case("npz, several arrays", saved(), several, options),
        case("npz, compressed", saved(np.savez_compressed), labelled),
    ]


def case(name, content, expected, options=None):
    """A case of one file."""
    return FormatCase(name, "a.npz", {"a.npz": content}, expected, options or {}, format="npz")


def saved(save=np.savez):
    """Images and labels as an npz file."""
    stream = io.BytesIO()
    save(stream, images=IMAGES, labels=LABELS)
    return stream.getvalue()
