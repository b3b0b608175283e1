"""The contract's tests can fail: a naive connector fails every promise that needs care."""

import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

NAIVE = "TestNaiveStorageConnector"
MUST_FAIL = [
    "test_a_killed_writer_leaves_old_or_new",
    "test_a_reader_never_mixes_versions[deleted]",
    "test_a_reader_never_mixes_versions[longer]",
    "test_a_reader_never_mixes_versions[same size]",
    "test_a_reader_never_mixes_versions[shorter]",
    "test_a_source_that_raises_leaves_the_old[OSError('disk on fire')-new]",
    "test_a_source_that_raises_leaves_the_old[KeyboardInterrupt()-replacing]",
    "test_checks_a_checksum_before_publishing[bytes-md5]",
    "test_checks_a_checksum_before_publishing[generator-sha256]",
    "test_reopening_a_replaced_resource_is_refused",
    "test_the_last_of_concurrent_writers_wins_whole",
    "test_round_trip[1]",
    "test_versions_differ_when_bytes_differ",
]
CHECK_THEN_ACT = "TestCheckThenActStorageConnector"
MUST_FAIL_OF_CHECK_THEN_ACT = [f"test_overwrite_false_lets_exactly_one_create[{size}]" for size in ("small", "large")]
MUST_PASS = ["test_is_a_python_binary_file", "test_lists_by_prefix_in_order", "test_reads_as_bytes_io_does"]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    report = tmp_path_factory.mktemp("naive") / "report.xml"
    module = Path(__file__).with_name("contract_on_naive.py")
    tests = [f"{module}::{NAIVE}::{name}" for name in [*MUST_FAIL, *MUST_PASS]]
    tests += [f"{module}::{CHECK_THEN_ACT}::{name}" for name in MUST_FAIL_OF_CHECK_THEN_ACT]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", f"--junitxml={report}"]
    subprocess.run([*command, *tests], check=False, capture_output=True, timeout=280)
    cases = ET.parse(report).iter("testcase")
    return {
        (case.get("classname").rpartition(".")[2], case.get("name")): case.find("failure") is None
        and case.find("error") is None
        for case in cases
    }


@pytest.mark.parametrize("name", MUST_FAIL)
def test_the_naive_connector_fails(outcomes, name):
    assert outcomes[NAIVE, name] is False


@pytest.mark.parametrize("name", MUST_PASS)
def test_the_naive_connector_passes_what_is_easy(outcomes, name):
    assert outcomes[NAIVE, name] is True


@pytest.mark.parametrize("name", MUST_FAIL_OF_CHECK_THEN_ACT)
def test_who_looks_first_and_writes_later_fails(outcomes, name):
    assert outcomes[CHECK_THEN_ACT, name] is False
