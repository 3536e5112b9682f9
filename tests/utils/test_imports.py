import json

import pytest

from mainspring.utils import require


def test_what_is_there_is_returned():
    assert require("json", extra="none", purpose="Reading") is json
    assert require("os.path", extra="none", purpose="Paths").join("a", "b")


def test_what_is_missing_is_named_with_its_extra():
    with pytest.raises(
        ImportError,
        match=r"A picture of the curves needs no_such_library, which is not installed\."
        r" Install it with: pip install 'mainspring\[plot\]'",
    ) as caught:
        require("no_such_library.pyplot", extra="plot", purpose="A picture of the curves")
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_a_library_that_lacks_something_itself_is_not_called_missing(tmp_path, monkeypatch):
    (tmp_path / "lame_library.py").write_text("import what_it_needs\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="what_it_needs"):
        require("lame_library", extra="plot", purpose="A picture")
