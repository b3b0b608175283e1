"""Samples as text and as pictures."""

import numpy as np
import pytest

from datastack_fs.cli.drawing import draw, save_picture
from datastack_fs.errors import ConfigError
from datastack_fs.iterators.report.pictures import as_pixels

RAMP = np.arange(16, dtype=np.uint8).reshape(2, 8)


def test_shades_go_from_dark_to_bright():
    assert draw(np.array([[0, 1, 2, 3, 4]])) == "  ░░▒▒▓▓██"


def test_letters_where_there_are_no_blocks():
    drawn = draw(RAMP, encoding="ascii")
    assert drawn.isascii()
    assert drawn.splitlines()[0].startswith("  ..")
    assert drawn.splitlines()[1].endswith("@@")


@pytest.mark.parametrize("columns", [80, 56, 40, 20, 3, 2, 1])
def test_wide_images_are_scaled_down(columns):
    image = np.random.default_rng(1).integers(0, 256, (28, 28), dtype=np.uint8)
    lines = draw(image, columns=columns).splitlines()
    assert max(map(len, lines)) <= max(columns, 2)
    assert len(lines) * 2 == len(lines[0]), "as high as it is wide"


def test_half_blocks_have_two_pixels_a_character():
    red, green = (255, 0, 0), (0, 255, 0)
    drawn = draw(np.array([[red, green], [green, red], [red, red]], dtype=np.uint8), colors=True)
    lines = drawn.split("\n")
    assert lines[0] == ("\x1b[38;2;255;0;0m\x1b[48;2;0;255;0m▀\x1b[0m" + "\x1b[38;2;0;255;0m\x1b[48;2;255;0;0m▀\x1b[0m")
    assert lines[1] == "\x1b[38;2;255;0;0m▀\x1b[0m" * 2


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 1), (4, 6, 3), (4, 6, 4), (3, 4, 6), (1, 4, 6)])
def test_what_is_an_image(shape):
    pixels = as_pixels(np.zeros(shape))
    assert pixels.shape[:2] == (4, 6)
    assert pixels.shape[2] in (1, 3)


@pytest.mark.parametrize(
    "sample", [np.zeros(5), np.zeros((2, 2, 2, 2)), np.zeros((0, 3)), np.array([["a"]]), 7.5, "owl"]
)
def test_anything_else_is_printed(sample):
    assert as_pixels(sample) is None
    assert draw(sample) == np.array2string(np.asarray(sample), threshold=200)


@pytest.mark.parametrize("image", [np.full((2, 2), 7), np.array([[np.nan, 1.0]]), np.array([[True, False]])])
def test_odd_images_are_drawn(image):
    assert len(draw(image).splitlines()) == len(image)


def test_bytes_keep_their_range():
    assert as_pixels(np.array([[0, 51]], dtype=np.uint8)).ravel().tolist() == [0.0, 0.2]


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 3), (8,)])
def test_a_picture(shape, tmp_path):
    save_picture(np.random.default_rng(1).random(shape), "title", str(tmp_path / "a.png"))
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_no_picture_of_what_is_none(tmp_path):
    with pytest.raises(ConfigError, match=r"shape \(2, 2, 2, 2\) is no image and no curve"):
        save_picture(np.zeros((2, 2, 2, 2)), "title", str(tmp_path / "a.png"))
