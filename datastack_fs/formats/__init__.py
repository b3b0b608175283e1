"""File formats as dataset iterators, one file each: the floor where storage and samples meet."""
