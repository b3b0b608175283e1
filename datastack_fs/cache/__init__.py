"""Blocks of remote resources kept on this machine's disk, by all its processes together."""
