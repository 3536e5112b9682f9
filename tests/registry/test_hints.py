from __future__ import annotations

import pytest

from mainspring.registry import DefaultScope, Registry

pytestmark = pytest.mark.usefixtures("no_default_scope")


@pytest.fixture
def birds() -> Registry:
    root = Registry("bird", scope="aviary")
    child = Registry("small bird", parent=root, scope="hedge")
    for registry, name in ((root, "Albatross"), (child, "Goldcrest")):
        registry.register_module(module=type(name, (), {}))
    return root


def miss(registry: Registry, key: str) -> str:
    with pytest.raises(KeyError) as caught:
        registry.build({"type": key})
    message = str(caught.value)
    assert message.startswith(f"{key!r} is not in the {registry.name!r} registry.")
    return message


def test_nearest_name_and_the_import_that_is_missing(birds):
    message = miss(birds, "Albatros")
    assert "Searched scope 'aviary'." in message
    assert "Did you mean 'Albatross'?" in message
    assert "custom_imports=dict(imports=['your_package.your_module'])" in message


def test_all_scopes_searched_are_named(birds):
    child = birds.children["hedge"]
    assert "Searched scope 'hedge', then 'aviary'." in miss(child, "Penguin")
    with DefaultScope.overwrite_default_scope("hedge"), pytest.raises(KeyError) as caught:
        birds.build({"type": "Penguin"})
    assert "then 'aviary' (the default scope is 'hedge')" in str(caught.value)
    assert "Searched scope 'hedge', then 'aviary'." in miss(birds, "hedge.Penguin")
    assert "Searched scope 'hedge'." in miss(child, "hedge.Penguin")


def test_name_of_another_scope(birds):
    assert "write type='hedge.Goldcrest'" in miss(birds, "Goldcrest")
    assert "Did you mean 'hedge.Goldcrest'?" in miss(birds, "Goldcrst")


def test_unknown_scope(birds):
    message = miss(birds, "hegde.Goldcrest")
    assert "'hegde' is no scope of this registry (it has 'aviary' and 'hedge')" in message
    assert "Did you mean 'hedge'?" in message
    assert "write type='hedge.Goldcrest'" in message


def test_dotted_path_with_a_slip(birds):
    assert "Did you mean 'torch.nn.Linear'" in miss(birds, "torch.nn.Linaer")


def test_name_of_another_registry(birds):
    fish = Registry("fish of this test", scope="pond")
    fish.register_module("Wels", module=int)
    assert "There is a 'Wels' in the 'fish of this test' registry." in miss(birds, "Wels")


@pytest.mark.parametrize("name", ["Kingfisher", "halcyon"])
def test_module_that_would_register_it(birds, write_module, name):
    write_module("riverside.birds.__init__", "")
    write_module(
        "riverside.birds.fishers",
        """
        from somewhere import BIRDS

        @BIRDS.register_module(name=["halcyon", "Kingfisher"])
        class Kingfisher:
            pass
        """,
    )
    write_module("riverside.talk", "# Kingfisher and halcyon are only talked about: register_module\n")
    message = miss(birds, name)
    assert "`import riverside.birds.fishers`" in message
    assert "custom_imports=dict(imports=['riverside.birds.fishers'])" in message


def test_module_of_the_inner_source_directory(birds, write_module, tmp_path, monkeypatch):
    write_module("src.inner_project.birds", "@BIRDS.register_module()\nclass Heron:\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path / "src")
    assert "`import inner_project.birds`" in miss(birds, "Heron")


def test_class_that_is_not_registered(birds, write_module):
    write_module("unregistered_birds", "class Dipper:\n    pass\n")
    import unregistered_birds  # noqa: F401

    message = miss(birds, "Dipper")
    assert "'unregistered_birds.Dipper', which is not registered" in message


@pytest.mark.parametrize(
    ("cfg", "words"),
    [
        ({"typ": "Albatross"}, "has only 'typ'. Did you mean 'type' by 'typ'?"),
        ({"name": "albatross", "size": 3}, "Did you mean type='Albatross' by name='albatross'?"),
        (
            {"size": 3, "age": 1},
            "has only 'size' and 'age'. Write type='...', with a name such as 'Albatross'",
        ),
        ({}, "it is empty"),
    ],
)
def test_config_without_type(birds, cfg, words):
    with pytest.raises(KeyError) as caught:
        birds.build(cfg)
    assert "needs the key 'type' to be built from the 'bird' registry of scope 'aviary'" in str(caught.value)
    assert words in str(caught.value)
