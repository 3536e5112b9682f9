"""What holds in every place: a directory given as a path, as a file URL, and as one in memory."""

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mainspring import fileio
from mainspring.fileio import get, isfile, list_dir_or_file, put, put_text, remove

NAMES = ("1.txt", "2.json", ".hidden.txt", "b/3.txt", "b/c/4.txt", ".d/5.txt")


@pytest.fixture
def tree(at):
    for name in NAMES:
        put(name.encode(), at("tree", name))
    return at("tree")


def test_what_is_put_is_what_one_gets(at):
    for content in (b"", b"\0\xff", b"longer than before", bytearray(b"x"), memoryview(b"short")):
        put(content, at("deep", "down", "file.bin"))
        assert get(at("deep", "down", "file.bin")) == bytes(content)
    assert list(list_dir_or_file(at("deep"), recursive=True)) == ["down", "down/file.bin"]


def test_a_text_is_written_in_utf_8_and_read_line_by_line(at):
    put_text("é\n", at("text"))
    assert get(at("text")) == b"\xc3\xa9\n"
    put("é\r\nb\rc".encode("latin-1"), at("text"))
    assert fileio.get_text(at("text"), "latin-1") == "é\nb\nc"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(st.binary())
def test_any_bytes_come_back(at, content):
    put(content, at("file"))
    assert get(at("file")) == content


def test_what_there_is(at, tree):
    assert [fileio.exists(path) for path in (at("tree"), at("tree", "b"), at("tree", "1.txt"), at("no"))] == [
        *(True, True, True, False)
    ]
    assert [fileio.isdir(path) for path in (at("tree", "b"), at("tree", "1.txt"), at("no"))] == [True, False, False]
    assert [isfile(path) for path in (at("tree", "b"), at("tree", "1.txt"), at("no"))] == [False, True, False]


def test_listing(tree):
    assert list(list_dir_or_file(tree)) == [".d", "1.txt", "2.json", "b"]
    every = [".d", ".d/5.txt", "1.txt", "2.json", "b", "b/3.txt", "b/c", "b/c/4.txt"]
    assert list(list_dir_or_file(tree, recursive=True)) == every
    assert list(list_dir_or_file(tree, list_file=False, recursive=True)) == [".d", "b", "b/c"]
    texts = [".d/5.txt", "1.txt", "b/3.txt", "b/c/4.txt"]
    assert list(list_dir_or_file(tree, list_dir=False, suffix=".txt", recursive=True)) == texts
    assert list(list_dir_or_file(tree, list_dir=False, suffix=(".json", ".xml"))) == ["2.json"]


def test_listing_refuses_what_makes_no_sense(at, tree):
    with pytest.raises(TypeError, match="directories have no suffix: add list_dir=False"):
        list_dir_or_file(tree, suffix=".txt")
    with pytest.raises(TypeError, match="must be a string or a tuple of strings"):
        list_dir_or_file(tree, list_dir=False, suffix=[".txt"])
    with pytest.raises(NotADirectoryError):
        list(list_dir_or_file(at("tree", "1.txt")))
    with pytest.raises(FileNotFoundError):
        list(list_dir_or_file(at("no")))


def test_copying_a_file(at, tree):
    assert fileio.copyfile(at("tree", "1.txt"), at("new", "one.txt")) == at("new", "one.txt")
    assert get(at("new", "one.txt")) == b"1.txt"
    into = fileio.copyfile(at("tree", "2.json"), at("new"))
    assert get(into) == get(at("new", "2.json")) == b"2.json"
    fileio.copyfile(at("tree", "2.json"), at("new", "one.txt"))
    assert get(at("new", "one.txt")) == b"2.json"
    with pytest.raises(shutil.SameFileError, match="are the same file"):
        fileio.copyfile(at("tree", "1.txt"), at("tree"))
    with pytest.raises(FileNotFoundError):
        fileio.copyfile(at("tree", "no"), at("elsewhere", "no"))
    assert not fileio.exists(at("elsewhere"))


def test_copying_a_directory_takes_all_files(at, tree):
    assert fileio.copytree(tree, at("copy")) == at("copy")
    assert [get(at("copy", name)) for name in NAMES] == [name.encode() for name in NAMES]
    with pytest.raises(FileExistsError):
        fileio.copytree(tree, at("copy"))


def test_to_this_machine_and_back(at, tree, tmp_path):
    down = tmp_path / "down"
    assert fileio.copytree_to_local(tree, down) == down
    assert sorted(p.relative_to(down).as_posix() for p in down.rglob("*") if p.is_file()) == sorted(NAMES)
    with pytest.raises(FileExistsError):
        fileio.copytree_to_local(tree, down)
    assert Path(fileio.copyfile_to_local(at("tree", "1.txt"), tmp_path / "one")).read_bytes() == b"1.txt"

    assert fileio.copytree_from_local(down, at("up")) == at("up")
    assert [get(at("up", name)) for name in NAMES] == [name.encode() for name in NAMES]
    with pytest.raises(FileExistsError):
        fileio.copytree_from_local(down, at("up"))
    assert get(fileio.copyfile_from_local(down / "1.txt", at("up", "b"))) == b"1.txt"
    assert isfile(at("up", "b", "1.txt"))
    with pytest.raises(FileNotFoundError):
        fileio.copyfile_from_local(tmp_path / "no", at("up", "no"))


def test_removing(at, tree):
    remove(at("tree", "1.txt"))
    assert not fileio.exists(at("tree", "1.txt"))
    with pytest.raises(FileNotFoundError):
        remove(at("tree", "1.txt"))
    with pytest.raises(IsADirectoryError, match="use rmtree"):
        remove(at("tree", "b"))
    fileio.rmtree(at("tree"))
    assert not fileio.exists(at("tree"))
    with pytest.raises(FileNotFoundError):
        fileio.rmtree(at("tree"))


def test_names_that_look_like_patterns_are_names(at):
    for name in ("a1.txt", "a*.txt", "[a]/b?.txt", "a/c.txt"):
        put(b"old", at(name))
        put(name.encode(), at(name))
    fileio.copyfile(at("a*.txt"), at("[x]"))
    assert [get(at(name)) for name in ("a1.txt", "a*.txt", "[x]", "[a]/b?.txt")] == [
        *(b"a1.txt", b"a*.txt", b"a*.txt", b"[a]/b?.txt")
    ]
    remove(at("a*.txt"))
    fileio.rmtree(at("[a]"))
    assert list(list_dir_or_file(at(), recursive=True)) == ["[x]", "a", "a/c.txt", "a1.txt"]


def test_a_link_or_a_copy(at, tree):
    linked = fileio.copy_if_symlink_fails(at("tree", "1.txt"), at("link"))
    assert linked is not at("link").startswith("memory")
    assert get(at("link")) == b"1.txt"


def test_a_local_path_is_lent(at):
    put(b"content", at("some", "weights.pth"))
    with fileio.get_local_path(at("some", "weights.pth")) as path:
        assert Path(path).name == "weights.pth"
        assert Path(path).read_bytes() == b"content"
    assert os.path.exists(path) is not at().startswith("memory")


def test_what_is_not_there_is_said_with_its_name(at):
    def lend():
        with fileio.get_local_path(at("no.bin")) as path:
            Path(path).read_bytes()

    for read in (lambda: get(at("no.bin")), lambda: fileio.get_text(at("no.bin")), lend):
        with pytest.raises(FileNotFoundError, match=r"no\.bin"):
            read()


def test_the_wrong_kind_of_content_is_refused_before_anything_is_written(at):
    with pytest.raises(TypeError, match=r"put writes bytes, but it was given str.*put_text"):
        put("text", at("file"))
    with pytest.raises(TypeError, match=r"put_text writes a string, but it was given bytes.*put"):
        put_text(b"bytes", at("file"))
    assert not fileio.exists(at("file"))


def test_a_range_is_read_by_itself(at):
    put(b"0123456789", at("file"))
    backend = fileio.get_file_backend(at("file"))
    assert [backend.get_range(at("file"), *ends) for ends in ((0, 1), (4, 7), (8, 10), (8, 20))] == [
        b"0", b"456", b"89", b"89"
    ]  # fmt: skip


def test_a_stream_appears_when_it_has_ended(at):
    backend = fileio.get_file_backend(at("file"))

    def write(file):
        file.write(b"whole, ")
        assert not fileio.exists(at("new", "file"))
        file.write(memoryview(b"and at once"))

    backend.put_stream(write, at("new", "file"))
    assert get(at("new", "file")) == b"whole, and at once"

    def fail(file):
        file.write(b"half")
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        backend.put_stream(fail, at("new", "file"))
    assert get(at("new", "file")) == b"whole, and at once"
    assert [facts.name for facts in backend.files_in(at("new"))] == ["file"]


def test_the_files_of_a_directory_are_told_without_reading_them(tree, at):
    backend = fileio.get_file_backend(tree)
    facts = {facts.name: facts for facts in backend.files_in(tree)}
    assert {name: one.size for name, one in facts.items()} == {"1.txt": 5, "2.json": 6, ".hidden.txt": 11}
    put(b"later", at("tree", "2.json"))
    later = {facts.name: facts for facts in backend.files_in(tree)}
    assert later["2.json"].modified > facts["2.json"].modified > 1e18
    assert later["1.txt"] == facts["1.txt"]
    assert backend.files_in(at("nowhere")) == []


def test_a_file_is_moved_over_what_is_there(at):
    backend = fileio.get_file_backend(at("a"))
    put(b"new", at("a"))
    put(b"old", at("deep", "b"))
    backend.move(at("a"), at("deep", "b"))
    backend.move(at("deep", "b"), at("other", "b"))
    assert get(at("other", "b")) == b"new"
    assert not isfile(at("a"))
    assert not isfile(at("deep", "b"))
    with pytest.raises(FileNotFoundError):
        backend.move(at("a"), at("b"))
