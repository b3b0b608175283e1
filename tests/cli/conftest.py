"""A working folder of its own for each test of the command, and a way to run it."""

import json
from dataclasses import dataclass

import pytest
from click.testing import CliRunner

from datastack_fs.cli.app import app
from harness.folders import here

__all__ = ["here", "run"]


@pytest.fixture(autouse=True)
def without_configuration(here):
    """Each test works in an empty folder."""


@dataclass
class Ran:
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str
    bytes_: bytes

    @property
    def json(self):
        return json.loads(self.out)


@pytest.fixture
def run():
    def run(*arguments, code=0, **options):
        result = CliRunner().invoke(app, [str(argument) for argument in arguments], **options)
        assert result.exit_code == code, result.output
        return Ran(result.exit_code, result.stdout, result.stderr, result.stdout_bytes)

    return run
