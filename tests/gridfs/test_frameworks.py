"""pandas, pyarrow, h5py and fsspec's chains over gridfs://."""

import io
import json
import zipfile

import fsspec
import h5py
import numpy as np
import pandas as pd
import pyarrow.dataset
import pyarrow.parquet
import pytest

from datastack_fs.connectors.gridfs_filesystem import GridFSFileSystem

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def frame():
    numbers = np.arange(10_000)
    return pd.DataFrame({"n": numbers, "square": numbers**2, "name": [f"row {n}" for n in numbers]})


def test_pandas_reads_and_writes(url, frame):
    options = {"uri": url}
    frame.to_parquet("gridfs://dir/x.parquet", storage_options=options)
    assert pd.read_parquet("gridfs://dir/x.parquet", storage_options=options).equals(frame)
    columns = pd.read_parquet("gridfs://dir/x.parquet", columns=["n"], storage_options=options)
    assert columns.equals(frame[["n"]])
    frame.to_csv("gridfs://dir/x.csv.gz", index=False, storage_options=options)
    assert pd.read_csv("gridfs://dir/x.csv.gz", storage_options=options).equals(frame)
    frame["part"] = frame["n"] % 3
    frame.to_parquet("gridfs://parts", partition_cols=["part"], storage_options=options)
    read = pd.read_parquet("gridfs://parts", storage_options=options, filters=[("part", "==", 1)])
    assert read["n"].tolist() == list(range(1, 10_000, 3))


def test_pandas_publishes_no_half_table(fs, url, frame):
    fs.pipe_file("x.csv", b"old")

    class Bad:
        def __str__(self):
            raise RuntimeError("mine")

    frame["bad"] = [*[0] * 9_999, Bad()]
    with pytest.raises(RuntimeError, match="mine"):
        frame.to_csv("gridfs://x.csv", chunksize=100, storage_options={"uri": url})
    assert fs.cat_file("x.csv") == b"old"


def test_pyarrow_datasets(fs, frame):
    table = pyarrow.Table.from_pandas(frame)
    pyarrow.dataset.write_dataset(table, "data set", format="parquet", filesystem=fs)
    assert fs.find("data set")
    read = pyarrow.dataset.dataset("data set", format="parquet", filesystem=fs)
    assert read.to_table().to_pandas().equals(frame)
    some = read.to_table(columns=["square"], filter=pyarrow.dataset.field("n") > 9_997)
    assert some.to_pydict() == {"square": [9998**2, 9999**2]}
    assert pyarrow.parquet.read_table(fs.find("data set")[0], filesystem=fs).num_rows == 10_000


def test_environment_names_the_server(monkeypatch, url, fs):
    fs.pipe_file("dir/x", b"found")
    monkeypatch.setenv("DATASTACK_MONGODB_URL", url)
    with fsspec.open("gridfs://dir/x") as file:
        assert file.read() == b"found"


def test_chains(fs, url, tmp_path):
    fs.pipe_file("dir/x.txt", b"12345")
    options = {"gridfs": {"url": url}}
    for layer in ["simplecache", "filecache", "blockcache"]:
        settings = {layer: {"cache_storage": str(tmp_path / layer)}}
        with fsspec.open(f"{layer}::gridfs://dir/x.txt", **options, **settings) as file:
            assert file.read() == b"12345"
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as members:
        members.writestr("in/side", b"zipped")
    fs.pipe_file("a.zip", archive.getvalue())
    with fsspec.open("zip://in/side::gridfs://a.zip", **options) as file:
        assert file.read() == b"zipped"
    with fsspec.open("zip://in/side::simplecache::gridfs://a.zip", **options) as file:
        assert file.read() == b"zipped"
    with fsspec.open("simplecache::gridfs://new", "wb", **options) as file:
        file.write(b"cached write")
    assert fs.cat_file("new") == b"cached write"
    assert sorted(fsspec.open_files("gridfs://*/*.txt", url=url)[0].path for _ in range(1)) == ["dir/x.txt"]


def test_gridfs_as_the_first_link(fs, url, tmp_path, monkeypatch):
    """``gridfs::path`` hands fsspec's local filesystem the path, which comes back absolute."""
    monkeypatch.chdir(tmp_path)
    for form in ["gridfs::dir/x.txt", "gridfs::/dir/x.txt"]:
        with fsspec.open(form, "wb", gridfs={"url": url}) as file:
            file.write(form.encode())
        assert fs.cat_file("dir/x.txt") == form.encode()
        with fsspec.open(form, url=url) as file:
            assert file.read() == form.encode()
    with pytest.raises(ValueError, match="put it last"):
        fsspec.open("gridfs::memory://x", gridfs={"url": url})


def test_mapper_and_json(fs, url):
    mapper = fs.get_mapper("store")
    mapper["a/b"] = b"1"
    assert dict(mapper) == {"a/b": b"1"}
    del mapper["a/b"]
    assert list(mapper) == []
    again = fsspec.AbstractFileSystem.from_json(fs.to_json())
    assert again.url == url
    secret = GridFSFileSystem(url="mongodb://me:hunter2@h/db")
    assert "hunter2" in secret.to_json()
    assert "hunter2" not in secret.to_json(include_password=False)
    assert json.loads(secret.to_json(include_password=False))["url"] == "mongodb://me:***@h/db"


def test_h5py_reads(fs):
    buffer = io.BytesIO()
    rows = np.random.default_rng(0).random((200, 64, 64))
    with h5py.File(buffer, "w") as file:
        file.create_dataset("x", data=rows, chunks=(1, 64, 64))
    fs.pipe_file("x.h5", buffer.getvalue())
    with fs.open("x.h5") as raw, h5py.File(raw, "r") as file:
        for index in [0, 199, 5, 100]:
            assert (file["x"][index] == rows[index]).all()
        assert (file["x"][:] == rows).all()
