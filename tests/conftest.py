"""Real servers, and an empty store of each kind, for all tests."""

import signal

import hypothesis
import pytest

hypothesis.settings.register_profile("untimed", deadline=None)  # how long a test takes says how busy the machine is
hypothesis.settings.load_profile("untimed")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell leaves it for what it starts with "&"
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest.register_assert_rewrite("datastack_fs.testing")  # its asserts show their values, as the tests' own do

from harness.fixtures import fake_gcs, mongod, seaweed, web_server  # noqa: E402
from harness.stores import local_store, store  # noqa: E402
from harness.third_parties import third_party  # noqa: E402


@pytest.fixture(autouse=True, scope="session")
def cache_folder(tmp_path_factory):
    """The cache of indexes of this run, its child processes among it; never that of the user."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("DATASTACK_CACHE", str(folder))
        yield folder


__all__ = ["cache_folder", "fake_gcs", "local_store", "mongod", "seaweed", "store", "third_party", "web_server"]
