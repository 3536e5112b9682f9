import warnings

import pytest

from mainspring.utils import deprecated_api_warning, deprecated_function, has_method, is_method_overridden


@deprecated_api_warning({"colour": "color"})
def paint(color="red", wide=False):
    return color, wide


def test_an_argument_by_its_earlier_name():
    with pytest.warns(
        DeprecationWarning, match='"colour" is deprecated in `paint`, please use "color" instead'
    ) as seen:
        assert paint(colour="blue", wide=True) == ("blue", True)
    assert seen[0].filename == __file__
    with warnings.catch_warnings(action="error"):
        assert paint("green") == ("green", False)
        assert paint(color="green") == ("green", False)
    with pytest.raises(TypeError, match="paint was given 'color', and 'colour', which is its earlier name"):
        paint(colour="blue", color="red")


def test_an_argument_of_a_method():
    class Brush:
        @deprecated_api_warning({"size": "width"}, cls_name="Brush")
        def __init__(self, width=1):
            self.width = width

    with pytest.warns(DeprecationWarning, match='"size" is deprecated in `Brush.__init__`'):
        assert Brush(size=4).width == 4


def test_a_function_that_goes_away():
    @deprecated_function("0.2", "0.4", "use write")
    def scribble(text):
        """Write.

        Args:
            text: What.
        """
        return text.upper()

    with pytest.warns(
        DeprecationWarning,
        match="scribble' is deprecated in version 0.2 and will be removed in version 0.4. Please use write.",
    ) as seen:
        assert scribble("a") == "A"
    assert seen[0].filename == __file__
    assert scribble.__name__ == "scribble"
    assert scribble.__doc__.startswith(".. deprecated:: 0.2\n    Deprecated and will be removed in version 0.4.")
    assert scribble.__doc__.endswith("Write.\n\nArgs:\n    text: What.")


def test_a_function_without_a_docstring_gets_one():
    @deprecated_function("0.2", "0.4", "use write")
    def scribble():
        pass

    assert scribble.__doc__.endswith("Please use write.\n\n")


def test_methods():
    class Base:
        attribute = 3

        def own(self):
            pass

        def other(self):
            pass

    class Derived(Base):
        def own(self):
            pass

    assert has_method(Base(), "own")
    assert has_method(Base, "own")
    assert not has_method(Base(), "attribute")
    assert not has_method(Base(), "missing")
    assert is_method_overridden("own", Base, Derived)
    assert is_method_overridden("own", Base, Derived())
    assert not is_method_overridden("other", Base, Derived)
    assert not is_method_overridden("own", Derived, type("Child", (Derived,), {}))
    with pytest.raises(TypeError, match="base_class must be a class"):
        is_method_overridden("own", Base(), Derived)
    with pytest.raises(AttributeError, match="missing"):
        is_method_overridden("missing", Base, Derived)
