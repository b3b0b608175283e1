"""A report written down: the same facts in each form, and text from the data stays text."""

import json
import zlib
from html.parser import HTMLParser

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from datastack_fs import Report, load_dataset, report
from datastack_fs.errors import DatasetFileCorruptError
from datastack_fs.iterators import DatasetMeta, SequenceDatasetIterator
from datastack_fs.iterators.report.pictures import LARGEST_SIDE, picture
from harness.leaves import OneByOneLeaf, RecordingLeaf

HOSTILE = "</style><script>alert(1)</script><img src=x onerror='alert(2)'>\"&|`*[a](b)\n\n# x\x1b[2J\u202e\ud800\x00"
TAGS = {
    *("html", "head", "meta", "title", "style", "body", "h1", "h2", "dl", "dt", "dd", "pre", "span", "div", "table"),
    *("thead", "tbody", "tr", "th", "td", "p", "b", "ul", "li", "svg", "g", "text", "rect", "figure", "figcaption"),
    *("img", "details", "summary", "footer", "small", "br"),
}


class Page(HTMLParser):
    """The tags, attributes and text of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text = set(), [], ""
        self._open = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs
        if tag not in {"meta", "img", "br"}:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def digits():
    return report(load_dataset("digits", storage="memory://report-written").shuffle(1), seconds=0.01)


def check_written(found):
    """What holds for every report."""
    as_dict = found.to_dict()
    assert json.loads(found.to_json()) == as_dict
    assert yaml.safe_load(found.to_yaml()) == as_dict
    text = found.to_html()
    page = Page(text)
    assert page.tags <= {*TAGS, "title"}
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert not [value for name, value in page.attributes if name in {"src", "href"} and not value.startswith("data:")]
    for form in (text, found.to_markdown(), found.to_json(), found.to_yaml()):
        form.encode()
    assert repr(found).isprintable()
    assert str(found) == found.to_markdown()


def test_every_form_of_a_real_dataset(digits):
    check_written(digits)
    page = Page(digits.to_html())
    for form in (page.text, digits.to_markdown().replace("\\", ""), digits.to_json(), digits.to_yaml()):
        for fact in (
            "digits/preprocessed/train.h5",
            "memory://report-written",
            "hdf5",
            "uint8 (8, 8)",
            digits.checksum,
        ):
            assert fact in form
        assert "└─ HDF5DatasetIterator digits [train]: 1,437 samples" in form
    assert digits.to_html().count("<figure>") == len(digits.examples) == 24
    assert all(f"{each.count} ·" in page.text for each in digits.targets.classes)
    assert digits.to_dict()["targets"]["classes"][3] == {"value": 3, "count": 147, "name": "3"}


def test_the_page_needs_nothing_else(digits):
    page = digits.to_html()
    assert "<script" not in page
    assert "url(" not in page
    assert "@import" not in page
    assert "http:" not in page
    assert "https:" not in page
    assert "default-src 'none'" in page


def test_rows_where_there_are_no_pictures():
    rows = [{"wing": 1.5, "bill": None}, {"wing": 2.25, "site": "north"}]
    found = report(SequenceDatasetIterator(rows, [0, 1]), seconds=0)
    check_written(found)
    assert "1.5" in Page(found.to_html()).text
    assert "| 1 | 2.25 |  | 1 | None | north |" in found.to_markdown()
    assert "<img" not in found.to_html()


def test_problems_stand_in_every_form():
    class Broken(RecordingLeaf):
        def _samples(self, indices):
            raise DatasetFileCorruptError("line <7>")

        _sample = RecordingLeaf._sample

    found = report(Broken(3).map(str), seconds=0)
    check_written(found)
    assert "DatasetFileCorruptError: line &lt;7&gt;" in found.to_html()
    assert "DatasetFileCorruptError: line &lt;7&gt;" in found.to_markdown()
    assert len(found.problems) == 3


def test_hostile_text_stays_text():
    names = (HOSTILE, "b" * 500)
    meta = DatasetMeta(HOSTILE, HOSTILE, tag=HOSTILE, class_names=names)
    samples = [{HOSTILE: HOSTILE, "b": HOSTILE.encode("utf-8", "surrogatepass")}] * 3
    iterator = SequenceDatasetIterator(samples, [0, 1, 0], [HOSTILE, None, ""], meta=meta)
    for stack in (iterator, iterator.view([0, 2], HOSTILE), iterator.map_targets({HOSTILE: HOSTILE, names[1]: "x"})):
        found = report(stack, seconds=0)
        check_written(found)
        assert max(map(len, found.to_markdown().splitlines())) < 2500
        assert not [line for line in found.to_markdown().splitlines() if line.startswith("# x")]
        assert all(line.isprintable() for line in found.tree)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.builds(lambda: 10**5000)
    | st.floats()
    | st.complex_numbers()
    | st.text(max_size=8)
    | st.binary(max_size=5)
    | st.sampled_from(
        [
            np.zeros((2, 0)),
            np.array(["a", ""]),
            np.array([None, 1], dtype=object),
            np.datetime64("NaT"),
            np.timedelta64(5, "s"),
            np.array([(1, 2.5)], dtype=[("a", "i4"), ("b", "f4")])[0],
            np.full((8, 8), np.nan),
            np.ones((8, 9, 3)) * np.inf,
            np.zeros((4, 4), dtype=bool),
            np.float16("inf"),
            np.longdouble("1e4000"),
            np.uint64(2**64 - 1),
            object(),
        ]
    ),
    lambda below: (
        st.lists(below, max_size=4) | st.dictionaries(st.text(max_size=3), below, max_size=4) | st.tuples(below)
    ),
    max_leaves=8,
)


@st.composite
def stacks(draw):
    length = draw(st.integers(0, 6))
    values = st.lists(VALUES, min_size=length, max_size=length)
    name = draw(st.text(max_size=10))
    meta = DatasetMeta(
        name, name, draw(st.none() | st.text(max_size=5)), class_names=draw(st.none() | st.just(("a", "b")))
    )
    iterator = SequenceDatasetIterator(draw(values), draw(values), draw(st.none() | values), meta=meta)
    for kind in draw(
        st.lists(st.sampled_from(["shuffle", "view", "map", "repeat", "add", "zip", "leaf", "memory"]), max_size=4)
    ):
        if kind == "shuffle":
            iterator = iterator.shuffle(1)
        elif kind == "view":
            iterator = iterator.view(range(len(iterator) // 2, len(iterator)), draw(st.text(max_size=5)))
        elif kind == "map":
            iterator = iterator.map(draw(st.sampled_from([str, len, lambda value: value["a"]])))
        elif kind == "repeat":
            iterator = iterator.repeat(draw(st.integers(0, 3)))
        elif kind == "add":
            iterator = iterator + iterator
        elif kind == "zip":
            iterator = iterator.zip(iterator)
        elif kind == "leaf":
            iterator = OneByOneLeaf(len(iterator)).zip(iterator)
    return iterator


@settings(max_examples=60, deadline=None)
@given(stacks())
def test_whatever_a_stack_holds_it_can_be_reported_and_drawn(iterator):
    found = report(iterator, seconds=0.0001)
    check_written(found)
    assert found.tree == tuple(repr(iterator).strip("<>").splitlines()) or len(found.tree) == 1
    iterator.tree()


@pytest.mark.parametrize("ending", [".html", ".md", ".json", ".yaml", ".yml"])
def test_saving(digits, tmp_path, ending):
    path = tmp_path / f"report{ending}"
    path.write_text("old")
    digits.save(path)
    text = path.read_text()
    written = {".html": digits.to_html, ".md": digits.to_markdown, ".json": digits.to_json}.get(ending, digits.to_yaml)
    assert text == written()
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_report_that_fails_to_be_written_leaves_the_old_one(digits, tmp_path, monkeypatch):
    path = tmp_path / "report.md"
    path.write_text("old")
    monkeypatch.setattr(Report, "to_markdown", lambda self: "\ud800")
    with pytest.raises(UnicodeEncodeError):
        digits.save(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_other_endings_are_refused(digits, tmp_path):
    with pytest.raises(ValueError, match=r"a report ends in \.html, \.md, \.json, \.yaml or \.yml"):
        digits.save(tmp_path / "report.pdf")


@pytest.mark.parametrize("shape", [(8, 8), (64, 48), (48, 64, 3), (3, 48, 64), (10, 10, 1), (300, 300), (600, 200, 4)])
@pytest.mark.parametrize("dtype", ["u1", "f4", "i8", "?"])
def test_pictures_are_png_files(shape, dtype):
    import io

    from PIL import Image

    values = np.random.default_rng(1).integers(0, 255, shape).astype(dtype)
    with Image.open(io.BytesIO(picture(values))) as image:
        image.load()
        pixels = np.asarray(image)
    channels_first = len(shape) == 3 and shape[0] == 3
    height, width = shape[1:] if channels_first else shape[:2]
    assert image.mode == ("L" if len(shape) == 2 or shape[-1] == 1 else "RGB")
    if max(height, width) <= LARGEST_SIDE:
        assert pixels.shape[:2] == (height, width)
        if dtype == "u1" and not channels_first:
            assert np.array_equal(pixels, values.squeeze())
    else:
        assert max(pixels.shape[:2]) <= LARGEST_SIDE


@pytest.mark.parametrize(
    "value", [np.zeros((3, 3)), np.zeros((100, 4)), np.zeros((8, 8, 2)), np.zeros(64), "x", [[1] * 8] * 8]
)
def test_what_does_not_look_like_a_picture(value):
    assert picture(value) is None


def test_pictures_of_what_is_no_number():
    assert picture(np.full((8, 8), np.nan)) is not None
    assert zlib.crc32(picture(np.zeros((8, 8)))) == zlib.crc32(picture(np.ones((8, 8))))
