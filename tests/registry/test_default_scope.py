from __future__ import annotations

import threading

import pytest

from mainspring.registry import DefaultScope, init_default_scope

pytestmark = pytest.mark.usefixtures("no_default_scope")


def current() -> str | None:
    instance = DefaultScope.get_current_instance()
    return None if instance is None else instance.scope_name


def test_the_latest_instance_is_the_current_one():
    assert current() is None
    first = DefaultScope.get_instance("first", scope_name="a")
    DefaultScope.get_instance("second", scope_name="b")
    assert current() == "b"
    assert DefaultScope.get_instance("first") is first
    assert first.instance_name == "first"
    assert current() == "b"  # asking for an old one does not change the current one
    assert DefaultScope.check_instance_created("first")
    assert not DefaultScope.check_instance_created("third")


def test_get_instance_refuses():
    with pytest.raises(TypeError, match="scope_name"):
        DefaultScope.get_instance("nameless")
    with pytest.raises(TypeError, match="must be a string"):
        DefaultScope("name", 3)
    DefaultScope.get_instance("task", scope_name="a")
    with pytest.warns(UserWarning, match="'b' is ignored"):
        assert DefaultScope.get_instance("task", scope_name="b").scope_name == "a"


def test_overwriting_lasts_for_the_block():
    init_default_scope("a")
    with DefaultScope.overwrite_default_scope("b"):
        assert current() == "b"
        with DefaultScope.overwrite_default_scope(None):
            assert current() == "b"
        with pytest.raises(ZeroDivisionError), DefaultScope.overwrite_default_scope("c"):
            assert current() == "c"
            raise ZeroDivisionError
        init_default_scope("d")
        assert current() == "d"
    assert current() == "a"


def test_other_threads_see_the_process_wide_scope_and_no_block():
    init_default_scope("everywhere")
    seen = []
    with DefaultScope.overwrite_default_scope("here"):
        thread = threading.Thread(target=lambda: seen.append(current()))
        thread.start()
        thread.join()
        assert current() == "here"
    assert seen == ["everywhere"]


def test_init_default_scope_goes_back_and_says_so(caplog):
    init_default_scope("a")
    init_default_scope("b")
    assert not caplog.records
    init_default_scope("b")
    assert not caplog.records
    init_default_scope("a")
    assert current() == "a"
    assert "from 'b' back to 'a'" in caplog.text
