"""The page of a report as a browser shows it; the pictures stay among the run's artefacts."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datastack_fs import load_dataset, report

TEAL = {"light": (0x00, 0x79, 0x6B), "dark": (0x4D, 0xB6, 0xAC)}
GROUND = {"light": (0xFF, 0xFF, 0xFF), "dark": (0x14, 0x19, 0x1B)}
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars"),
    *("--enable-logging=stderr", "--v=0"),
]


@pytest.fixture(scope="module")
def digits():
    return report(load_dataset("digits", storage="memory://report-page").shuffle(1), seconds=0.01)


@pytest.fixture(scope="module")
def artefacts():
    folder = Path(os.environ.get("DATASTACK_TEST_ARTEFACTS") or Path(__file__).parents[2] / "artefacts")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def chromium(tmp_path):
    """Runs the browser with a profile of its own, and gives what it printed."""
    command = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if command is None:
        pytest.fail("the pages are looked at in Chromium: apt-get install chromium", pytrace=False)

    def run(*arguments):
        return subprocess.run(
            [command, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )

    return run


def share_of(pixels, color):
    return np.all(np.abs(pixels.astype(int) - color) <= 3, axis=2).mean()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_of_digits(digits, chromium, artefacts, tmp_path, scheme):
    page, picture = tmp_path / "digits.html", artefacts / f"report-digits-{scheme}.png"
    digits.save(page)
    picture.unlink(missing_ok=True)
    done = chromium(
        "--window-size=1000,1900",
        f"--blink-settings=preferredColorScheme={0 if scheme == 'dark' else 1}",
        f"--screenshot={picture}",
        page.as_uri(),
    )
    assert "CONSOLE" not in done.stderr
    with Image.open(picture) as image:
        pixels = np.asarray(image.convert("RGB"))
    assert pixels.shape == (1900, 1000, 3)
    assert 0.3 < share_of(pixels, GROUND[scheme]) < 0.95
    assert share_of(pixels, TEAL[scheme]) > 0.02, "no bars"
    assert share_of(pixels, (0, 0, 0)) > 0.03, "no images"
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 30


def test_the_browser_finds_the_facts_and_no_fault(digits, chromium, tmp_path):
    page = tmp_path / "digits.html"
    digits.save(page)
    done = chromium("--dump-dom", page.as_uri())
    assert "CONSOLE" not in done.stderr
    dom = done.stdout
    for fact in ("digits/preprocessed/train.h5", "memory://report-page", "uint8 (8, 8)", digits.checksum):
        assert fact in dom
    assert dom.count("<img") == 24
    assert len(re.findall('<rect class="bar"', dom)) == 20, "10 classes, of the shuffle and of what it stands on"


def test_a_fault_would_be_noticed(chromium, tmp_path):
    page = tmp_path / "faulty.html"
    page.write_text("<p>before</p><script>no_such_function()</script>")
    assert "CONSOLE" in chromium("--dump-dom", page.as_uri()).stderr


def test_a_narrow_page_is_no_wider_than_its_window(digits, chromium, artefacts, tmp_path):
    """Chromium's narrowest window has 500 pixels: the page is shown in a frame of 360."""
    page, frame, picture = tmp_path / "digits.html", tmp_path / "frame.html", artefacts / "report-digits-narrow.png"
    digits.save(page)
    frame.write_text(
        "<style>body { margin: 0; background: #f0f } iframe { width: 360px; height: 1600px; border: 0 }</style>"
        f"<iframe src='{page.as_uri()}'></iframe>"
    )
    chromium("--window-size=500,1600", f"--screenshot={picture}", frame.as_uri())
    with Image.open(picture) as image:
        pixels = np.asarray(image.convert("RGB"))
    inside = pixels[:, :360]
    assert share_of(inside, TEAL["light"]) > 0.02
    assert share_of(inside[:, 352:], GROUND["light"]) > 0.99, "nothing reaches into the margin"
