import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.fileio import dict_from_file, list_from_file, put, put_text

LINE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), min_size=1)


def test_lines(at):
    put(b"a\r\nb c \n\nd", at("list"))
    assert list_from_file(at("list")) == ["a", "b c ", "", "d"]
    assert list_from_file(at("list"), prefix="x/", offset=1, max_num=2) == ["x/b c ", "x/"]
    assert list_from_file(at("list"), offset=9) == []
    put("é".encode("latin-1"), at("list"))
    assert list_from_file(at("list"), encoding="latin-1") == ["é"]
    put(b"", at("list"))
    assert list_from_file(at("list")) == []


@given(st.lists(LINE), st.integers(0, 5), st.integers(1, 5))
def test_the_lines_that_were_written(lines, offset, count):
    for end in ("", "\n" * bool(lines)):
        put_text("\n".join(lines) + end, "memory://lines.txt")
        assert list_from_file("memory://lines.txt") == lines
        assert list_from_file("memory://lines.txt", "", offset, count) == lines[offset : offset + count]


def test_keys_and_values(at):
    put_text("1 cat\n2\tbrown  dog\n", at("names"))
    assert dict_from_file(at("names")) == {"1": "cat", "2": ["brown", "dog"]}
    assert dict_from_file(at("names"), key_type=int) == {1: "cat", 2: ["brown", "dog"]}


@pytest.mark.parametrize("line", ["alone", ""])
def test_a_line_without_a_value_is_named(at, line):
    put_text(f"a b\n{line}\nc d\n", at("names"))
    with pytest.raises(ValueError, match=rf"names, line 2: '{line}' should hold a key and a value"):
        dict_from_file(at("names"))


@pytest.mark.parametrize("read", [list_from_file, dict_from_file])
def test_the_older_name_of_backend_args(tmp_path, read):
    put_text("a b\n", tmp_path / "file")
    with pytest.warns(DeprecationWarning, match="file_client_args is now called backend_args") as warned:
        assert len(read(tmp_path / "file", file_client_args={"backend": "disk"})) == 1
    assert warned[0].filename == __file__
