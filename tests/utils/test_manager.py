import pytest

from mainspring.utils import ManagerMixin


class Named(ManagerMixin):
    def __init__(self, name, value=0):
        super().__init__(name)
        self.value = value


@pytest.fixture(autouse=True)
def _clean():
    yield
    Named._instance_dict.clear()


def test_an_instance_is_made_once():
    first = Named.get_instance("a", value=3)
    assert Named.get_instance("a", value=4) is first
    assert Named.get_instance(name="a").value == 3
    assert first.instance_name == "a"
    assert Named.check_instance_created("a")
    assert not Named.check_instance_created("b")


def test_the_current_one_is_the_one_made_last():
    with pytest.raises(RuntimeError, match=r"There is no Named yet: call Named.get_instance\(name\)"):
        Named.get_current_instance()
    first, second = Named.get_instance("a"), Named.get_instance("b")
    Named.get_instance("a")
    assert Named.get_current_instance() is second
    renewed = Named.new_instance("a")
    assert renewed is not first
    assert Named.get_current_instance() is Named.get_instance("a") is renewed


def test_each_class_has_its_own():
    class Child(Named):
        pass

    Named.get_instance("a")
    assert not Child.check_instance_created("a")
    assert type(Child.get_instance("a")) is Child


def test_an_object_made_directly_is_not_shared():
    Named("a")
    assert not Named.check_instance_created("a")


@pytest.mark.parametrize("name", ["", 3, None, ManagerMixin])
def test_a_name_is_a_string(name):
    with pytest.raises(ValueError, match="The name of a Named must be a string that is not empty"):
        Named.get_instance(name)


def test_a_class_that_keeps_the_name_to_itself():
    class Mute(ManagerMixin):
        def __init__(self, name):
            pass

    with pytest.raises(TypeError, match=r"Mute.__init__ must hand its name on: call super\(\).__init__\(name\)"):
        Mute.get_instance("a")
    assert not Mute.check_instance_created("a")
