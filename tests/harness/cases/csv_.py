"""Tables of text."""

import gzip

from harness.cases import FormatCase

ROWS = [
    (4, 0.5, 'a "big" owl', 0),
    (2, 1.25, "wren,\nsmall", 1),
    (0, -3.0, "", 2),
    (12, 1e-7, "grünfink", 0),
    (7, 100.0, 'says ""', 1),
]


def cases():
    """With quotes and line ends in fields, gzipped and tabulated, and without a header."""
    columns = ["legs", "weight", "label", "note"]
    lines = [f'{legs},{weight},{label},"{quoted(note)}"' for legs, weight, note, label in ROWS]
    table = "\r\n".join([",".join(columns), *lines, ""]).encode("utf-8-sig")
    whole = [({"legs": legs, "weight": w, "note": note}, label, None) for legs, w, note, label in ROWS]
    plain = "".join(f"{legs}\t{label}\tbird {legs}\n" for legs, _, _, label in ROWS).encode()
    packed = gzip.compress(b"legs\tlabel\tname\n" + plain, mtime=0)
    named = {"sample": ["name", "legs"], "target": "label"}
    tupled = [((f"bird {legs}", legs), label, None) for legs, _, _, label in ROWS]
    bare = {"header": ["a", "b", "c"], "sample": "c", "target": "b", "dtypes": {"b": "int8"}, "delimiter": "\t"}
    return [
        FormatCase("csv, quoted", "a.csv", {"a.csv": table}, whole, format="csv", is_text=True),
        FormatCase("tsv, gzipped", "a.tsv.gz", {"a.tsv.gz": packed}, tupled, named, format="csv", is_text=True),
        FormatCase(
            "csv, bare",
            "a.csv",
            {"a.csv": plain},
            [(s[0], t, n) for s, t, n in tupled],
            bare,
            format="csv",
            is_text=True,
        ),
    ]


def quoted(text):
    """A text as it stands between quotes."""
    return text.replace('"', '""')
