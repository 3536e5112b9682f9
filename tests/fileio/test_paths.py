import os
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.fileio import is_local, local_path

LOCAL = ["runs", "/data/runs", "../a:b", "C:/runs", r"C:\runs", "c://runs", "a::b", "", "file:///data", "FILE:///data"]
REMOTE = [
    "s3://bucket/runs",
    "memory://runs",
    "HTTP://host/x",
    "hf://datasets/a/b",
    "abc+d.e-f://x",
    "simplecache::s3://bucket/key",
    "zip://inner/a.txt::s3://bucket/a.zip",
]


@pytest.mark.parametrize("path", [*LOCAL, Path("runs"), Path("C:/runs")])
def test_paths_and_file_urls_are_local(path):
    assert is_local(path)


@pytest.mark.parametrize("url", REMOTE)
def test_other_urls_are_not_and_the_error_says_how_to_fetch_them(url):
    assert not is_local(url)
    with pytest.raises(ValueError, match=r"not on this machine.*get_local_path") as caught:
        local_path(url)
    assert url in str(caught.value)


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
def test_what_pathlib_writes_as_a_url_is_read_as_the_same_path(name):
    path = Path("/data") / name
    assert local_path(path.as_uri()) == path


def test_a_path_stays_as_it_is():
    assert local_path("runs/a%20b") == Path("runs/a%20b")
    assert local_path(PurePosixPath("runs")) == Path("runs")
    assert local_path("file://localhost/data/a#b?c") == Path("/data/a#b?c")


@pytest.mark.skipif(os.name == "nt", reason="there it is an absolute path")
def test_a_file_url_with_a_drive_letter():
    assert local_path("file:///C:/runs/x") == Path("C:/runs/x")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (Path("s3://bucket/key"), "only one slash.*'s3://bucket/key'"),
        ("file:/data", "only one slash.*'file:///data'"),
        ("openmmlab:s3://bucket/key", "names a cluster.*write 's3://bucket/key'"),
    ],
)
def test_what_is_no_url_any_more_is_said(path, message):
    with pytest.raises(ValueError, match=message):
        is_local(path)


def test_a_file_url_with_a_host_is_refused_with_the_two_ways_to_write_it():
    with pytest.raises(ValueError, match=r"names the host 'runs'.*'file:///runs/x'.*relative path is written without"):
        local_path("file://runs/x")


@pytest.mark.parametrize("value", [None, 3, b"runs", ["runs"]])
def test_other_types_are_refused(value):
    for function in (is_local, local_path):
        with pytest.raises(TypeError, match=r"must be a string or a pathlib.Path"):
            function(value)
