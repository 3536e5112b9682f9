import os
from pathlib import Path

import pytest

from mainspring.utils import check_file_exist, fopen, is_abs, is_filepath, mkdir_or_exist, scandir, symlink


@pytest.fixture
def folder(tmp_path):
    for name in ("f.txt", ".hidden.txt", "a/x.TXT", "a/w.json", "a/b/y.txt", "a/.h/z.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("hi")
    return tmp_path


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"f.txt"}),
        ({"recursive": True}, {"f.txt", "a/x.TXT", "a/w.json", "a/b/y.txt", "a/.h/z.txt"}),
        ({"suffix": ".txt", "recursive": True}, {"f.txt", "a/b/y.txt", "a/.h/z.txt"}),
        ({"suffix": (".json", "X.TXT"), "recursive": True}, {"a/w.json"}),
        (
            {"suffix": (".JSON", "X.TXT"), "recursive": True, "case_sensitive": False},
            {"a/w.json", "a/x.TXT"},
        ),
    ],
)
def test_files_of_a_directory(folder, options, expected):
    assert set(scandir(folder, **options)) == set(scandir(str(folder), **options)) == expected


def test_files_of_a_wrong_place(folder):
    with pytest.raises(TypeError, match=r"dir_path must be a string or a Path, but it is 3 \(int\)"):
        scandir(3)
    with pytest.raises(TypeError, match=r"suffix must be a string or a tuple of strings, but it is \['.txt'\]"):
        scandir(folder, suffix=[".txt"])
    with pytest.raises(FileNotFoundError):
        next(scandir(folder / "nowhere"))


def test_directories_are_made(tmp_path, monkeypatch):
    mkdir_or_exist(tmp_path / "a" / "b")
    mkdir_or_exist(str(tmp_path / "a" / "b"))
    assert (tmp_path / "a" / "b").is_dir()
    mkdir_or_exist("")
    monkeypatch.setenv("HOME", str(tmp_path))
    mkdir_or_exist("~/mine", 0o700)
    assert (tmp_path / "mine").stat().st_mode & 0o777 == 0o700
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError):
        mkdir_or_exist(tmp_path / "file")


def test_files_that_must_be_there(folder):
    check_file_exist(folder / "f.txt")
    for missing in ("nowhere", "a"):
        with pytest.raises(FileNotFoundError, match=f'file ".*{missing}" does not exist'):
            check_file_exist(folder / missing)
    with pytest.raises(FileNotFoundError, match="gone: nowhere"):
        check_file_exist("nowhere", "gone: {}")


def test_files_are_opened(folder):
    with fopen(folder / "f.txt", "rb") as file:
        assert file.read() == b"hi"
    with fopen(str(folder / "new.txt"), "w", encoding="utf-8") as file:
        file.write("ö")
    assert (folder / "new.txt").read_text(encoding="utf-8") == "ö"
    with pytest.raises(TypeError, match=r"filepath must be a string or a Path, but it is 0 \(int\)"):
        fopen(0)


def test_links_replace_files_and_links(folder, monkeypatch):
    monkeypatch.chdir(folder)
    symlink("f.txt", "link")
    symlink("a", "link", target_is_directory=True)
    assert os.readlink("link") == "a"
    symlink("nowhere", "link")
    symlink(Path("f.txt"), "link")
    assert Path("link").read_text() == "hi"
    with pytest.raises(FileExistsError):
        symlink("a", "link", overwrite=False)
    with pytest.raises(OSError, match=r"directory|not permitted"):
        symlink("f.txt", "a")


def test_what_a_path_is():
    assert [is_filepath(one) for one in ("a", Path("a"), b"a", 3, None)] == [True, True, False, False, False]
    absolute = ("/a", Path("/a"), "s3://bucket/a", "https://a.b/c")
    assert all(map(is_abs, absolute))
    assert not any(map(is_abs, ("a", "./a", "~/a", "")))
