"""The command as a program: help, exit codes, pipes, Ctrl-C, and what -o takes."""

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

import datastack_fs
from datastack_fs import connect
from datastack_fs.cli.app import _COMMANDS, app
from datastack_fs.cli.options import parse_value
from datastack_fs.credentials import EnvironmentText

ROOT = Path(datastack_fs.__file__).parents[1]
COMMAND = [sys.executable, "-m", "datastack_fs.cli"]


def execute(*arguments, **options):
    """Runs the command as a program of its own."""
    settings = {"capture_output": True, "text": True, "check": False, "timeout": 60, **options}
    return subprocess.run([*COMMAND, *arguments], **settings)


@pytest.fixture(autouse=True)
def path(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.mark.parametrize("command", _COMMANDS)
def test_every_command_has_help_with_an_example(run, command, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    monkeypatch.setenv("DATASTACK_STORAGE", "mongodb://ann:hunter2@host/lab")
    out = run(command, "--help").out
    assert f"\nExample:\n  datastack-fs {command}" in out
    assert "hunter2" not in out


def test_the_help_lists_the_commands(run):
    out = run("--help").out
    positions = [out.index(f"\n  {command} ") for command in _COMMANDS]
    assert positions == sorted(positions)
    assert "..." not in out.partition("Commands:")[2].partition("Example:")[0], "no summary is cut"


def test_an_unknown_command_is_misuse(run):
    assert "No such command 'list'" in run("list", code=2).err


def test_the_version(run):
    assert run("--version").out == f"datastack-fs, version {datastack_fs.__version__}\n"


# As a program.


def test_success_and_failure():
    done = execute("ls", "memory://x")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = execute("info", "a")
    assert done.returncode == 1
    assert done.stderr.startswith("error: a is not in file://")
    assert "Traceback" not in done.stderr
    assert execute("ls", "--nonsense").returncode == 2


def test_the_traceback_comes_with_debug():
    done = execute("--debug", "info", "a")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "ResourceNotFoundError: a is not in file://" in done.stderr


def test_without_click_it_says_what_to_install():
    code = "import sys; sys.modules['click'] = None; from datastack_fs.cli import main; main(['ls'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "error: the command needs click: pip install 'datastack-fs[cli]'\n"


def test_a_closed_pipe_is_quiet(here):
    connector = connect("./datasets")
    for number in range(2000):
        connector.set_resource(f"{'long' * 40}/{number:06}", b"")
    with subprocess.Popen([*COMMAND, "ls"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == 141


def test_ctrl_c_ends_it_with_130_and_leaves_nothing(here):
    with subprocess.Popen(
        [*COMMAND, "put", "-", "birds/owl"], stdin=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdin.write(b"x" * (4 << 20))
        process.stdin.flush()
        wait_for(lambda: list(here.glob("datasets/birds/.datastack-tmp-*")))
        process.send_signal(signal.SIGINT)
        error = process.stderr.read().decode()
        assert process.wait(30) == 130
    assert "Traceback" not in error
    assert error.strip() == "interrupted"
    assert [path for path in here.rglob("*") if path.is_file()] == []


def wait_for(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline


def test_bytes_to_the_standard_output_are_exact(here):
    content = bytes(range(256)) * 5000
    connect("./datasets").set_resource("a", content)
    assert execute("get", "a", "-", text=False).stdout == content


def test_progress_is_shown_on_a_terminal_only(here):
    connect("./datasets").set_resource("a", b"x" * (4 << 20))
    assert execute("cp", "a", "--to", "./other").stderr == ""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    done = execute("cp", "a", "--to", "./other", capture_output=False, stdout=subprocess.PIPE, stderr=slave)
    shown = os.read(master, 1 << 16).decode()
    os.close(slave)
    os.close(master)
    assert done.returncode == 0
    assert "a:" in shown
    assert "4.19M" in shown


@pytest.mark.parametrize(("encoding", "shown"), [("utf-8", "łoś"), ("ascii", "łoś"), ("latin-1", r"\u0142o\u015b")])
def test_output_that_the_terminal_cannot_show(here, encoding, shown):
    """An ASCII terminal is taken for a misconfigured UTF-8 one, as click does."""
    connect("./datasets").set_resource("łoś", b"")
    done = execute("ls", env={**os.environ, "PYTHONIOENCODING": encoding}, text=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode("utf-8" if encoding == "ascii" else encoding) == f"{shown}\n"


# The edge.


def test_an_unexpected_error_is_one_line(run, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("two\nlines of mongodb://ann:hunter2@host/lab")

    monkeypatch.setattr("datastack_fs.config.connect", fail)
    assert run("ls", code=1).err == (
        "error: unexpected RuntimeError: two lines of mongodb://ann:***@host/lab (--debug shows where)\n"
    )


def test_a_connector_option_of_the_wrong_kind_is_one_line(run):
    assert run("ls", "s3://lab", "-o", "deadline=soon", code=1).err.count("\n") == 1


def test_verbose_tells_of_retries(run):
    ran = run("-v", "ls", "s3://lab", "-o", "endpoint_url=http://127.0.0.1:9", "-o", "deadline=0.3", "-o", "key=a",
              "-o", "secret=hunter2", code=1)  # fmt: skip
    assert "error: " in ran.err
    assert "hunter2" not in ran.err


# What -o takes.


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8", 8),
        ("0.5", 0.5),
        ("1e3", "1e3"),
        ("true", True),
        ("no", False),
        ("null", None),
        ("", ""),
        ("abc", "abc"),
        ("'8'", "8"),
        ('"true"', "true"),
        ("'", "'"),
        ("a=b", "a=b"),
        ("p@ss #1", "p@ss #1"),
        ("[x", "[x"),
        ("*x", "*x"),
        ("a: b", "a: b"),
        ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        ("http://127.0.0.1:8333", "http://127.0.0.1:8333"),
    ],
)
def test_the_value_of_an_option(text, value):
    found = parse_value(text)
    assert (type(found), found) == (type(value), value)


def test_an_option_may_name_a_variable(monkeypatch):
    monkeypatch.setenv("LAB_SECRET", "hunter2")
    found = parse_value("${LAB_SECRET}")
    assert isinstance(found, EnvironmentText)
    assert "hunter2" not in repr(found)


@pytest.mark.parametrize("pair", ["hunter2", "=hunter2", "a b=hunter2"])
def test_an_option_without_a_key_is_misuse_and_not_shown(pair):
    result = CliRunner().invoke(app, ["ls", "-o", pair])
    assert result.exit_code == 2
    assert "expected KEY=VALUE" in result.output
    assert "hunter2" not in result.output
