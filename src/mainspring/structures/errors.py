"""What a data element says when a field is not there, or cannot be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..utils import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["MissingFieldError", "other_kind", "taken"]


class MissingFieldError(AttributeError):
    """A data element has no field of this name.

    The nearest name is looked for only when the message is read: ``hasattr`` raises and drops many of these.

    Args:
        message: What is missing.
        missing: The name that was asked for.
        fields: The names that there are.
    """

    def __init__(self, message: str, missing: str = "", fields: Sequence[str] = ()) -> None:
        super().__init__(message, name=missing)
        self.missing = missing
        self.fields = fields

    def __str__(self) -> str:
        has = f" It has: {', '.join(self.fields)}." if self.fields else ""
        return f"{self.args[0]}{did_you_mean(self.missing, self.fields)}{has}"


def other_kind(name: str, owner: str, field_type: str) -> AttributeError:
    """Return the error for a name that is a field of the other kind already."""
    if field_type == "metainfo":
        return AttributeError(
            f"{name!r} is a data field of this {owner} already, so it cannot become metainfo. "
            "Choose another name, or delete the field first."
        )
    return AttributeError(
        f"{name!r} is metainfo of this {owner}, which is read-only as an attribute. To change it, write "
        f"set_metainfo({{{name!r}: ...}}); to make it a data field, delete it first."
    )


def taken(name: str, owner: str) -> AttributeError:
    """Return the error for a name that the class itself needs."""
    cure = "To change the metainfo, write set_metainfo({...})." if name == "metainfo" else "Choose another name."
    return AttributeError(f"{name!r} cannot be a field: it is an attribute of the class {owner} itself. {cure}")
