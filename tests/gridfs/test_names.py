"""Names, folders and URLs."""

import fsspec
import gridfs
import pytest

from datastack_fs.connectors.gridfs_filesystem import GridFSFileSystem

ODD_NAMES = [
    "a.b",
    "aXb",
    "a+b(c)[d]{e}^$|",
    "what?.csv",
    "100%",
    "a%2Fb",
    "x#123",
    "x",
    "ümlaut/日本語.txt",
    "emoji/🦉",
    "spaces in/the name ",
    "a:b/c",
    "12:30/time",
    "back\\slash",
    "quote'\"",
    "$set",
    "a.$b",
    "~home",
    "..",
    "a/../b",
    ".hidden/.x",
    "*",
    "new\nline",
]


def test_odd_names_are_literal(fs):
    for name in ODD_NAMES:
        fs.pipe_file(name, name.encode())
    for name in ODD_NAMES:
        assert fs.cat_file(name) == name.encode()
        assert fs.info(name)["name"] == name
        assert fs.isfile(name)
    assert fs.find("") == sorted(ODD_NAMES)
    assert fs.du("") == sum(len(name.encode()) for name in ODD_NAMES)
    for name in ODD_NAMES:
        fs.rm_file(name)
        assert not fs.exists(name)
    assert fs.find("") == []


def test_a_folder_never_matches_names_that_only_begin_like_it(fs):
    for name in ["a/1", "a/b/2", "a", "ab/3", "a.b", "a-/4", "a0/5", "a\uffff/6"]:
        fs.pipe_file(name, b"x")
    assert fs.find("a") == ["a/1", "a/b/2"]
    assert fs.ls("a", detail=False) == ["a/1", "a/b"]
    assert fs.ls("a/", detail=False) == ["a/1", "a/b"]
    assert fs.du("a") == 2
    assert not fs.isdir("a/1")
    assert fs.exists("a/b/")
    assert not fs.isdir("a.")
    fs.rm("a", recursive=True)
    assert fs.find("") == sorted(["ab/3", "a.b", "a-/4", "a0/5", "a\uffff/6"])


def test_listings_describe_files_and_folders(fs):
    fs.pipe_file("dir/sub/x", b"12345", metadata={"who": "me"})
    fs.pipe_file("dir/y", b"1")
    folder, file = fs.ls("dir")
    assert folder == {"name": "dir/sub", "size": 0, "type": "directory"}
    assert file == fs.info("dir/y")
    info = fs.info("dir/sub/x")
    assert info["size"] == 5
    assert info["type"] == "file"
    assert info["metadata"] == {"who": "me"}
    assert info["created"] == fs.created("dir/sub/x") == fs.modified("dir/sub/x")
    assert fs.ls("dir/y", detail=False) == ["dir/y"]
    assert fs.ls("", detail=False) == fs.ls("/", detail=False) == ["dir"]
    assert fs.info("") == fs.info("/") == {"name": "", "size": 0, "type": "directory"}
    assert fs.find("dir/y") == ["dir/y"]
    assert fs.find("dir", maxdepth=1) == ["dir/y"]
    assert fs.find("dir", withdirs=True) == ["dir", "dir/sub", "dir/sub/x", "dir/y"]
    assert fs.glob("dir/**/x") == ["dir/sub/x"]
    assert fs.glob("*/y") == ["dir/y"]
    assert list(fs.walk("")) == [("", ["dir"], []), ("dir", ["sub"], ["y"]), ("dir/sub", [], ["x"])]
    assert fs.isdir("dir")
    assert fs.isdir("")
    for name in ["nothing", "dir/nothing", "di"]:
        with pytest.raises(FileNotFoundError):
            fs.ls(name)
        with pytest.raises(FileNotFoundError):
            fs.info(name)
        assert not fs.exists(name)
        assert fs.find(name) == []


def test_a_name_may_be_a_file_and_a_folder(fs):
    fs.pipe_file("a", b"file")
    fs.pipe_file("a/b", b"below")
    assert fs.info("a")["type"] == "file"
    assert fs.isfile("a")
    assert fs.isdir("a")
    assert fs.cat_file("a") == b"file"
    assert [(info["name"], info["type"]) for info in fs.ls("")] == [("a", "directory"), ("a", "file")]
    fs.mv("a", "c", recursive=True)
    assert fs.find("") == ["c", "c/b"]
    fs.rm("c", recursive=True)
    assert fs.find("") == []


def test_listing_a_thousand_revisions_and_folders(fs, database):
    """Pages of a listing end in the middle of folders and of names with many revisions."""
    bucket = gridfs.GridFSBucket(database)
    bucket.upload_from_stream("m/0", b"old")
    files = database["fs.files"]
    (sample,) = files.find({})
    del sample["_id"]
    names = [f"big/{i:04d}" for i in range(2500)] + ["m/0"] * 1200 + [f"n{i:02d}/x" for i in range(30)] + ["z"]
    files.insert_many([{**sample, "filename": name, "length": i} for i, name in enumerate(names)])
    assert fs.ls("", detail=False) == ["big", "m", *(f"n{i:02d}" for i in range(30)), "z"]
    assert fs.find("") == sorted(set(names))
    assert len(fs.ls("big")) == 2500
    newest = max(files.find({"filename": "m/0"}), key=lambda document: document["_id"])
    assert fs.info("m/0")["version"] == str(newest["_id"])
    assert fs.ls("m")[0]["version"] == str(newest["_id"])
    assert fs.find("m", detail=True)["m/0"]["size"] == newest["length"]


def test_names_that_no_path_can_say_are_left_out(fs, database):
    bucket = gridfs.GridFSBucket(database)
    for name in ["/absolute", "double//slash", "ends/", "good/x"]:
        bucket.upload_from_stream(name, b"")
    database["fs.files"].insert_one({"length": 0, "chunkSize": 1, "uploadDate": fs.created("good/x")})
    assert fs.find("") == ["good/x"]
    assert fs.ls("", detail=False) == ["good"]


@pytest.mark.parametrize("path", ["gridfs://d/x", "gridfs:///d/x", "d/x", "/d/x", "gridfs://h:27017/db/d/x", "d/x/"])
def test_path_forms(path):
    assert GridFSFileSystem._strip_protocol(path) == "d/x"


def test_urls_with_a_server():
    parse = GridFSFileSystem._get_kwargs_from_urls
    assert parse("gridfs://d/x") == {}
    assert parse("gridfs://h:27017/db/d/x") == {"url": "mongodb://h:27017/db"}
    assert parse("gridfs://h:1,i:2/db") == {"url": "mongodb://h:1,i:2/db"}
    assert parse("gridfs://u:p%40w@h:1/db/x") == {"url": "mongodb://u:p%40w@h:1/db"}
    assert parse("gridfs:///12:30/x/y") == {}
    assert GridFSFileSystem._strip_protocol("gridfs://h:1/db") == ""
    fs = GridFSFileSystem(url="mongodb://h/db")
    assert GridFSFileSystem._strip_protocol(fs.unstrip_protocol("12:30/x/y")) == "12:30/x/y"
    assert fs.unstrip_protocol("a/b") == "gridfs://a/b"


def test_url_with_the_server_opens(mongod, url):
    server = url.removeprefix("mongodb://")
    with fsspec.open(f"gridfs://{server}/dir/x.txt", "wb") as file:
        file.write(b"over the url")
    fs, path = fsspec.url_to_fs(f"gridfs://{server}/dir/x.txt")
    assert (path, fs.cat_file(path)) == ("dir/x.txt", b"over the url")
    fs.close()


def test_mkdir_makes_nothing_and_refuses_what_is_there(fs):
    fs.mkdir("new")
    fs.makedirs("new/deep", exist_ok=True)
    assert not fs.exists("new")
    fs.pipe_file("dir/x", b"")
    fs.makedirs("dir", exist_ok=True)
    for taken in ["dir", "dir/x"]:
        with pytest.raises(FileExistsError):
            fs.mkdir(taken)
        with pytest.raises(OSError, match=r"not empty|No such"):
            fs.rmdir("dir" if taken == "dir" else "nothing")
