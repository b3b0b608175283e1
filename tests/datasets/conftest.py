"""A working folder of its own, for the tests that ask for it."""

from harness.folders import here

__all__ = ["here"]
