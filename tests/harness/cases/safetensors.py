"""safetensors files."""

import json

import numpy as np

from harness.cases import FormatCase

KINDS = {"int16": "I16", "int64": "I64", "float32": "F32"}


def cases():
    """Found by the usual names, and said by name."""
    images = np.arange(60, dtype=np.int16).reshape(10, 3, 2)
    labels, weights = np.arange(10) % 3, np.linspace(0, 1, 10, dtype=np.float32)
    content = saved({"images": images, "labels": labels, "weights": weights})
    labelled = [(image, label, None) for image, label in zip(images, labels, strict=True)]
    tagged = [((label, weight), None, weight) for label, weight in zip(labels, weights, strict=True)]
    options = {"sample": ["labels", "weights"], "tag": "weights"}
    name = "a.safetensors"
    return [
        FormatCase("safetensors", name, {name: content}, labelled, format="safetensors"),
        FormatCase("safetensors, named", name, {name: content}, tagged, options, format="safetensors"),
    ]


def saved(tensors):
    """Arrays as a safetensors file."""
    header, body = {"__metadata__": {"made by": "a test"}}, b""
    for name, tensor in tensors.items():
        place = [len(body), len(body) + tensor.nbytes]
        header[name] = {"dtype": KINDS[tensor.dtype.name], "shape": list(tensor.shape), "data_offsets": place}
        body += tensor.tobytes()
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body
