import subprocess
import sys

import pytest

from mainspring import utils
from mainspring.utils import ManagerMeta, ManagerMixin, lazy_names


def test_a_name_is_imported_when_it_is_asked_for():
    program = (
        "import sys, mainspring.utils as utils\n"
        "assert not {'torch', 'numpy', 'mainspring.utils.sequences', 'mainspring.compat'} & set(sys.modules)\n"
        "assert utils.is_str('a') and 'mainspring.utils.sequences' in sys.modules\n"
        "assert 'is_str' in vars(utils) and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_every_name_of_the_package_is_there():
    for name in utils.__all__:
        assert getattr(utils, name) is not None


def test_a_name_that_is_nowhere():
    with pytest.raises(AttributeError, match=r"module 'mainspring.utils' has no attribute 'is_strange'"):
        _ = utils.is_strange
    with pytest.raises(AttributeError, match=r"module 'mainspring.utils' has no attribute '_private'"):
        lazy_names("mainspring.utils")("_private")


def test_a_metaclass_of_named_instances():
    class Named(metaclass=ManagerMeta):
        def __init__(self, name):
            pass

    class Child(Named):
        pass

    assert Named._instance_dict == Child._instance_dict == {}
    assert Named._instance_dict is not Child._instance_dict
    with pytest.raises(TypeError, match="Nameless has named instances, but its constructor does not take a name"):

        class Nameless(metaclass=ManagerMeta):
            def __init__(self, title):
                pass


def test_a_metaclass_beside_the_mixin():
    class Both(ManagerMixin, metaclass=ManagerMeta):
        def __init__(self, name="", value=0):
            super().__init__(name)
            self.value = value

    assert Both.get_instance("a", value=3) is Both.get_current_instance()
    assert Both.get_instance("a").value == 3
