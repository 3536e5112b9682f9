"""The container that carries one sample through a model, from the data set to the metric."""

from __future__ import annotations

import copy
import inspect
import reprlib
from collections.abc import Iterator, Mapping
from typing import Any, Self

import numpy as np
import torch

from ..utils import takes_non_blocking
from .describe import entry, indent
from .errors import MissingFieldError, other_kind, taken

__all__ = ["BaseDataElement"]

_PLAIN = frozenset((str, bytes, int, float, bool, type(None)))  # nobody can change their values
_ABSENT = object()


class _SignatureOfInit:
    """How a class is called, for :func:`inspect.signature`, which otherwise takes it from ``__new__``."""

    def __get__(self, instance: object, owner: type) -> inspect.Signature:
        if instance is not None:
            raise AttributeError("__signature__")
        signature = inspect.signature(owner.__init__)  # type: ignore[misc]
        return signature.replace(parameters=list(signature.parameters.values())[1:])


class BaseDataElement:
    """The data of one sample or prediction as attributes and, apart from them, what is known about it.

    *Data fields* (tensors, arrays, labels, further elements) are ordinary attributes: set, read and deleted.
    *Metainfo* (the image's size, its path) is read like an attribute, but changes only through
    :meth:`set_metainfo`, which copies what it is given. A name is one or the other, never both. ``to``,
    ``cpu``, ``cuda``, ``numpy``, ``to_tensor`` and ``detach`` return a new element whose data fields are
    converted; they reach tensors and elements that are fields, not those inside a field's list or dict.

    Args:
        metainfo: The metainfo, deep-copied.
        **kwargs: The data fields.

    Raises:
        AttributeError: A name is given as metainfo and as data, or belongs to a method.
        TypeError: ``metainfo`` is no mapping.

    >>> sample = BaseDataElement(metainfo=dict(img_shape=(32, 48)), labels=torch.tensor([3, 1]))
    >>> sample.scores = torch.tensor([0.5, 0.25])
    >>> sample.img_shape, sample.keys(), sample.metainfo_keys()
    ((32, 48), ['labels', 'scores'], ['img_shape'])
    >>> getattr(sample, "labels_", None), "labels" in sample
    (None, True)
    >>> sample.to(torch.float64)
    BaseDataElement(
        metainfo:
            img_shape: (32, 48)
        data:
            labels: tensor([3., 1.], dtype=torch.float64)
            scores: tensor([0.5000, 0.2500], dtype=torch.float64)
    )

    A subclass gives a field a type with a property over a field of the same name with ``_`` before it. The
    field is then listed, read, set and deleted under the property's name:

    >>> class Detection(BaseDataElement):
    ...     @property
    ...     def boxes(self) -> torch.Tensor:
    ...         return self._boxes
    ...
    ...     @boxes.setter
    ...     def boxes(self, value: torch.Tensor) -> None:
    ...         self.set_field(value, "_boxes", dtype=torch.Tensor)
    ...
    ...     @boxes.deleter
    ...     def boxes(self) -> None:
    ...         del self._boxes
    >>> Detection(boxes=torch.zeros(2, 4)).keys()
    ['boxes']
    >>> Detection(boxes=[0, 0, 8, 8])
    Traceback (most recent call last):
    ...
    TypeError: boxes of Detection must be of type Tensor, but it is of type list.
    """

    # The instance's __dict__ holds the data fields and nothing else, so reading one costs nothing extra.
    __slots__ = ("__dict__", "__weakref__", "_metainfo")
    _metainfo: dict[str, Any]
    __signature__ = _SignatureOfInit()

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Make an element without fields; pickle and copy come in here, without ``__init__``."""
        self = super().__new__(cls)
        object.__setattr__(self, "_metainfo", {})
        return self

    def __init__(self, *, metainfo: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        if metainfo is not None:
            self.set_metainfo(metainfo)
        if kwargs:
            self.set_data(kwargs)

    # Setting and deleting.

    def set_metainfo(self, metainfo: Mapping[str, Any]) -> None:
        """Add metainfo, or replace it; the values are deep-copied."""
        _require_mapping("metainfo", metainfo)
        for name, value in _independent(metainfo).items():
            self.set_field(value, name, None, "metainfo")

    def set_data(self, data: Mapping[str, Any]) -> None:
        """Set each item as a data field."""
        _require_mapping("data", data)
        for name, value in data.items():
            self.__setattr__(name, value)  # which takes half the time of setattr

    def update(self, instance: BaseDataElement) -> None:
        """Take over the metainfo and the data fields of another element; equal names are replaced."""
        if not isinstance(instance, BaseDataElement):
            raise TypeError(
                f"update takes over the fields of another BaseDataElement, but it was given a "
                f"{type(instance).__name__}. For a dict, write set_data(...) or set_metainfo(...)."
            )
        self.set_metainfo(dict(instance.metainfo_items()))
        self.set_data(dict(instance.items()))

    def set_field(
        self,
        value: Any,
        name: str,
        dtype: type | tuple[type, ...] | None = None,
        field_type: str = "data",
    ) -> None:
        """Set one field; the way to write a typed property (see the class).

        Args:
            value: The value, not copied.
            name: The field's name.
            dtype: The type, or types, that the value must have.
            field_type: ``"data"`` or ``"metainfo"``.

        Raises:
            TypeError: The value is not of ``dtype``.
            ValueError: ``field_type`` is neither of the two.
            AttributeError: The name is a field of the other kind, or belongs to a method.
        """
        if dtype is not None and not isinstance(value, dtype):
            expected = " or ".join(t.__name__ for t in (dtype if isinstance(dtype, tuple) else (dtype,)))
            raise TypeError(
                f"{self._public(name)} of {type(self).__name__} must be of type {expected}, "
                f"but it is of type {type(value).__name__}."
            )
        if field_type == "data":
            others = self._metainfo
        elif field_type == "metainfo":
            others = self.__dict__
        else:
            raise ValueError(f"field_type must be 'data' or 'metainfo', but it is {field_type!r}.")
        if name in others:
            raise other_kind(self._public(name), type(self).__name__, field_type)
        attribute = getattr(type(self), name, _ABSENT)
        if attribute is _ABSENT and field_type == "data":
            self.__dict__[name] = self._fitting(value, name)
        elif attribute is _ABSENT:
            self._metainfo[name] = value
        elif name in _RESERVED or callable(attribute):
            raise taken(name, type(self).__name__)
        elif isinstance(attribute, property):
            object.__setattr__(self, name, value)  # its setter comes back here with the field's own name
            if f"_{name}" in others:
                raise other_kind(name, type(self).__name__, field_type)
        elif field_type == "metainfo":  # reading it would find the class's attribute
            raise taken(name, type(self).__name__)
        else:
            self.__dict__[name] = self._fitting(value, name)

    def _fitting(self, value: Any, name: str) -> Any:
        """Return what is kept of a data field; a subclass checks here that it fits to the others."""
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        self.set_field(value, name)

    def __delattr__(self, name: str) -> None:
        if name in self.__dict__:
            del self.__dict__[name]
        elif name in self._metainfo:
            del self._metainfo[name]
        elif hasattr(type(self), name):
            object.__delattr__(self, name)  # a property's deleter, or Python's own error
        else:
            raise self._missing(name)

    __delitem__ = __delattr__

    def pop(self, name: str, *default: Any) -> Any:
        """Remove a field, of data or of metainfo, and return its value.

        Args:
            name: The field's name.
            *default: One value to return where there is no such field.

        Raises:
            KeyError: There is no such field, and no default was given.
        """
        if len(default) > 1:
            raise TypeError(f"pop takes a name and at most one default, but it was given {len(default)}.")
        stored = self._stored(name)
        if stored in self.__dict__:
            return self.__dict__.pop(stored)
        if stored in self._metainfo:
            return self._metainfo.pop(stored)
        if default:
            return default[0]
        raise KeyError(str(self._missing(name)))

    # Reading.

    def __getattr__(self, name: str) -> Any:  # called only where the ordinary way found nothing
        metainfo = self._metainfo
        if name in metainfo:
            return metainfo[name]
        attribute = getattr(type(self), name, None)
        if isinstance(attribute, property) and attribute.fget is not None:
            return attribute.fget(self)  # its getter failed: let the error that it raised be seen
        raise self._missing(name)

    def get(self, key: str, default: Any = None) -> Any:
        """Return a field, of data or of metainfo, or ``default`` where there is none."""
        return getattr(self, key) if key in self else default

    def __contains__(self, item: object) -> bool:
        stored = self._stored(item)
        return stored in self.__dict__ or stored in self._metainfo

    def keys(self) -> list[str]:
        """Return the names of the data fields, in the order in which they were set."""
        return [self._public(name) for name in self.__dict__]

    def values(self) -> list[Any]:
        """Return the values of the data fields."""
        return [value for _, value in self.items()]

    def items(self) -> Iterator[tuple[str, Any]]:
        """Iterate over the names and values of the data fields."""
        return self._known(self.__dict__)

    def metainfo_keys(self) -> list[str]:
        """Return the names of the metainfo."""
        return [self._public(name) for name in self._metainfo]

    def metainfo_values(self) -> list[Any]:
        """Return the values of the metainfo."""
        return [value for _, value in self.metainfo_items()]

    def metainfo_items(self) -> Iterator[tuple[str, Any]]:
        """Iterate over the names and values of the metainfo."""
        return self._known(self._metainfo)

    @property
    def metainfo(self) -> dict[str, Any]:
        """The metainfo as a new dict; to change it, see :meth:`set_metainfo`."""
        return dict(self.metainfo_items())

    def all_keys(self) -> list[str]:
        """Return the names of metainfo and data."""
        return self.metainfo_keys() + self.keys()

    def all_values(self) -> list[Any]:
        """Return the values of metainfo and data."""
        return self.metainfo_values() + self.values()

    def all_items(self) -> Iterator[tuple[str, Any]]:
        """Iterate over the names and values of metainfo and data."""
        yield from self.metainfo_items()
        yield from self.items()

    def to_dict(self) -> dict[str, Any]:
        """Return metainfo and data in one dict; fields that are elements become dicts too."""
        plain = dict(self._known(self._metainfo))
        for name, value in self._known(self.__dict__):
            plain[name] = value
        for name, value in plain.items():
            if isinstance(value, BaseDataElement):
                plain[name] = value.to_dict()
        return plain

    # Copies.

    def new(self, *, metainfo: Mapping[str, Any] | None = None, **kwargs: Any) -> Self:
        """Return a new element of the same class.

        Args:
            metainfo: Its metainfo; None for a deep copy of this element's.
            **kwargs: Its data fields; this element's, not copied, where none is given.
        """
        fresh = type(self)()
        fresh.set_metainfo(self._metainfo if metainfo is None else metainfo)
        fresh.set_data(kwargs or self.__dict__)
        return fresh

    def clone(self) -> Self:
        """Return a new element with the same values: metainfo deep-copied, data fields shared."""
        twin = type(self).__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin._metainfo.update(_independent(self._metainfo))
        return twin

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Return an element in which every data field that has a ``to`` was converted by it.

        ``non_blocking`` reaches only those that take it.
        """
        return self._converted("to", *args, **kwargs)

    def cpu(self) -> Self:
        """Return an element whose data lies in host memory."""
        return self._converted("cpu")

    def cuda(self) -> Self:
        """Return an element whose data lies on the current CUDA device."""
        return self._converted("cuda")

    def detach(self) -> Self:
        """Return an element whose data is cut off from the graph of gradients."""
        return self._converted("detach")

    def numpy(self) -> Self:
        """Return an element with arrays in place of tensors; bfloat16, which NumPy lacks, becomes float32."""
        arrays = self._converted("detach")
        for name, value in arrays.__dict__.items():
            if isinstance(value, torch.Tensor):
                value = value.float() if value.dtype == torch.bfloat16 else value
                arrays.__dict__[name] = value.cpu().numpy()
            elif isinstance(value, BaseDataElement):
                arrays.__dict__[name] = value.numpy()
        return arrays

    def to_tensor(self) -> Self:
        """Return an element with tensors in place of arrays; they share the arrays' memory."""
        tensors = self.clone()
        for name, value in tensors.__dict__.items():
            if isinstance(value, np.ndarray):
                tensors.__dict__[name] = torch.from_numpy(value)
            elif isinstance(value, BaseDataElement):
                tensors.__dict__[name] = value.to_tensor()
        return tensors

    def _converted(self, method: str, *args: Any, **kwargs: Any) -> Self:
        converted = self.clone()
        fields = converted.__dict__
        for name, value in fields.items():
            convert = getattr(value, method, None)
            if callable(convert):
                options = kwargs
                if "non_blocking" in kwargs and not takes_non_blocking(type(value)):  # type: ignore[arg-type]
                    options = {key: option for key, option in kwargs.items() if key != "non_blocking"}
                fields[name] = convert(*args, **options)
        return converted

    def __getstate__(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return self.__dict__, self._metainfo

    def __setstate__(self, state: tuple[dict[str, Any], dict[str, Any]]) -> None:
        data, metainfo = state
        self.__dict__.update(data)
        self._metainfo.update(metainfo)

    # Names and texts.

    def _stored(self, name: Any) -> Any:
        """Return the name under which a field lies: a typed property's begins with ``_``."""
        if name in self.__dict__ or name in self._metainfo or not isinstance(name, str):
            return name
        return f"_{name}" if isinstance(getattr(type(self), name, None), property) else name

    def _public(self, name: str) -> str:
        """Return the name under which a field is known; the reverse of ``_stored``."""
        if name[:1] == "_" and isinstance(getattr(type(self), name[1:], None), property):
            return name[1:]
        return name

    def _known(self, fields: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """Iterate over fields as they are known: a typed property's as the property gives it."""
        for name, value in list(fields.items()):  # so that who iterates may delete and add some
            if name[:1] != "_" or (public := self._public(name)) == name:
                yield name, value
            else:
                yield public, getattr(self, public)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._metainfo]

    @reprlib.recursive_repr(fillvalue="(this element again)")
    def __repr__(self) -> str:
        lines = [f"{type(self).__name__}("]
        for heading, items in (("metainfo", self.metainfo_items()), ("data", self.items())):
            entries = [indent(indent(entry(name, value))) for name, value in items]
            lines += [indent(f"{heading}:"), *entries] if entries else []
        return "\n".join([*lines, ")"]) if len(lines) > 1 else lines[0] + ")"

    def _missing(self, name: str) -> MissingFieldError:
        owner, public = type(self).__name__, self._public(name)
        if public != name:
            return MissingFieldError(f"{public} of this {owner} has not been set.", name)
        return MissingFieldError(f"This {owner} has no field {name!r}.", name, self.all_keys())


_RESERVED = frozenset(dir(BaseDataElement))


def _require_mapping(what: str, given: object) -> None:
    if not isinstance(given, Mapping):
        raise TypeError(f"{what} must be a dict of names and values, but it is a {type(given).__name__}.")


def _independent(metainfo: Mapping[str, Any]) -> dict[str, Any]:
    """Deep-copy metainfo; quickly, since most of it is numbers, strings and tuples of these."""
    memo: dict[int, Any] = {}
    return {name: value if type(value) in _PLAIN else _deep_copied(value, memo) for name, value in metainfo.items()}


def _deep_copied(value: Any, memo: dict[int, Any]) -> Any:
    if type(value) is tuple and _PLAIN.issuperset(map(type, value)):
        return value
    return copy.deepcopy(value, memo)
