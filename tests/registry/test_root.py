from __future__ import annotations

import pytest

from mainspring import registry as package
from mainspring.registry import Registry, root

TABLE = {name: value for name, value in vars(root).items() if isinstance(value, Registry)}


def test_every_root_registry_is_handed_on():
    assert set(root.__all__) == set(TABLE)
    assert set(TABLE) <= set(package.__all__)
    assert len({table.name for table in TABLE.values()}) == len(TABLE) == 22


@pytest.mark.parametrize("name", sorted(TABLE))
def test_root_registry(name):
    table = TABLE[name]
    assert table.scope == "mainspring"
    assert table.parent is None
    assert table.get("NoSuchThingAnywhere") is None  # and its locations can be imported
