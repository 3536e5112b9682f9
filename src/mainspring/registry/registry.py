"""Classes and functions by name."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any, TypeVar, overload

from ..utils import RegisteredName
from .construct import construct
from .default_scope import DefaultScope, canonical_scope
from .errors import RegistryError, describe_source
from .hints import known_roots, known_scopes
from .paths import import_if_there, import_path
from .reading import describe, merge_args, pop_type

__all__ = ["Registry", "build_from_cfg"]

T = TypeVar("T", bound=Callable[..., Any])

_logger = logging.getLogger(__name__)


class Registry:
    """A table of classes and functions by name, from which configs are built.

    Registries of one kind form a tree: a project's registry has the root registry as its parent, and a
    scope, its prefix in names such as ``mmdet.ResNet``. A name without prefix is looked for here, then in the
    parent, and so on up.

    Args:
        name: What it holds: ``"model"``.
        build_func: Called as ``build_func(cfg, ..., registry=self)``; by default the parent's, or
            :func:`build_from_cfg`.
        parent: The registry to ask for what this one lacks.
        scope: The prefix; by default the top-level package that makes the registry.
        locations: Modules to import before the first look-up, because they register what this registry holds.

    >>> MODELS = Registry("model", scope="zoo")
    >>> @MODELS.register_module()
    ... class Lion:
    ...     def __init__(self, age=1):
    ...         self.age = age
    >>> MODELS.build(dict(type="Lion", age=3)).age
    3
    """

    def __init__(
        self,
        name: str,
        build_func: Callable[..., Any] | None = None,
        parent: Registry | None = None,
        scope: str | None = None,
        locations: Sequence[str] = (),
    ) -> None:
        if scope is not None and not isinstance(scope, str):
            raise TypeError(f"scope of the registry {name!r} must be a string, got {scope!r}.")
        if parent is not None and not isinstance(parent, Registry):
            raise TypeError(f"parent of the registry {name!r} must be a Registry, got {parent!r}.")
        if isinstance(locations, str):
            raise TypeError(f"locations must be a list of module names; write locations=[{locations!r}].")
        self._name = name
        self._scope = self.infer_scope() if scope is None else scope
        self._locations = tuple(locations)
        self._module_dict: dict[str, Callable[..., Any]] = {}
        self._children: dict[str, Registry] = {}
        self._unknown_scopes: set[str] = set()
        self.parent = parent
        self.build_func: Callable[..., Any]
        if parent is None:
            known_roots.add(self)
            self.build_func = build_func or build_from_cfg
        else:
            parent._add_child(self)
            self.build_func = build_func or parent.build_func

    @property
    def name(self) -> str:
        """What it holds."""
        return self._name

    @property
    def scope(self) -> str:
        """Its prefix."""
        return self._scope

    @property
    def module_dict(self) -> dict[str, Callable[..., Any]]:
        """What is registered here so far, by name."""
        return self._module_dict

    @property
    def children(self) -> dict[str, Registry]:
        """The registries that have this one as their parent, by scope."""
        return self._children

    @property
    def root(self) -> Registry:
        """The registry at the top of the tree."""
        return list(self._lineage())[-1]

    def __len__(self) -> int:
        return len(self._module_dict)

    def __contains__(self, key: str) -> bool:
        return self.get(key) is not None

    def __repr__(self) -> str:
        lines = [f"Registry {self._name!r} of scope {self._scope!r}, {len(self)} entries"]
        width = max(map(len, self._module_dict), default=0)
        lines += [f"  {name:<{width}}  {entry}" for name, entry in sorted(self._module_dict.items())]
        return "\n".join(lines)

    @staticmethod
    def infer_scope() -> str:
        """Return the top-level package of the code that calls."""
        frame = sys._getframe(1)
        while frame.f_globals.get("__name__") == __name__ and frame.f_back is not None:
            frame = frame.f_back
        return str(frame.f_globals.get("__name__", "__main__")).partition(".")[0]

    @staticmethod
    def split_scope_key(key: str) -> tuple[str | None, str]:
        """Split the first scope off a name.

        >>> Registry.split_scope_key("mmdet.ResNet")
        ('mmdet', 'ResNet')
        >>> Registry.split_scope_key("ResNet")
        (None, 'ResNet')
        """
        scope, dot, rest = key.partition(".")
        return (scope, rest) if dot else (None, key)

    @overload
    def register_module(
        self, name: str | Sequence[str] | None = None, force: bool = False, module: None = None
    ) -> Callable[[T], T]: ...

    @overload
    def register_module(self, name: str | Sequence[str] | None = None, force: bool = False, *, module: T) -> T: ...

    def register_module(
        self, name: str | Sequence[str] | None = None, force: bool = False, module: T | None = None
    ) -> Callable[[T], T] | T:
        """Register a class or function, as a decorator or by a call with ``module``.

        Args:
            name: Name or names to find it by; its own name by default.
            force: Replace what has the name already.
            module: The class or function, where this is no decorator.

        Raises:
            RegistryError: The name is taken, and ``force`` is not set. It is a KeyError.
            TypeError: An argument has the wrong type; most often, the decorator was written without ``()``.
        """
        if not isinstance(force, bool):
            raise TypeError(f"force must be True or False, got {force!r}.")
        if callable(name):
            raise TypeError(
                f"register_module got {name!r} as the name. Write the decorator with its brackets, "
                "@....register_module(), or call register_module(module=...)."
            )
        if name is not None and not isinstance(name, str):
            if not isinstance(name, Sequence) or not name or not all(isinstance(item, str) for item in name):
                raise TypeError(f"name must be a string or a list of strings, got {name!r}.")
            name = tuple(name)
        if module is not None:
            self._register(module, name, force)
            return module

        def decorate(decorated: T) -> T:
            self._register(decorated, name, force)
            return decorated

        return decorate

    def get(self, key: str) -> Callable[..., Any] | None:
        """Return what is registered under ``key``, or None.

        Args:
            key: A name (looked for here, then in the parents), a name with a scope (looked for in the
                registry of that scope, anywhere in the tree), or the dotted path of something to import. For a
                :class:`~mainspring.utils.RegisteredName` nothing is imported.

        Raises:
            ImportError: One of the ``locations``, or the module of a dotted path, fails while it is imported.
        """
        if not isinstance(key, str):
            raise TypeError(f"The key of a registry is a string, got {key!r} ({type(key).__name__}).")
        found = self._find(key)
        return self._import(key) if found is None and not isinstance(key, RegisteredName) else found

    def build(self, cfg: Any, *args: Any, **kwargs: Any) -> Any:
        """Build what ``cfg`` describes, by :attr:`build_func`."""
        return self.build_func(cfg, *args, **kwargs, registry=self)

    def import_from_location(self) -> None:
        """Import the ``locations``.

        The import system does each once, lets other threads wait for it, and gives the unfinished module to a
        look-up that happens during the import itself; so no flag and no lock is needed here.
        """
        for location in self._locations:
            import_module(location)

    @contextmanager
    def switch_scope_and_registry(self, scope: str | None) -> Iterator[Registry]:
        """Make ``scope`` the default scope for a block, and yield the registry of the default scope.

        With None the default scope stays as it is. Where there is no default scope, or no registry for it,
        this registry is the one.
        """
        with DefaultScope.overwrite_default_scope(scope):
            current = DefaultScope.get_current_instance()
            yield self if current is None else self._registry_of_default(current.scope_name)

    def _registry_of_default(self, scope: str) -> Registry:
        found = self._registry_of(scope)
        if found is not None:
            return found
        # The root registries need not be in a tree that stands by itself.
        if canonical_scope(scope) not in known_scopes() and scope not in self.root._unknown_scopes:
            self.root._unknown_scopes.add(scope)
            _logger.warning(
                "There is no %r registry of scope %r, so names are looked up in scope %r. If %r is a project "
                "with registries of its own, it has to be installed, and to make them in %s/registry.py.",
                self.root.name, scope, self._scope, scope, scope,
            )  # fmt: skip
        return self

    def _lineage(self) -> Iterator[Registry]:
        registry: Registry | None = self
        while registry is not None:
            yield registry
            registry = registry.parent

    def _find(self, key: str) -> Callable[..., Any] | None:
        for registry in self._lineage():
            registry.import_from_location()
            if key in registry._module_dict:
                return registry._module_dict[key]
        scope, name = self.split_scope_key(key)
        if scope is None:
            return None
        if isinstance(key, RegisteredName):
            scope, name = RegisteredName(scope), RegisteredName(name)
        scoped = self._registry_of(scope)
        if scoped is self and "." not in name:  # its own scope, by name: the parents do not count
            return self._module_dict.get(name)
        return None if scoped is None else scoped._find(name)

    def _registry_of(self, scope: str) -> Registry | None:
        found = self._search_tree(scope)
        if found is None and scope.isidentifier() and not isinstance(scope, RegisteredName):
            import_if_there(f"{canonical_scope(scope)}.registry")  # where a project makes its registries
            found = self._search_tree(scope)
        return found

    def _search_tree(self, scope: str) -> Registry | None:
        for top in (self, self.root):
            found = top._search_down(canonical_scope(scope))
            if found is not None:  # not its truth: an empty registry has the length 0
                return found
        return None

    def _search_down(self, scope: str) -> Registry | None:
        if canonical_scope(self._scope) == scope:
            return self
        below = (child._search_down(scope) for child in self._children.values())
        return next((found for found in below if found is not None), None)

    def _import(self, path: str) -> Callable[..., Any] | None:
        first, _, rest = path.partition(".")
        found = import_path(f"{canonical_scope(first)}.{rest}")
        if found is None and canonical_scope(first) != first:
            # A path inside MMEngine, whose files are cut otherwise than ours.
            found = self._find(f"{first}.{rest.rpartition('.')[2]}")
        return found

    def _add_child(self, child: Registry) -> None:
        if child.scope in self._children:
            raise RegistryError(
                f"The registry {self._name!r} already has a child of scope {child.scope!r}; give the new one "
                "another scope, or use the one that is there."
            )
        self._children[child.scope] = child

    def _register(self, module: Callable[..., Any], name: str | tuple[str, ...] | None, force: bool) -> None:
        if not callable(module):
            raise TypeError(f"Only classes and functions can be registered, got {module!r}.")
        if name is None:
            name = getattr(module, "__name__", None)
            if name is None:
                raise TypeError(f"{module!r} has no name of its own; give one: register_module(name=...).")
        names = (name,) if isinstance(name, str) else name
        if not force:
            for taken in names:
                if taken in self._module_dict:
                    raise RegistryError(
                        f"{taken!r} is already registered in the {self._name!r} registry of scope "
                        f"{self._scope!r}: first by {describe_source(self._module_dict[taken])}, now by "
                        f"{describe_source(module)}. Give one of them another name, or replace the first on "
                        "purpose with register_module(force=True)."
                    )
        for free in names:
            self._module_dict[free] = module


def build_from_cfg(cfg: Mapping[str, Any], registry: Registry, default_args: Mapping[str, Any] | None = None) -> Any:
    """Call the class or function that ``cfg['type']`` names, with the other keys as its arguments.

    Args:
        cfg: A mapping; it is not changed. ``type`` is a name in the registry, a dotted path, or the class or
            function itself. ``_scope_`` is the default scope for this object and those built within it.
        registry: Where to look.
        default_args: Arguments for keys that ``cfg`` lacks.

    Raises:
        RegistryError: There is no ``type``, or no such name. It is a KeyError.
        TypeError: An argument has the wrong type, or the class's constructor does not take it.
    """
    if not isinstance(registry, Registry):
        raise TypeError(f"registry must be a Registry, got {registry!r} ({type(registry).__name__}).")
    args = merge_args(cfg, default_args)
    scope = args.pop("_scope_", None)
    with registry.switch_scope_and_registry(scope) as scoped:
        target = pop_type(args, scoped, cfg)
        return construct(target, args, describe(scoped), added=set(default_args or ()) - set(cfg), cfg=cfg)
