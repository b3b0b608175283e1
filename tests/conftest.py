"""Real servers for all tests."""

from harness.fixtures import *  # noqa: F403
