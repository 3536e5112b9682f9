"""A look through a checkpoint's pickle before torch reads it.

A pickle is a program for a small machine with a stack. Torch's machine for ``weights_only`` runs no foreign code, but
believes every number, and can be kept busy: by sizes that no file has bytes for, by dicts that are nested without end,
by lists that hold one list twice, which holds one list twice, and so on. The machine here goes through the same program
and builds nothing but lists, tuples and numbers, so that it needs no more memory than the pickle is long, times some
constant. What :mod:`~mainspring.checkpoint.calls` does not know, it refuses.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable
from typing import IO, Any

import torch

from .calls import CONSTANTS, NAMES, call
from .claims import Claims, Contents, Global, Items, Storage, check_key
from .errors import UnknownNameError
from .extent import check_extent
from .stand_ins import STAND_INS

__all__ = ["examine"]

_COPIES = 16  # how much of what is read calls may copy: each text and each array is copied once or twice
_FREE = 1_000_000
_STAND_INS = frozenset(name for _, name in STAND_INS)


def examine(file: IO[bytes], claims: Claims, storage: Callable[..., Storage]) -> Any:
    """Go through a pickle that ``torch.save`` has written, and return what stands for its content.

    Args:
        file: Stands at the pickle, and afterwards behind it.
        claims: Checks what is called.
        storage: Checks a storage, by the arguments that ``torch.save`` describes it with: kind, key, location, count.

    Raises:
        UnknownNameError: The pickle names a class or function that does more than hold data.
        ValueError: It is cut short, or no pickle of ``torch.save``, or would take more memory or time than its size
            lets expect.
    """
    machine = _Machine(file, claims, storage)
    try:
        content = machine.run()
    except (LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError("its pickle makes no sense") from error
    check_extent(content, machine.length)
    return content


class _Machine:
    def __init__(self, file: IO[bytes], claims: Claims, storage: Callable[..., Storage]) -> None:
        self.length = 0
        """How much has been read, in operations and bytes of text."""
        self._file = file
        self._claims = claims
        self._storage = storage
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        self._copied = 0
        self._allowed = _STAND_INS.union(_allowed_by_user())

    def run(self) -> Any:
        read, steps = self._file.read, _STEPS
        while (operation := read(1)) != pickle.STOP:
            step = steps.get(operation)
            if step is None:
                raise ValueError(
                    f"its pickle has the operation {operation!r}, which torch.save does not write, unless it is given"
                    " another pickle_protocol than 2"
                    if operation
                    else "it is cut short"
                )
            self.length += 1
            step(self)
        return self._stack.pop()

    def _bytes(self, count: int) -> bytes:
        data = self._file.read(count)
        if len(data) < count:
            raise ValueError("it is cut short")
        self.length += count
        return data

    def _number(self, count: int) -> int:
        return int.from_bytes(self._bytes(count), "little")

    def _start(self) -> None:
        """Pass over the number of the version: an operation means the same in all."""
        self._bytes(1)

    def _int(self) -> None:
        self._stack.append(int.from_bytes(self._bytes(4), "little", signed=True))

    def _int_1(self) -> None:
        self._stack.append(self._number(1))

    def _int_2(self) -> None:
        self._stack.append(self._number(2))

    def _long(self) -> None:
        self._stack.append(pickle.decode_long(self._bytes(self._number(1))))

    def _float(self) -> None:
        (value,) = struct.unpack(">d", self._bytes(8))
        self._stack.append(value)

    def _text(self) -> None:
        self._stack.append(self._bytes(self._number(4)).decode("utf-8", "surrogatepass"))

    def _old_text(self) -> None:
        self._stack.append(self._bytes(self._number(1)).decode("utf-8"))

    def _named(self) -> None:
        module, attribute = self._file.readline(), self._file.readline()
        name = f"{module[:-1].decode('utf-8')}.{attribute[:-1].decode('utf-8')}"
        if name.startswith("__builtin__."):  # of Python 2
            name = name.replace("__builtin__.", "builtins.", 1)
        if name in CONSTANTS:
            self._stack.append(CONSTANTS[name])
        elif name in NAMES or name in self._allowed:
            self._stack.append(Global(name))
        else:
            raise UnknownNameError(name[:200])

    def _none(self) -> None:
        self._stack.append(None)

    def _true(self) -> None:
        self._stack.append(True)

    def _false(self) -> None:
        self._stack.append(False)

    def _new_tuple(self) -> None:
        self._stack.append(())

    def _new_list(self) -> None:
        self._stack.append([])

    def _new_dict(self) -> None:
        self._stack.append(Items())

    def _new_set(self) -> None:
        self._stack.append(Contents())

    def _keep_1(self) -> None:
        self._memo[self._number(1)] = self._stack[-1]

    def _keep_4(self) -> None:
        self._memo[self._number(4)] = self._stack[-1]

    def _recall_1(self) -> None:
        self._stack.append(self._memo[self._number(1)])

    def _recall_4(self) -> None:
        self._stack.append(self._memo[self._number(4)])

    def _mark(self) -> None:
        self._below.append(self._stack)
        self._stack = []

    def _since_mark(self) -> list[Any]:
        items = self._stack
        self._stack = self._below.pop()
        return items

    def _tuple(self) -> None:
        items = tuple(self._since_mark())
        self._stack.append(items)

    def _tuple_1(self) -> None:
        self._stack[-1] = (self._stack[-1],)

    def _tuple_2(self) -> None:
        self._stack[-2:] = [(self._stack[-2], self._stack[-1])]

    def _tuple_3(self) -> None:
        self._stack[-3:] = [(self._stack[-3], self._stack[-2], self._stack[-1])]

    def _append(self) -> None:
        self._extend([self._stack.pop()])

    def _appends(self) -> None:
        self._extend(self._since_mark())

    def _extend(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is not list:
            raise ValueError("it appends to something other than a list")
        target += items

    def _set_item(self) -> None:
        item = self._stack.pop()
        self._update([self._stack.pop(), item])

    def _set_items(self) -> None:
        self._update(self._since_mark())

    def _update(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if not isinstance(target, Items) or len(items) % 2:
            raise ValueError("it sets entries of something other than a dict")
        for key in items[::2]:
            check_key(key)
        target += items

    def _load_storage(self) -> None:
        description = self._stack.pop()
        if not isinstance(description, tuple) or description[:1] != ("storage",):
            raise ValueError("it refers to something other than a storage")
        self._stack.append(self._storage(*description[1:]))

    def _call(self) -> None:
        arguments = self._stack.pop()
        self._take(arguments)
        self._stack[-1] = call(self._claims, self._stack[-1], arguments)

    def _make(self) -> None:
        arguments = self._stack.pop()
        self._take(arguments)
        function = self._stack.pop()
        if not isinstance(function, Global) or function.name not in self._allowed:
            raise ValueError("it makes an object as torch.save does not")
        self._stack.append(Contents(arguments))

    def _build(self) -> None:
        """Add what the object on the stack is given as its state."""
        state = self._stack.pop()
        self._take((state,))
        target = self._stack[-1]
        if isinstance(target, Items) and target.ordered and isinstance(state, Items):
            target += (None, state)  # its attributes
        elif isinstance(target, Contents):
            target.append(state)
        else:
            raise ValueError("it gives a state to an object that has none")

    def _take(self, arguments: Any) -> None:
        """Count what a call may copy, for it may be called again and again with the same."""
        if not isinstance(arguments, tuple):
            raise ValueError("it calls a function with something other than arguments")
        waiting: list[Any] = [arguments]
        while waiting:
            value = waiting.pop()
            if isinstance(value, (str, bytes, list, tuple)):
                self._copied += len(value)
                if self._copied > _FREE + _COPIES * self.length:
                    raise ValueError("it copies its content again and again")
                if isinstance(value, tuple):
                    waiting += value


def _allowed_by_user() -> set[str]:
    """Return the names that ``torch.serialization.add_safe_globals`` was given."""
    allowed = torch.serialization.get_safe_globals()
    return {one[1] if isinstance(one, tuple) else f"{one.__module__}.{one.__qualname__}" for one in allowed}


# All that torch knows, and torch.save writes some of them.
_STEPS: dict[bytes, Callable[[_Machine], None]] = {
    pickle.PROTO: _Machine._start,
    pickle.NONE: _Machine._none,
    pickle.NEWTRUE: _Machine._true,
    pickle.NEWFALSE: _Machine._false,
    pickle.BININT: _Machine._int,
    pickle.BININT1: _Machine._int_1,
    pickle.BININT2: _Machine._int_2,
    pickle.LONG1: _Machine._long,
    pickle.BINFLOAT: _Machine._float,
    pickle.BINUNICODE: _Machine._text,
    pickle.SHORT_BINSTRING: _Machine._old_text,
    pickle.GLOBAL: _Machine._named,
    pickle.BINPUT: _Machine._keep_1,
    pickle.LONG_BINPUT: _Machine._keep_4,
    pickle.BINGET: _Machine._recall_1,
    pickle.LONG_BINGET: _Machine._recall_4,
    pickle.MARK: _Machine._mark,
    pickle.EMPTY_TUPLE: _Machine._new_tuple,
    pickle.TUPLE: _Machine._tuple,
    pickle.TUPLE1: _Machine._tuple_1,
    pickle.TUPLE2: _Machine._tuple_2,
    pickle.TUPLE3: _Machine._tuple_3,
    pickle.EMPTY_LIST: _Machine._new_list,
    pickle.APPEND: _Machine._append,
    pickle.APPENDS: _Machine._appends,
    pickle.EMPTY_DICT: _Machine._new_dict,
    pickle.SETITEM: _Machine._set_item,
    pickle.SETITEMS: _Machine._set_items,
    pickle.EMPTY_SET: _Machine._new_set,
    pickle.BINPERSID: _Machine._load_storage,
    pickle.REDUCE: _Machine._call,
    pickle.NEWOBJ: _Machine._make,
    pickle.BUILD: _Machine._build,
}
