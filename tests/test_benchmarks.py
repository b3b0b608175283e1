"""The benchmarks run, and tell wrong bytes from right ones."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

OTHER_BYTES = """
from benchmarks.case import Case

def digests(content):
    def start(count):
        yield
        yield
        return [content] * count
    return start

case = Case("one byte", unit="read", units=2)
case.limit("limit", digests(1))
case.peer("the same, fewer", digests(1), 1)
case.run(2, print)
assert not case.failed
case.ours("another", digests(2), 1.5)
case.run(1, print)
assert case.failed
"""


def run(*arguments):
    command = [sys.executable, "-W", "ignore", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_a_workload_runs_and_writes_its_page(tmp_path):
    done = run("-m", "benchmarks", "hdf5_local", "--quick", "--rounds=1", f"--output={tmp_path}")
    assert done.returncode == 0, done.stdout + done.stderr
    page = (tmp_path / "RESULTS.md").read_text()
    assert "LIMIT: fancy index" in page
    assert "failed" not in page
    assert (tmp_path / "RESULTS.svg").stat().st_size > 1000


def test_a_run_with_other_bytes_than_the_limits_fails():
    done = run("-c", OTHER_BYTES)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WRONG BYTES" in done.stdout


def test_every_workload_is_found_by_its_name():
    done = run("-m", "benchmarks", "--list")
    names = {line.split()[0] for line in done.stdout.splitlines()}
    assert names == {path.stem for path in (ROOT / "benchmarks/workloads").glob("[a-z]*.py")}, done.stderr
