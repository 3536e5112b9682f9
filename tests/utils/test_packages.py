import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mainspring.utils import (
    call_command,
    check_prerequisites,
    get_installed_path,
    get_object_from_string,
    import_modules_from_strings,
    install_package,
    is_installed,
    requires_executable,
    requires_package,
)


def test_modules_by_their_names():
    assert import_modules_from_strings("os.path").__name__ == "posixpath"
    assert [module.__name__ for module in import_modules_from_strings(["json", "sys"])] == ["json", "sys"]
    for nothing in (None, "", []):
        assert import_modules_from_strings(nothing) is None
    with pytest.raises(ImportError, match="'no_such_module' cannot be imported: No module named") as caught:
        import_modules_from_strings(["json", "no_such_module"])
    assert caught.value.name == "no_such_module"
    with pytest.warns(UserWarning, match="no_such_module failed to import and is ignored"):
        assert import_modules_from_strings(["json", "no_such_module"], allow_failed_imports=True)[1] is None
    for wrong in (3, [3]):
        with pytest.raises(TypeError, match="imports must be the name of a module, or a list of such"):
            import_modules_from_strings(wrong)


def test_objects_by_their_names():
    assert get_object_from_string("os") is sys.modules["os"]
    assert get_object_from_string("collections.OrderedDict.fromkeys").__name__ == "fromkeys"
    for missing in ("os.nothing", "no_such_module.x", "int"):
        assert get_object_from_string(missing) is None
    with pytest.raises(ValueError, match=r"A dotted name is such as 'package.module.Class', but this is ''"):
        get_object_from_string("")


def test_functions_that_need_something():
    @requires_package(["numpy", "no_such_package"])
    def compute():
        raise AssertionError("it was called")

    with pytest.raises(
        RuntimeError, match='Prerequisites "no_such_package" are required in method "compute" but not found'
    ):
        compute()
    assert requires_package("numpy")(max)(1, 2) == 2
    assert requires_executable("no-such-program")(max).__name__ == "max"
    with pytest.raises(RuntimeError, match='"no-such-program"'):
        requires_executable(["ls", "no-such-program"])(max)(1, 2)
    assert requires_executable(Path(sys.executable).as_posix())(max)(1, 2) == 2


def test_what_is_needed_is_asked_for_at_each_call():
    there = set()
    think = check_prerequisites(("tea", "milk"), there.__contains__, "no {} for {}")(max)
    with pytest.raises(RuntimeError, match=r"^no tea, milk for max$"):
        think(1, 2)
    there |= {"tea", "milk"}
    assert think(1, 2) == 2


def test_what_is_installed():
    assert is_installed("numpy")
    assert is_installed("scikit-learn")  # a distribution, of which the module is sklearn
    assert is_installed("sklearn")
    assert is_installed("json")
    assert not is_installed("no-such-package")
    assert Path(get_installed_path("numpy")) == Path(np.__file__).parent
    assert get_installed_path("scikit-learn") == get_installed_path("sklearn")
    assert Path(get_installed_path("PyYAML")).name == "yaml"
    with pytest.raises(ModuleNotFoundError, match="'no-such-package' is not installed, neither as a distribution"):
        get_installed_path("no-such-package")


def test_commands():
    call_command([sys.executable, "-c", "pass"])
    with pytest.raises(subprocess.CalledProcessError):
        call_command([sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(FileNotFoundError):
        call_command(["no-such-program"])


def test_only_what_is_missing_is_installed(monkeypatch):
    called = []
    monkeypatch.setattr(subprocess, "run", lambda command, check: called.append(command))
    install_package("numpy")
    install_package("no-such-package")
    assert called == [[sys.executable, "-m", "pip", "install", "no-such-package"]]
