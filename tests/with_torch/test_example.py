"""The example of training: on every store it has the same losses, killed or not, and goes on elsewhere."""

import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from datastack_fs import connect
from datastack_fs.datasets import FashionMNISTFactory
from harness.mirrors import files
from harness.stores import BUCKET, unique

EXAMPLE = Path(__file__).parents[2] / "examples" / "train_fashion_mnist.py"
STORES = ["file", "s3", "gcs", "gridfs"]
OPTIONS = ["--epochs", "2", "--batch-size", "16", "--limit", "200", "--checkpoint-every", "1", "--log-every", "1"]
STEPS = 2 * (200 // 16)


@pytest.fixture(scope="module")
def folder(seaweed, fake_gcs, mongod, tmp_path_factory):
    """A working folder with a profile for each store, all of which have the images."""
    folder = tmp_path_factory.mktemp("work")
    seaweed.make_bucket(BUCKET), fake_gcs.make_bucket(BUCKET)
    profiles = {
        "file": (str(folder / "data"), {}),
        "s3": (f"s3://{BUCKET}/{unique('fashion')}", seaweed.options()),
        "gcs": (f"gs://{BUCKET}/{unique('fashion')}", fake_gcs.options()),
        "gridfs": (f"{mongod.url}/{BUCKET}", {"bucket": unique("fashion")}),
    }
    lines = ["storages:"]
    for name, (url, options) in profiles.items():
        lines += [f"  {name}:", f"    url: {url}", "    options:" if options else ""]
        lines += [f"      {key}: {value!r}" for key, value in options.items()]
    (folder / "datastack.yaml").write_text("\n".join(lines))
    (folder / "mirror").mkdir()
    for name, content in files().items():
        (folder / "mirror" / name).write_bytes(content)
    mirror = FashionMNISTFactory.mirror(str(folder / "mirror"), dict.fromkeys(FashionMNISTFactory.checksums))
    for url, options in profiles.values():
        FashionMNISTFactory(connect(url, **options), resource_definitions=mirror).prepare()
    return folder


def start(folder, store, *options):
    command = [sys.executable, str(EXAMPLE), "--storage", store, *OPTIONS, *options]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)


def losses(lines):
    found = re.findall(r"epoch (\d+) step (\d+) loss (\S+)", "".join(lines))
    return {(int(epoch), int(step)): loss for epoch, step, loss in found}


def test_a_job_goes_on_after_a_kill_on_another_store(folder):
    unbroken, _ = start(folder, "file").communicate(timeout=120)
    expected = losses(unbroken)
    assert len(expected) == STEPS
    for number, store in enumerate(STORES):
        checkpoint = ["--checkpoint", f"{store}.pt"]
        job = start(folder, store, *checkpoint)
        last = random.randrange(2, STEPS - 2)
        before = [job.stdout.readline() for _ in range(last)]
        job.kill()
        before += job.communicate()[0].splitlines(keepends=True)
        elsewhere = STORES[number - 1]
        after, _ = start(folder, elsewhere, *checkpoint, "--workers", str(number % 2)).communicate(timeout=120)
        assert "goes on from" in after
        done, rest = losses(before), losses(after)
        assert len(done) < STEPS
        assert {**done, **rest} == expected
        assert all(expected[place] == loss for place, loss in done.items())
        assert after.splitlines()[-1] == unbroken.splitlines()[-1]
