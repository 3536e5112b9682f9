from __future__ import annotations

import logging
import threading
from functools import partial

import pytest
import torch

from mainspring.registry import MODELS, DefaultScope, Registry, RegistryError

pytestmark = pytest.mark.usefixtures("no_default_scope")


@pytest.fixture
def tree() -> dict[str, Registry]:
    """A family: the root, two children, a grandchild; each with one animal of its own."""
    animals = Registry("animal", scope="animals")
    dogs = Registry("dog", parent=animals, scope="dogs")
    cats = Registry("cat", parent=animals, scope="cats")
    puppies = Registry("puppy", parent=dogs, scope="puppies")
    for registry, name in ((animals, "Fish"), (dogs, "Spitz"), (cats, "Siamese"), (puppies, "Pup")):
        registry.register_module(module=type(name, (), {}))
    return {"animals": animals, "dogs": dogs, "cats": cats, "puppies": puppies}


def test_register_as_decorator_and_call():
    things = Registry("thing")

    @things.register_module()
    class Box:
        pass

    @things.register_module(name=["crate", "chest"])
    def make():
        return "made"

    double = partial(max, 2)
    assert things.register_module("double", module=double) is double
    assert things.get("Box") is Box
    assert things.get("crate") is things.get("chest") is make
    assert things.module_dict == {"Box": Box, "crate": make, "chest": make, "double": double}
    assert len(things) == 4
    assert "Box" in things
    assert "box" not in things
    assert "crate" in repr(things)


def test_registered_class_keeps_its_type():
    things = Registry("thing")

    @things.register_module()
    class Box:
        pass

    assert Box().__class__.__name__ == "Box"


def test_force_replaces():
    things = Registry("thing")
    things.register_module("x", module=int)
    things.register_module("x", force=True, module=str)
    assert things.get("x") is str


def test_duplicate_names_both_files(write_module):
    things = Registry("thing", scope="shop")
    one = write_module("duplicate_one", "class Box:\n    pass\n")
    two = write_module("duplicate_two", "\n\nclass Box:\n    pass\n")
    first = things.get("duplicate_one.Box")
    second = things.get("duplicate_two.Box")
    things.register_module(module=first)
    with pytest.raises(KeyError) as caught:
        things.register_module(["Bag", "Box"], module=second)
    assert f"{one}:1" in str(caught.value)
    assert f"{two}:3" in str(caught.value)
    assert "force=True" in str(caught.value)
    assert things.module_dict == {"Box": first}  # nothing of the list was registered


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": 3}, "a string or a list of strings"),
        ({"name": []}, "a string or a list of strings"),
        ({"name": ["a", 1]}, "a string or a list of strings"),
        ({"force": 1}, "True or False"),
        ({"module": 3}, "Only classes and functions"),
        ({"module": partial(max)}, "has no name of its own"),
    ],
)
def test_register_refuses(arguments, words):
    with pytest.raises(TypeError, match=words):
        Registry("thing").register_module(**arguments)


def test_decorator_without_brackets_is_explained():
    things = Registry("thing")
    with pytest.raises(TypeError, match="with its brackets"):

        @things.register_module
        class Box:
            pass


def test_constructor_refuses():
    with pytest.raises(TypeError, match="scope"):
        Registry("thing", scope=3)
    with pytest.raises(TypeError, match="parent"):
        Registry("thing", parent="model")
    with pytest.raises(TypeError, match=r"locations=\['shop.things'\]"):
        Registry("thing", locations="shop.things")


def test_scope_is_the_package_that_makes_the_registry(write_module):
    write_module("scoped_shop.deep.shelf", "from mainspring.registry import Registry\nTHINGS = Registry('thing')\n")
    write_module("scoped_shop.call", "from mainspring.registry import Registry\nSCOPE = Registry.infer_scope()\n")
    from scoped_shop.call import SCOPE
    from scoped_shop.deep.shelf import THINGS

    assert THINGS.scope == SCOPE == "scoped_shop"
    assert Registry("thing").scope == __name__.partition(".")[0]


def test_split_scope_key():
    assert Registry.split_scope_key("a.b.C") == ("a", "b.C")
    assert Registry.split_scope_key("C") == (None, "C")


def test_names_without_scope_are_found_upwards_only(tree):
    assert tree["puppies"].get("Pup") is not None
    assert tree["puppies"].get("Spitz") is tree["dogs"].get("Spitz") is not None
    assert tree["puppies"].get("Fish") is tree["animals"].get("Fish") is not None
    assert tree["dogs"].get("Pup") is None
    assert tree["dogs"].get("Siamese") is None


def test_names_with_scope_are_found_in_the_whole_tree(tree):
    siamese = tree["cats"].module_dict["Siamese"]
    for registry in tree.values():
        assert registry.get("cats.Siamese") is siamese
        assert registry.get("dogs.puppies.Pup") is tree["puppies"].module_dict["Pup"]
        assert registry.get("animals.Fish") is tree["animals"].module_dict["Fish"]
        assert registry.root is tree["animals"]
    assert tree["animals"].get("cats.Fish") is tree["animals"].get("Fish")  # a child asks its parents
    assert tree["cats"].get("cats.Fish") is None  # but its own scope, by name, is itself alone
    assert tree["animals"].get("birds.Duck") is None


def test_family(tree):
    assert tree["animals"].children == {"dogs": tree["dogs"], "cats": tree["cats"]}
    assert tree["puppies"].parent is tree["dogs"]
    assert tree["animals"].parent is None
    with pytest.raises(KeyError, match="already has a child of scope 'cats'"):
        Registry("lion", parent=tree["animals"], scope="cats")


def test_children_inherit_the_build_function():
    root = Registry("thing", build_func=lambda cfg, registry: (registry.name, cfg), scope="a")
    child = Registry("small thing", parent=root, scope="b")
    own = Registry("own thing", build_func=lambda cfg, registry: "own", parent=root, scope="c")
    assert child.build({"x": 1}) == ("small thing", {"x": 1})
    assert own.build({}) == "own"


def test_a_scope_is_looked_for_in_its_package(write_module):
    root = Registry("thing", scope="base")
    write_module("lazy_project.__init__", "")
    write_module(
        "lazy_project.registry",
        f"""
        import gc
        from mainspring.registry import Registry
        root = next(r for r in gc.get_objects() if isinstance(r, Registry) and id(r) == {id(root)})
        THINGS = Registry("thing", parent=root, locations=["lazy_project.things"])
        """,
    )
    write_module(
        "lazy_project.things",
        """
        from lazy_project.registry import THINGS

        @THINGS.register_module()
        class Box:
            pass
        """,
    )
    assert root.get("lazy_project.Box").__module__ == "lazy_project.things"


def test_a_broken_package_is_not_taken_for_a_missing_one(write_module):
    write_module("broken_project.__init__", "")
    write_module("broken_project.registry", "import no_such_library\n")
    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        Registry("thing").get("broken_project.Box")


def test_locations_are_imported_when_asked_and_once(write_module):
    write_module(
        "lazy_location",
        """
        import lazy_registry
        lazy_registry.imports += 1

        @lazy_registry.THINGS.register_module()
        class Box:
            # What happens during the import sees what is registered so far, and does not begin anew.
            early = lazy_registry.THINGS.get("Box")

        inner = lazy_registry.THINGS.get("Box"), lazy_registry.THINGS.get("Bag")
        """,
    )
    write_module(
        "lazy_registry",
        """
        from mainspring.registry import Registry
        imports = 0
        THINGS = Registry("thing", locations=["lazy_location"])
        CHILD = Registry("small thing", parent=THINGS, scope="small")
        """,
    )
    import lazy_registry

    assert len(lazy_registry.THINGS) == lazy_registry.imports == 0
    box = lazy_registry.CHILD.get("Box")  # a child asks its parent, whose locations count
    assert box.early is None
    import lazy_location

    assert lazy_location.inner == (box, None)
    lazy_registry.THINGS.import_from_location()
    assert "Bag" not in lazy_registry.THINGS
    assert lazy_registry.imports == 1


def test_another_thread_waits_for_a_location(write_module):
    write_module(
        "slow_location",
        """
        import threading
        import slow_registry

        started = threading.Event()
        found = []

        def look():
            started.set()
            found.append(slow_registry.THINGS.get("Late"))

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        started.wait(10)

        @slow_registry.THINGS.register_module()
        class Late:
            pass
        """,
    )
    write_module(
        "slow_registry",
        "from mainspring.registry import Registry\nTHINGS = Registry('thing', locations=['slow_location'])\n",
    )
    import slow_registry

    late = slow_registry.THINGS.get("Late")
    import slow_location

    slow_location.thread.join(10)
    assert slow_location.found == [late]


def test_an_error_in_a_location_is_shown(write_module):
    write_module("failing_location", "1 / 0\n")
    things = Registry("thing", locations=["failing_location"])
    with pytest.raises(ZeroDivisionError):
        things.get("Box")


def test_dotted_paths():
    things = Registry("thing")
    assert things.get("torch.nn.Linear") is torch.nn.Linear
    assert things.get("torch.Tensor.add") is torch.Tensor.add
    assert things.get("torch.nn") is None  # a module cannot be built
    assert things.get("torch.nn.Liner") is None
    assert things.get("no_such_library.Thing") is None
    assert things.get("..") is None
    with pytest.raises(TypeError, match="is a string"):
        things.get(torch.nn.Linear)


def test_mmengine_is_another_word_for_the_root_registries():
    @MODELS.register_module(name="SpareModelOfThisTest")
    class Spare:
        pass

    try:
        child = Registry("model", parent=MODELS, scope="a_project_of_this_test")
        assert MODELS.get("mmengine.SpareModelOfThisTest") is Spare
        assert MODELS.get("mmengine.model.base.SpareModelOfThisTest") is Spare
        assert child.get("mmengine.SpareModelOfThisTest") is Spare
        assert child.get("mainspring.SpareModelOfThisTest") is Spare
        assert child.get("mmengine.registry.Registry") is Registry
        with child.switch_scope_and_registry("mmengine") as registry:
            assert registry is MODELS
    finally:
        del MODELS.module_dict["SpareModelOfThisTest"]
        del MODELS.children["a_project_of_this_test"]


def test_switching_scopes(tree):
    dogs, cats, puppies = tree["dogs"], tree["cats"], tree["puppies"]
    with dogs.switch_scope_and_registry(None) as registry:
        assert registry is dogs  # there is no default scope
    with dogs.switch_scope_and_registry("cats") as outer:
        assert outer is cats
        with dogs.switch_scope_and_registry("puppies") as inner:
            assert inner is puppies
            assert DefaultScope.get_current_instance().scope_name == "puppies"
        with dogs.switch_scope_and_registry(None) as inner:
            assert inner is cats
    assert DefaultScope.get_current_instance() is None


def test_an_empty_registry_of_a_scope_is_found(tree):
    empty = Registry("bird", parent=tree["animals"], scope="birds")
    with tree["dogs"].switch_scope_and_registry("birds") as registry:
        assert registry is empty


def test_unknown_default_scope_is_said_once(tree, caplog):
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            with tree["dogs"].switch_scope_and_registry("birds_of_nowhere") as registry:
                assert registry is tree["dogs"]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "birds_of_nowhere" in caplog.text


def test_building_in_threads_keeps_scopes_apart(tree):
    """Each thread builds under a scope of its own, all at the same moment."""
    for scope in ("dogs", "cats"):
        tree[scope].register_module("Home", module=partial(str, scope))
    both_inside = threading.Barrier(2, timeout=10)
    built = {}

    def build(scope):
        with DefaultScope.overwrite_default_scope(scope):
            both_inside.wait()
            built[scope] = tree["animals"].build({"type": "Home"})
            both_inside.wait()

    threads = [threading.Thread(target=build, args=(scope,)) for scope in ("dogs", "cats")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert built == {"dogs": "dogs", "cats": "cats"}


def test_registry_error_shows_its_message():
    error = RegistryError("there is no 'x'\nhere")
    assert isinstance(error, KeyError)
    assert str(error) == "there is no 'x'\nhere"
