"""Folders of files, and archives of them."""

import io

import numpy as np
from PIL import Image

from harness.cases import FormatCase
from harness.stores import tarred, zipped

TABLE = b"file,species\nb/2.txt,wren\na/1.txt,owl\nb/1.txt,owl\n"
TAR_PADDING = 10_240  # zeros, of which a block is enough


def cases():
    """Images in folders, texts with a table of labels, and both kinds of archive."""
    images = {f"{kind}/{number}.png": image(number) for kind in ("owl", "wren") for number in range(4)}
    pixels = [pixels_of(content) for content in images.values()]
    targets = [name.startswith("wren") for name in images]
    photos = {f"photos/{name}": content for name, content in images.items()}
    by_folder = list(zip(pixels, targets, photos, strict=True))
    by_name = list(zip(pixels, targets, images, strict=True))
    texts = {f"texts/{name}": f"I am {name}".encode() for name in ("a/1.txt", "b/1.txt", "b/2.txt", "b/3.txt")}
    ordered = [("b/2.txt", 1), ("a/1.txt", 0), ("b/1.txt", 0)]
    by_table = [(f"I am {name}", target, f"texts/{name}") for name, target in ordered]
    contents = {**texts, "texts/labels.csv": TABLE, "other/4.txt": b"no part of it"}
    options = {"labels": "labels.csv", "columns": ("file", "species")}
    return [
        FormatCase("files in folders", "photos/", {**photos, "photosynthesis": b""}, by_folder, needs_listing=True),
        FormatCase("files with a table", "texts/", contents, by_table, options),
        FormatCase("files in a zip", "a.zip", {"a.zip": zipped(images, deflated=True)}, by_name),
        FormatCase("files in a tar", "a.tar", {"a.tar": tarred(images)}, by_name, slack=TAR_PADDING),
    ]


def image(number, kind="PNG", mode="RGB", size=(5, 4), **options):
    """A small image, each of another colour."""
    stream = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(stream, kind, **options)
    return stream.getvalue()


def pixels_of(content):
    """An image as an array."""
    return np.array(Image.open(io.BytesIO(content)))
