import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.utils import digit_version, get_git_hash


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("1.2.3", (1, 2, 3, 0, 0, 0)),
        ("1.13.1+cu117", (1, 13, 1, 0, 0, 0)),
        ("2", (2, 0, 0, 0, 0, 0)),
        ("v1.0", (1, 0, 0, 0, 0, 0)),
        (" 1!2.0 ", (2, 0, 0, 0, 0, 0)),
        ("1.2.3.4.5", (1, 2, 3, 4, 0, 0)),
        ("2.0.0rc1", (2, 0, 0, 0, -1, 1)),
        ("1.0.RC", (1, 0, 0, 0, -1, 0)),
        ("1.0preview1", (1, 0, 0, 0, -1, 1)),
        ("2.0b2", (2, 0, 0, 0, -2, 2)),
        ("2.0.0a0+git", (2, 0, 0, 0, -3, 0)),
        ("1.0alpha1", (1, 0, 0, 0, -3, 1)),
        ("1.10.0.dev20211109", (1, 10, 0, 0, -4, 0)),
        ("1.0rc1.dev2", (1, 0, 0, 0, -1, 1)),
        ("1.0.post1.dev3", (1, 0, 0, 0, -4, 0)),
        ("1.2.3.post1", (1, 2, 3, 0, 1, 1)),
        ("1.0-1", (1, 0, 0, 0, 1, 1)),
        ("1.0-post", (1, 0, 0, 0, 1, 0)),
    ],
)
def test_versions_as_numbers(version, expected):
    assert digit_version(version) == expected


def test_the_release_has_as_many_numbers_as_asked_for():
    assert digit_version("1.2.3", length=2) == (1, 2, 0, 0)
    assert digit_version("1.2.3", length=6) == (1, 2, 3, 0, 0, 0, 0, 0)


def test_versions_in_their_order():
    ordered = ["0.9", "1.0.dev1", "1.0a1", "1.0b1", "1.0rc1", "1.0rc2", "1.0", "1.0.post1", "1.0.1", "1.10"]
    assert sorted(ordered, key=digit_version) == ordered
    assert len(set(map(digit_version, ordered))) == len(ordered)


@given(st.lists(st.integers(0, 999), min_size=1, max_size=4), st.lists(st.integers(0, 999), min_size=1, max_size=4))
def test_releases_compare_as_their_numbers_do(first, second):
    def filled(numbers):
        return numbers + [0] * (4 - len(numbers))

    def version(numbers):
        return ".".join(map(str, numbers))

    less = digit_version(version(first)) < digit_version(version(second))
    assert less == (filled(first) < filled(second))


@pytest.mark.parametrize("version", ["", "abc", "1.x", "1.0+", "parrots"])
def test_what_is_no_version(version):
    with pytest.raises(ValueError, match=f"'{version}' is no version".replace("+", r"\+")):
        digit_version(version)
    with pytest.raises(TypeError, match=r"A version is a string such as '1.10.0', but this is 1.2"):
        digit_version(1.2)


def test_the_commit_of_a_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert get_git_hash() == "unknown"
    assert get_git_hash(fallback="none") == "none"
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "init", "-q"], check=True)
    subprocess.run(["git", *identity, "commit", "-q", "--allow-empty", "-m", "first"], check=True)
    found = get_git_hash()
    assert len(found) == 40
    assert int(found, 16) > 0
    assert get_git_hash(digits=7) == found[:7]
    monkeypatch.setenv("PATH", "")
    assert get_git_hash(fallback="no git") == "no git"
    with pytest.raises(TypeError, match="digits must be an integer or None, but it is 'a'"):
        get_git_hash(digits="a")
