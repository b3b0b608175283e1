"""A store that notes what it is asked for."""

from datastack_fs.connectors import MemoryStorageConnector


class CountingStore(MemoryStorageConnector):
    """A store in memory; ``requests`` holds the ranges of each call."""

    def __init__(self, name):
        super().__init__(name)
        self.requests = []

    def _read_ranges(self, info, ranges):
        self.requests.append(list(ranges))
        return super()._read_ranges(info, ranges)

    @property
    def fetched(self):
        """Bytes in all requests."""
        return sum(stop - start for ranges in self.requests for start, stop in ranges)
