"""The cluster, for all tests here."""

from harness.ray_cluster import cluster, no_reads_here, shared_store

__all__ = ["cluster", "no_reads_here", "shared_store"]
