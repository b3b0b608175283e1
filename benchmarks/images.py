"""20,000 images of 64 x 64 bytes in HDF5 files, and the shuffled batches of 32 that are read from them."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks.setting import Setting

ROWS = 20_000
SHAPE = (64, 64)
CHUNK_ROWS = 16
BATCH = 32
BATCHES = 64
BUCKET = "images"


class Chunks(NamedTuple):
    """Where the chunks of the file lie."""

    starts: list[int]
    stops: list[int]
    gzip: bool

    def decoded(self, content: Any) -> npt.NDArray[np.uint8]:
        """The rows of a chunk, from its bytes."""
        raw = zlib.decompress(content) if self.gzip else content
        return np.frombuffer(raw, np.uint8).reshape(-1, *SHAPE)


@cache
def array(setting: Setting) -> npt.NDArray[np.uint8]:
    """The images: four random bits in each byte, so that gzip halves them."""
    rng = np.random.default_rng(1)
    return rng.integers(0, 16, (setting.scaled(ROWS), *SHAPE), dtype=np.uint8)


@cache
def path(setting: Setting, *, gzip: bool = False, paged: bool = False) -> Path:
    """The HDF5 file, in the bucket ``images``: the dataset ``images`` in chunks of 16 rows, as h5py writes by default.

    Args:
        setting: the run.
        gzip: compress with level 4.
        paged: keep the metadata together, in pages of 1 MiB.
    """
    import h5py

    folder = setting.objects / BUCKET
    folder.mkdir(exist_ok=True)
    made = folder / f"{'gzip' if gzip else 'raw'}{'-paged' if paged else ''}.h5"
    options: dict[str, Any] = {"fs_strategy": "page", "fs_page_size": 1 << 20} if paged else {}
    with h5py.File(made, "w", **options) as file:
        file.create_dataset(
            "images",
            data=array(setting),
            chunks=(CHUNK_ROWS, *SHAPE),
            compression="gzip" if gzip else None,
            compression_opts=4 if gzip else None,
        )
    return made


@cache
def chunks(made: Path) -> Chunks:
    """The chunk index of a file, which limits know beforehand."""
    import h5py

    found: dict[int, tuple[int, int]] = {}

    def note(chunk: Any) -> None:
        found[chunk.chunk_offset[0] // CHUNK_ROWS] = (chunk.byte_offset, chunk.byte_offset + chunk.size)

    with h5py.File(made) as file:
        file["images"].id.chunk_iter(note)
        gzip = file["images"].compression is not None
    starts, stops = zip(*(found[number] for number in range(len(found))), strict=True)
    return Chunks(list(starts), list(stops), gzip)


def batches(setting: Setting, count: int) -> list[npt.NDArray[np.int64]]:
    """The first so many batches of the shuffled order."""
    order = np.random.default_rng(2).permutation(setting.scaled(ROWS))
    return [order[start : start + BATCH] for start in range(0, count * BATCH, BATCH)]


def n_batches(setting: Setting) -> int:
    """How many batches a run has."""
    return 4 if setting.quick else BATCHES


def chunks_of(rows: npt.NDArray[np.int64]) -> list[int]:
    """The chunks that hold these rows, each once, in the order of the file."""
    numbers: list[int] = np.unique(rows // CHUNK_ROWS).tolist()
    return numbers


def picked(rows: npt.NDArray[np.int64], decoded: dict[int, npt.NDArray[np.uint8]]) -> npt.NDArray[np.uint8]:
    """A batch, from the decoded chunks that hold it."""
    batch = np.empty((len(rows), *SHAPE), np.uint8)
    for place, row in enumerate(rows.tolist()):
        batch[place] = decoded[row // CHUNK_ROWS][row % CHUNK_ROWS]
    return batch


def sorted_rows(dataset: Any, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """A batch by h5py's list of indices, which must rise."""
    order = np.argsort(rows)
    batch = np.empty((len(rows), *SHAPE), np.uint8)
    batch[order] = dataset[rows[order]]
    return batch


def one_by_one(dataset: Any, rows: Iterable[int]) -> npt.NDArray[np.uint8]:
    """A batch by h5py, row by row."""
    return np.stack([dataset[row] for row in rows])


def library_batches(iterator: Any, setting: Setting, count: int) -> Iterator[npt.NDArray[np.uint8]]:
    """The batches as this library reads them: with the next four on their way."""
    order = np.concatenate(batches(setting, count))
    for columns in iterator.batches(BATCH, order, prefetch=4):
        yield columns[0]
