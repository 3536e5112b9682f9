"""Where in a configuration something went wrong."""

from __future__ import annotations

import threading
from copy import deepcopy

import pytest

from mainspring.registry import DefaultScope, Registry, RegistryError, building_within, check_cfg, is_misspelt

TREES = Registry("tree", scope="forest")
FOREST_OAKS = Registry("tree", scope="oaks", parent=TREES)


@TREES.register_module()
class Tree:
    """Builds its branches, from a copy of their configs if it is told to."""

    def __init__(self, branches=(), crown=None, copies=False, height=1):
        branches = deepcopy(branches) if copies else branches
        self.branches = [TREES.build(branch) for branch in branches]
        self.crown = TREES.build(crown) if crown is not None else None
        self.scope = DefaultScope.get_current_instance().scope_name if DefaultScope.get_current_instance() else None
        self.height = height + 0


@FOREST_OAKS.register_module()
class Oak(Tree):
    pass


def wrong_at(cfg):
    """Return where the error says that it stands, within a whole configuration, and the error."""
    with pytest.raises((RegistryError, TypeError)) as caught, building_within(cfg):
        TREES.build(cfg["wood"]["first"])
    text = "\n".join([str(caught.value), *getattr(caught.value, "__notes__", ())])
    return text


@pytest.mark.parametrize("copies", [False, True])
@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        ({"type": "Tre"}, "wood.first.branches[1].crown: 'Tre' is not in"),
        ({"type": "Tree", "brnches": []}, "wood.first.branches[1].crown: Tree has no argument 'brnches'"),
        ({"tpe": "Tree"}, "wood.first.branches[1].crown: A config needs the key 'type'"),
        ({"type": 3}, "wood.first.branches[1].crown: type must be a name"),
        ({"type": "Tree", "height": "tall"}, "Raised while building Tree at wood.first.branches[1].crown from"),
    ],
)
def test_the_place_is_that_in_the_whole_configuration(wrong, place, copies):
    cfg = {"wood": {"first": {"type": "Tree", "copies": copies, "branches": [{"type": "Tree", "height": 2}, {}]}}}
    cfg["wood"]["first"]["branches"][1] = {"type": "Tree", "crown": wrong, "height": 3}
    assert place in wrong_at(cfg)


def test_of_equal_configs_the_one_that_is_built_is_named():
    same = {"type": "Tree", "height": "tall"}
    cfg = {"before": {"type": "Tree", "crown": same}, "wood": {"first": {"type": "Tree", "crown": same}}}
    assert "Tree at wood.first.crown from" in wrong_at(cfg)
    twice = {"type": "Tree", "crown": {"type": "Tree", "crown": {"type": "Tree", "crown": {"type": "Tre"}}}}
    assert wrong_at({"wood": {"first": twice}}).startswith("wood.first.crown.crown.crown: 'Tre'")


def test_outside_of_a_configuration_the_place_within_what_is_built_is_named():
    with pytest.raises(RegistryError, match=r"^branches\[0\]: 'Tre' is not in"):
        TREES.build({"type": "Tree", "branches": [{"type": "Tre"}]})
    with pytest.raises(RegistryError, match=r"^'Tre' is not in"):
        TREES.build({"type": "Tre"})


def test_what_stands_nowhere_gets_the_place_of_the_part():
    with pytest.raises(RegistryError, match=r"^model: 'Tre' is not in"), building_within({"model": 3}, "model"):
        TREES.build({"type": "Tre"})


def test_an_error_tells_file_and_signature_and_keeps_its_traceback():
    with pytest.raises(TypeError) as caught:
        TREES.build({"type": "Tree", "height": "tall"})
    (note,) = caught.value.__notes__
    assert "test_trail.py:" in note
    assert "Its signature: Tree(branches=(), crown=None, copies=False, height=1)." in note
    assert caught.traceback[-1].name == "__init__"


def test_threads_build_in_scopes_and_places_of_their_own():
    inside, seen, errors = threading.Barrier(2), {}, {}

    def work(scope, name):
        cfg = {"type": "Tree", "_scope_": scope, "crown": {"type": name}}
        with building_within({scope: cfg}):
            for _ in range(50):
                inside.wait(timeout=10)
                try:
                    crown = TREES.build(cfg).crown
                    seen.setdefault(scope, set()).add(crown.scope)
                except RegistryError as error:
                    errors.setdefault(scope, set()).add(str(error).split(": ")[0])

    threads = [threading.Thread(target=work, args=args) for args in (("oaks", "Oak"), ("forest", "Birch"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {"oaks": {"oaks"}}
    assert errors == {"forest": {"forest.crown"}}


def test_a_scope_of_one_object_ends_with_it():
    tree = TREES.build({"type": "Tree", "branches": [{"type": "Oak", "_scope_": "oaks"}, {"type": "Tree"}]})
    before = None if DefaultScope.get_current_instance() is None else DefaultScope.get_current_instance().scope_name
    assert [branch.scope for branch in tree.branches] == ["oaks", before]
    with pytest.raises(TypeError):
        TREES.build({"type": "Oak", "_scope_": "oaks", "height": "tall"})
    after = None if DefaultScope.get_current_instance() is None else DefaultScope.get_current_instance().scope_name
    assert after == before


def test_a_config_is_checked_without_building_it():
    assert check_cfg({"type": "Tree", "height": "tall"}, TREES) is Tree
    with pytest.raises(TypeError, match=r"no argument 'heigth'\. Did you mean 'height'"):
        check_cfg({"type": "Tree", "heigth": 3}, TREES)
    assert check_cfg({"type": "Oak", "_scope_": "oaks"}, TREES) is Oak
    assert is_misspelt("Tre", TREES)
    assert not is_misspelt("Birch", TREES)
    assert not is_misspelt("jungle.Tre", TREES)  # another project's, which may not be installed


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "mmdet.FasterRCNN",
            "'mmdet' is the scope of MMDetection, which is not installed here: write `pip install mmdet`",
        ),
        ("mmseg.FCN", "`pip install mmsegmentation`"),
        ("FlexibleRunner", "It is one of MMEngine's that there is not here. Write Runner."),
        ("Birch", "custom_imports=dict(imports=['your_package.your_module'])"),
    ],
)
def test_what_is_said_of_names_that_are_not_there(name, words):
    with pytest.raises(RegistryError) as caught:
        TREES.build({"type": name})
    assert words in str(caught.value)
