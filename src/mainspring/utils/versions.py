"""Versions, as numbers that can be compared."""

from __future__ import annotations

import re
import subprocess

__all__ = ["digit_version", "get_git_hash"]

# As PEP 440 describes it, https://peps.python.org/pep-0440/.
_VERSION = re.compile(
    r"""v?(?:\d+!)?(?P<release>\d+(?:\.\d+)*)
    (?:[-_.]?(?P<pre>alpha|beta|preview|pre|rc|a|b|c)[-_.]?(?P<pre_number>\d*))?
    (?P<post>-(?P<bare_number>\d+)|[-_.]?(?:post|rev|r)[-_.]?(?P<post_number>\d*))?
    (?P<dev>[-_.]?dev[-_.]?\d*)?
    (?:\+[a-z0-9]+(?:[-_.][a-z0-9]+)*)?""",
    re.VERBOSE | re.IGNORECASE,
)
_DEV, _ALPHA, _BETA, _CANDIDATE, _FINAL, _POST = -4, -3, -2, -1, 0, 1


def digit_version(version_str: str, length: int = 4) -> tuple[int, ...]:
    """Return a version as numbers that compare as the versions do; what follows a ``+`` does not count.

    Args:
        version_str: Such as ``torch.__version__``.
        length: How many numbers of the release there are, filled up with zeros. Two more follow: for a version in
            development -4 and 0; for an alpha, beta, candidate or post-release -3, -2, -1 or 1 and its number; for the
            release itself 0 and 0.

    Raises:
        ValueError: It is no version.

    >>> digit_version("2.10.0+cu130"), digit_version("2.10rc1")
    ((2, 10, 0, 0, 0, 0), (2, 10, 0, 0, -1, 1))
    >>> digit_version("2.9.1") < digit_version("2.10rc1") < digit_version("2.10")
    True
    """
    if not isinstance(version_str, str):
        raise TypeError(f"A version is a string such as '1.10.0', but this is {version_str!r}.")
    match = _VERSION.fullmatch(version_str.strip())
    if match is None:
        raise ValueError(f"{version_str!r} is no version; one is such as '1.10.0' or '2.0.0rc1+cu118'.")
    release = [int(number) for number in match["release"].split(".")][:length]
    release += [0] * (length - len(release))
    if match["pre"]:
        kind = {"a": _ALPHA, "b": _BETA}.get(match["pre"][0].lower(), _CANDIDATE)
        return (*release, kind, int(match["pre_number"] or 0))
    if match["dev"]:
        return (*release, _DEV, 0)
    if match["post"]:
        return (*release, _POST, int(match["bare_number"] or match["post_number"] or 0))
    return (*release, _FINAL, 0)


def get_git_hash(fallback: str = "unknown", digits: int | None = None) -> str:
    """Return the hash of the commit that is checked out in the current directory.

    Args:
        fallback: What is returned where there is none: no repository, no commit, or no git.
        digits: How many of its digits; None for all.
    """
    if digits is not None and not isinstance(digits, int):
        raise TypeError(f"digits must be an integer or None, but it is {digits!r}.")
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return fallback
    return done.stdout.strip()[:digits]
