"""JSON Lines."""

import gzip
import json

from harness.cases import FormatCase

OBJECTS = [{"text": f"bird {number} \u2028", "label": number % 3, "meta": {"x": [number, 0.5]}} for number in range(7)]


def cases():
    """Whole objects, and values by their keys from a gzipped file."""
    lines = "\n".join(json.dumps(each, ensure_ascii=False) for each in OBJECTS).encode()
    packed = gzip.compress(lines + b"\r\n\n \n", mtime=0)
    whole = [(each, None, None) for each in OBJECTS]
    picked = [((each["text"], each["meta"]["x"]), each["label"], each["meta"]) for each in OBJECTS]
    options = {"sample": ["text", "meta.x"], "target": "label", "tag": "meta"}
    return [
        FormatCase("jsonl", "a.jsonl", {"a.jsonl": lines}, whole, format="jsonl", is_text=True),
        FormatCase(
            "jsonl, picked", "a.jsonl.gz", {"a.jsonl.gz": packed}, picked, options, format="jsonl", is_text=True
        ),
    ]
