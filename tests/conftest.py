"""Real servers, and an empty store of each kind, for all tests."""

import signal

import pytest

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell leaves it for what it starts with "&"
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest.register_assert_rewrite("datastack_fs.testing")  # its asserts show their values, as the tests' own do

from harness.fixtures import fake_gcs, mongod, seaweed, web_server  # noqa: E402
from harness.stores import store  # noqa: E402
from harness.third_parties import third_party  # noqa: E402

__all__ = ["fake_gcs", "mongod", "seaweed", "store", "third_party", "web_server"]
