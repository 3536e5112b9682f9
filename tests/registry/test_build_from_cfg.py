from __future__ import annotations

import functools
import types
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.registry import (
    DefaultScope,
    Registry,
    build,
    build_from_cfg,
    build_model_from_cfg,
    build_runner_from_cfg,
    build_scheduler_from_cfg,
)

pytestmark = pytest.mark.usefixtures("no_default_scope")

THINGS = Registry("thing", scope="shop")
words = st.dictionaries(st.sampled_from("abcdef"), st.integers())


@THINGS.register_module()
class Box:
    def __init__(self, width, height=1, *, colour="red"):
        self.width, self.height, self.colour = width, height, colour


@THINGS.register_module()
def gather(**kwargs):
    return kwargs


@THINGS.register_module()
class Fussy:
    def __init__(self, value: int) -> None:
        if value < 0:
            raise ValueError("no negative value")
        self.value = value


@THINGS.register_module()
class Parcel:
    def __init__(self, content):
        self.content = THINGS.build(content)


def test_type_by_name_path_class_and_function():
    assert THINGS.build({"type": "Box", "width": 2}).width == 2
    assert THINGS.build({"type": "shop.Box", "width": 2}).width == 2
    assert THINGS.build({"type": Box, "width": 2}).width == 2
    assert THINGS.build({"type": "gather", "a": 1}) == {"a": 1}
    assert THINGS.build({"type": gather, "a": 1}) == {"a": 1}
    assert THINGS.build({"type": functools.partial(gather, b=2), "a": 1}) == {"a": 1, "b": 2}
    assert THINGS.build({"type": "builtins.complex", "real": 1}) == 1 + 0j


@given(cfg=words, defaults=words)
def test_defaults_fill_in_and_nothing_is_changed(cfg, defaults):
    given_cfg, given_defaults = {"type": "gather", **cfg}, dict(defaults)
    assert build_from_cfg(given_cfg, THINGS, given_defaults) == {**defaults, **cfg}
    assert given_cfg == {"type": "gather", **cfg}
    assert given_defaults == defaults


def test_any_mapping_will_do():
    cfg = types.MappingProxyType({"type": "Box", "width": 3})
    assert build_from_cfg(cfg, THINGS).width == 3
    assert build_from_cfg({"width": 3}, THINGS, {"type": "Box"}).width == 3
    assert build(cfg, THINGS, height=4).height == 4


def test_build_leaves_what_is_built():
    box = Box(1)
    assert build(box, THINGS, height=4) is box
    assert build(None, THINGS) is None
    assert build("Box", THINGS) == "Box"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("Box", THINGS), "cfg must be a dict, got 'Box'"),
        (({"type": "Box"}, "things"), "registry must be a Registry"),
        (({"type": "Box"}, THINGS, 3), "default_args must be a dict, got 3"),
        (({"type": 3}, THINGS), "type must be a name, a class or a function, got 3"),
    ],
)
def test_wrong_types_are_named(arguments, words):
    with pytest.raises(TypeError, match=words):
        build_from_cfg(*arguments)


def test_scope_key_holds_for_what_is_built_within():
    child = Registry("small thing", parent=THINGS, scope="small_shop")
    try:
        child.register_module("Box", module=lambda: DefaultScope.get_current_instance().scope_name)
        parcel = THINGS.build({"type": "Parcel", "content": {"type": "Box"}, "_scope_": "small_shop"})
        assert parcel.content == "small_shop"
        assert isinstance(THINGS.build({"type": "Box", "width": 1}), Box)
        with DefaultScope.overwrite_default_scope("small_shop"):
            assert THINGS.build({"type": "Box"}) == "small_shop"
            assert THINGS.build({"type": "shop.Box", "width": 1}).width == 1
    finally:
        del THINGS.children["small_shop"]


def test_misspelt_argument():
    with pytest.raises(TypeError) as caught:
        THINGS.build({"type": "Box", "width": 1, "color": "blue"})
    message = str(caught.value)
    assert "Box has no argument 'color'. Did you mean 'colour'?" in message
    assert "Box(width, height=1, *, colour='red')" in message
    assert "'thing' registry of scope 'shop'" in message
    assert f"{Path(__file__)}:" in message


def test_missing_argument():
    with pytest.raises(TypeError, match=r"Box has no argument 'widht'\. Did you mean 'width'") as caught:
        THINGS.build({"type": "Box", "widht": 1})
    assert "Box needs 'width', which is not given." in str(caught.value)


def test_argument_added_by_the_caller_is_told_apart():
    with pytest.raises(TypeError, match=r"'runner' \(which the code that builds it adds"):
        build({"type": "Box", "width": 1}, THINGS, runner=None)


def test_the_check_asks_for_no_more_than_the_call_does():
    def inject(function):
        @functools.wraps(function)
        def wrapper(self, *args, **kwargs):
            return function(self, *args, width=7, **kwargs)

        return wrapper

    class Wrapped(Box):
        __init__ = inject(Box.__init__)

    assert THINGS.build({"type": Wrapped}).width == 7
    assert THINGS.build({"type": dict, "a": 1}) == {"a": 1}  # without a signature


def test_exception_keeps_its_type_and_gains_a_note():
    with pytest.raises(ValueError, match="no negative value") as caught:
        THINGS.build({"type": "Parcel", "content": {"type": "Fussy", "value": -1}})
    assert caught.value.args == ("no negative value",)
    inner, outer = caught.value.__notes__
    assert "building Fussy at content from the 'thing' registry of scope 'shop'" in inner
    assert "building Parcel" in outer
    assert str(Path(__file__)) in inner
    assert caught.traceback[-1].name == "__init__"


def test_objects_reached_by_name_are_made_by_get_instance():
    class Shared:
        instances: dict[str, Shared] = {}  # noqa: RUF012

        def __init__(self, name, size=1):
            self.name, self.size = name, size

        @classmethod
        def get_instance(cls, name, **kwargs):
            return cls.instances.setdefault(name, cls(name, **kwargs))

        @classmethod
        def get_current_instance(cls):
            return list(cls.instances.values())[-1]

    made = THINGS.build({"type": Shared, "name": "one", "size": 2})
    assert Shared.get_current_instance() is made
    assert THINGS.build({"type": Shared, "name": "one"}) is made
    with pytest.raises(TypeError, match="Did you mean 'size'"):
        THINGS.build({"type": Shared, "name": "two", "sizes": 2})


def test_list_of_models_becomes_a_sequential():
    models = Registry("model", build_model_from_cfg, scope="shop")
    linear = {"type": "torch.nn.Linear", "in_features": 2, "out_features": 2}
    model = models.build([linear, linear], default_args={"bias": False})
    assert type(model).__name__ == "Sequential"
    assert type(model).__module__.startswith("mainspring.model")
    assert [name for name, _ in model.named_parameters()] == ["0.weight", "1.weight"]
    assert models.build(linear).bias is not None


def test_runner_is_built_from_the_whole_config():
    runners = Registry("runner", build_runner_from_cfg, scope="shop")

    @runners.register_module(["Runner", "Special"])
    class Runner:
        @classmethod
        def from_cfg(cls, cfg):
            return cfg

    cfg = {"model": 1, "runner_type": "Special"}
    assert runners.build(cfg) is cfg
    assert runners.build({"model": 1}) == {"model": 1}
    assert runners.build({"model": 1, "_scope_": "shop", "runner_type": Runner})["model"] == 1
    with pytest.raises(KeyError, match="Did you mean 'Special'"):
        runners.build({"runner_type": "Specail"})
    with pytest.raises(TypeError, match="cfg must be a dict"):
        runners.build("Runner")


class Ramp:
    def __init__(self, optimizer, end, by_epoch=True):
        self.optimizer, self.end, self.by_epoch = optimizer, end, by_epoch

    @classmethod
    def build_iter_from_epoch(cls, *args, end, epoch_length, by_epoch=True, **kwargs):
        return cls(*args, end=end * epoch_length, by_epoch=False, **kwargs)


def test_schedulers_convert_epochs_to_iterations():
    schedulers = Registry("parameter scheduler", build_scheduler_from_cfg, scope="shop")
    schedulers.register_module(module=Ramp)
    defaults = {"optimizer": "sgd", "epoch_length": 10}
    cfg = {"type": "Ramp", "end": 5, "convert_to_iter_based": True}

    plain = schedulers.build({"type": "Ramp", "end": 5}, default_args=defaults)
    assert (plain.optimizer, plain.end, plain.by_epoch) == ("sgd", 5, True)
    converted = schedulers.build(cfg, default_args=defaults)
    assert (converted.optimizer, converted.end, converted.by_epoch) == ("sgd", 50, False)
    assert schedulers.build({**cfg, "type": Ramp, "_scope_": "shop"}, default_args=defaults).end == 50
    assert "convert_to_iter_based" in cfg

    with pytest.raises(ValueError, match="epoch_length"):
        schedulers.build(cfg, default_args={"optimizer": "sgd"})
    with pytest.raises(ValueError, match="by_epoch=False"):
        schedulers.build({**cfg, "by_epoch": False}, default_args=defaults)
    with pytest.raises(TypeError, match="has no build_iter_from_epoch"):
        schedulers.build({**cfg, "type": Box}, default_args=defaults)
    with pytest.raises(KeyError, match="needs the key 'type'"):
        schedulers.build({"convert_to_iter_based": True})
