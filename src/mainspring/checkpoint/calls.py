"""What a checkpoint's pickle may name and call, and what stands for the result while it is examined."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from .claims import Claims, Contents, Global, Items, Tensor, check_key, lengths, shown

__all__ = ["CONSTANTS", "NAMES", "call"]

_STORAGES = {
    "Double": torch.float64,
    "Float": torch.float32,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
    "ComplexDouble": torch.complex128,
    "ComplexFloat": torch.complex64,
    "QInt8": torch.qint8,
    "QUInt8": torch.quint8,
    "QInt32": torch.qint32,
    "QUInt4x2": torch.quint4x2,
    "QUInt2x4": torch.quint2x4,
}

CONSTANTS: dict[str, Any] = {
    **{str(value): value for value in vars(torch).values() if isinstance(value, (torch.dtype, torch.qscheme))},
    **{f"torch.{name}Storage": Global(f"torch.{name}Storage", dtype) for name, dtype in _STORAGES.items()},
    "torch.storage.UntypedStorage": Global("torch.storage.UntypedStorage", torch.uint8),
}
"""Names that stand for a value."""

_LAYOUTS = {str(value): value for value in vars(torch).values() if isinstance(value, torch.layout)}
_CLASSES = frozenset({"torch.Tensor", "torch.nn.parameter.Parameter"})  # are only handed to functions


def call(claims: Claims, function: Any, arguments: Sequence[Any]) -> Any:
    """Check a call, and return what stands for its result.

    Raises:
        ValueError: It is not to be called so, or claims more than there is.
    """
    if not isinstance(function, Global):
        raise ValueError("it calls an unrecognized function")
    if function.name in _FUNCTIONS:
        return _FUNCTIONS[function.name](claims, *arguments)
    if function.name in _CLASSES or function.dtype is not None:
        raise ValueError(f"it makes a {function.name} as torch.save does not")
    return Contents(arguments)  # a stand-in, or of a class that the user has allowed


def _no_hooks(hooks: Any) -> None:
    if hooks:
        raise ValueError("it has a tensor with hooks")


def _tensor(claims: Claims, storage: Any, offset: Any, size: Any, stride: Any) -> Tensor:
    return claims.tensor(storage, offset, size, stride)


def _tensor_2(
    claims: Claims, storage: Any, offset: Any, size: Any, stride: Any, grad: Any, hooks: Any, metadata: Any = None
) -> Tensor:
    _no_hooks(hooks)
    return claims.tensor(storage, offset, size, stride)


def _tensor_3(
    claims: Claims,
    storage: Any,
    offset: Any,
    size: Any,
    stride: Any,
    grad: Any,
    hooks: Any,
    dtype: Any,
    metadata: Any = None,
) -> Tensor:
    _no_hooks(hooks)
    if not isinstance(dtype, torch.dtype):
        raise ValueError("it has a tensor without a type")
    return claims.tensor(storage, offset, size, stride, dtype)


def _parameter(claims: Claims, data: Any, grad: Any, hooks: Any, state: Any = None) -> Tensor:
    _no_hooks(hooks)
    if not isinstance(data, Tensor):
        raise ValueError("it has a parameter without a tensor")
    return data


def _sparse(claims: Claims, layout: Any, data: Any) -> Tensor:
    """Check a sparse tensor, but for its indices, which torch checks when it has loaded them."""
    *parts, size = data[:3] if layout is torch.sparse_coo else data
    lengths(size)
    if type(data) is not tuple or not all(isinstance(part, Tensor) for part in parts):
        raise ValueError("it has a sparse tensor without indices or values")
    return Tensor(parts[-1].dtype, parts[-1].elements, stored=False)


def _without_storage(claims: Claims, dtype: Any, size: Any, stride: Any, grad: Any) -> Tensor:
    """Check a tensor of the meta device, which takes no memory."""
    lengths(stride)
    return Tensor(dtype, math.prod(lengths(size)), stored=False)


def _nested(claims: Claims, *arguments: Any) -> Tensor:
    raise ValueError(
        "it has a nested tensor, whose sizes stand where they cannot be checked before it is read. Save its parts"
        " instead, tensor.unbind()"
    )


def _of_type(claims: Claims, function: Any, kind: Any, arguments: Any, state: Any) -> Any:
    """Check a tensor with attributes."""
    if type(arguments) is not tuple:
        raise ValueError("it has a tensor that is made of other things than arguments")
    return call(claims, function, arguments)


def _encoded(claims: Claims, text: str, encoding: str) -> bytes:
    """Return bytes, which a pickle holds as text; other encodings may make much of little."""
    if encoding not in ("latin1", "latin-1"):
        raise ValueError(f"it has bytes in the encoding {shown(encoding)}")
    return text.encode("latin1")


def _byte_array(claims: Claims, source: str | bytes = b"", encoding: str = "latin1") -> bytes:
    if not isinstance(source, (str, bytes)):  # a number is a length
        raise ValueError("it has a bytearray that is made of no bytes")
    return source if isinstance(source, bytes) else _encoded(claims, source, encoding)


def _ordered(claims: Claims, pairs: Sequence[Sequence[Any]] = ()) -> Items:
    if isinstance(pairs, Items):
        return Items(pairs, ordered=True)
    items = Items(ordered=True)
    for pair in pairs:
        if type(pair) not in (tuple, list):
            raise ValueError("it has an OrderedDict of something other than pairs")
        key, value = pair
        check_key(key)
        items += key, value
    return items


def _counter(claims: Claims, counts: Any = ()) -> Items:
    if not isinstance(counts, Items) and counts != ():
        raise ValueError("it has a Counter of no counts")
    return Items(counts)


def _members(claims: Claims, members: list[Any]) -> Contents:
    for member in members:
        check_key(member)
    return Contents(members)


def _complex(claims: Claims, real: float, imaginary: float) -> complex:
    return complex(real, imaginary)


def _size(claims: Claims, sizes: Any = ()) -> tuple[int, ...]:
    return lengths(sizes)


def _device(claims: Claims, kind: str, index: int | None = None) -> Contents:
    return Contents()


def _layout(claims: Claims, name: str) -> torch.layout:
    if type(name) is not str or name not in _LAYOUTS:
        raise ValueError(f"it has the layout {shown(name)}, which torch does not have")
    return _LAYOUTS[name]


def _nothing(claims: Claims) -> bytes:
    return b""


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor_2,
    "torch._utils._rebuild_tensor_v3": _tensor_3,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._utils._rebuild_qtensor": Claims.quantized,
    "torch._utils._rebuild_sparse_tensor": _sparse,
    "torch._utils._rebuild_nested_tensor": _nested,
    "torch._utils._rebuild_meta_tensor_no_storage": _without_storage,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": Claims.converted,
    "torch._tensor._rebuild_from_type_v2": _of_type,
    "torch.serialization._get_layout": _layout,
    "torch.Size": _size,
    "torch.device": _device,
    "collections.OrderedDict": _ordered,
    "collections.Counter": _counter,
    "builtins.set": _members,
    "builtins.complex": _complex,
    "builtins.bytearray": _byte_array,
    "builtins.bytes": _nothing,
    "_codecs.encode": _encoded,
}

NAMES = _CLASSES | _FUNCTIONS.keys()
"""Names of classes and functions that may stand in a pickle."""
