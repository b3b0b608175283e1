"""A small dataset in MNIST's format."""

import gzip
import hashlib
import struct

import numpy as np

from datastack_fs.connectors import FileStorageConnector
from datastack_fs.datasets import MNISTFactory

COUNTS = {"train": 250, "test": 30}


def images(split):
    return np.random.default_rng(len(split)).integers(0, 255, (COUNTS[split], 28, 28), dtype=np.uint8)


def labels(split):
    return (np.arange(COUNTS[split]) * 7 % 10).astype(np.uint8)


def idx(array):
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def files():
    """The four published files."""
    found = {}
    for split, published in (("train", "train"), ("test", "t10k")):
        found[f"{published}-images-idx3-ubyte.gz"] = gzip.compress(idx(images(split)), mtime=0)
        found[f"{published}-labels-idx1-ubyte.gz"] = gzip.compress(idx(labels(split)), mtime=0)
    return found


def serve(web_server):
    """Puts the files on a server."""
    for name, content in files().items():
        web_server.put(f"mirror/{name}", content)


def definitions(url):
    """What to retrieve from that server."""
    checksums = {name: f"md5:{hashlib.md5(content).hexdigest()}" for name, content in files().items()}
    return MNISTFactory.mirror(f"{url}/mirror/", checksums)


def prepare(folder, url):
    """Prepares the dataset in a folder: what child processes do."""
    connector = FileStorageConnector(folder)
    return MNISTFactory(connector, resource_definitions=definitions(url)).prepare()
