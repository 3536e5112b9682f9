"""The directory of a ZIP archive, read so strictly that nothing in the file contradicts it.

``torch.load`` believes what an archive says of itself. So nothing is accepted here that ``torch.save`` would not write:
entries are stored as they are (a compressed one may unpack to a thousand times its size), lie one behind the other
between the start of the file and the directory (so together they are no larger than the file), are called differently,
and are described alike where the format describes them twice.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import IO

__all__ = ["Entry", "read_archive", "wrong_checksum"]

_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_IN_16, _IN_32 = 2**16 - 1, 2**32 - 1  # stands where the number is too large for its field, and is written elsewhere
_DESCRIPTOR, _UTF8 = 0x8, 0x800  # flags: sizes stand behind the data; the name may be other than ASCII


@dataclass(frozen=True)
class Entry:
    """A file in an archive."""

    name: str
    start: int
    """Where its bytes begin, counted from the start of the file."""
    size: int
    checksum: int


def read_archive(file: IO[bytes], end_record: int) -> dict[str, Entry]:
    """Read the directory of an archive, check it against the file, and return the entries by their names.

    Args:
        file: The whole file.
        end_record: Where its end record begins.

    Raises:
        ValueError: It contradicts itself, or is not what ``torch.save`` would write; says what is wrong.
    """
    count, size, start, end = _directory_place(file, end_record)
    file.seek(start)
    directory = file.read(size)
    found: list[tuple[int, bytes, Entry]] = []
    place = 0
    for _ in range(count):
        header, described, entry, length = _read_entry(directory, place)
        found.append((header, described, entry))
        place += length
    _require(place == len(directory) == end - start, "its directory has another size than announced")
    return _placed(file, sorted(found, key=lambda one: one[0]), start)


def wrong_checksum(file: IO[bytes], entries: Iterable[Entry]) -> str | None:
    """Read the entries, and return the name of the first whose checksum is wrong, or None."""
    for entry in entries:
        file.seek(entry.start)
        checksum, left = 0, entry.size
        while left:
            data = file.read(min(left, 2**20))
            if not data:
                return entry.name
            checksum = zlib.crc32(data, checksum)
            left -= len(data)
        if checksum != entry.checksum:
            return entry.name
    return None


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise ValueError(otherwise)


def _directory_place(file: IO[bytes], end_record: int) -> tuple[int, int, int, int]:
    """Return how many entries the directory has, its size, its start, and where it ends."""
    file.seek(end_record)
    _, disk, first_disk, here, count, size, start, _ = _END.unpack(file.read(_END.size))
    end = end_record
    before = end_record - _LOCATOR.size
    file.seek(max(before, 0))
    locator = file.read(_LOCATOR.size)
    if before > 0 and locator.startswith(b"PK\x06\x07"):  # an archive that may be large
        _, end_disk, place, disks = _LOCATOR.unpack(locator)
        end = before - _END_64.size
        _require((end_disk, place, disks) == (0, end, 1), "its end is not where it is said to be")
        file.seek(end)
        mark, rest, _, _, *large = _END_64.unpack(file.read(_END_64.size))
        _require((mark, rest) == (b"PK\x06\x06", _END_64.size - 12), "its end record is wrong")
        small = (disk, first_disk, here, count, size, start)
        limits = (_IN_16, _IN_16, _IN_16, _IN_16, _IN_32, _IN_32)
        agree = all(a in (b, limit) for a, b, limit in zip(small, large, limits, strict=True))
        _require(agree, "its two end records do not agree")
        disk, first_disk, here, count, size, start = large
    _require((disk, first_disk, here) == (0, 0, count), "it is said to be a part of several")
    _require(start + size == end, "its directory is not where it is said to be")
    return count, size, start, end


def _read_entry(directory: bytes, place: int) -> tuple[int, bytes, Entry, int]:
    """Return where an entry's header is, what the header must repeat, the entry, and the length of this description."""
    _require(place + _CENTRAL.size <= len(directory), "its directory is cut short")
    fields = _CENTRAL.unpack_from(directory, place)
    mark, _, _, flags, method, _, _, checksum, packed, size, name_length, more, comment, disk, _, _, header = fields
    _require(mark == b"PK\x01\x02", "its directory is wrong")
    name_start = place + _CENTRAL.size
    name = directory[name_start : name_start + name_length].decode("utf-8")
    _require("\0" not in name, f"the name of its entry {name!r} is wrong")
    _require(not flags & ~(_DESCRIPTOR | _UTF8), f"its entry {name!r} is encrypted, or packed in an unusual way")
    extra = directory[name_start + name_length : name_start + name_length + more]
    size, packed, header = _large_numbers(extra, (size, packed, header))
    _require(method == 0 and packed == size, f"its entry {name!r} is compressed, which torch.save never does")
    _require(disk == 0, "it is said to be a part of several")
    entry = Entry(name, 0, size, checksum)
    return header, directory[place + 8 : place + 16], entry, _CENTRAL.size + name_length + more + comment


def _large_numbers(extra: bytes, numbers: tuple[int, int, int]) -> list[int]:
    """Replace the numbers that are too large for 32 bits by those in the extra field 1."""
    wanted = [number == _IN_32 for number in numbers]
    given = iter(())
    place = 0
    while any(wanted) and place + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, place)
        if kind == 1:
            field = extra[place + 4 : place + 4 + length]
            given = iter(struct.unpack(f"<{len(field) // 8}Q", field[: len(field) // 8 * 8]))
            break
        place += 4 + length
    return [next(given, number) if large else number for number, large in zip(numbers, wanted, strict=True)]


def _placed(file: IO[bytes], found: list[tuple[int, bytes, Entry]], directory: int) -> dict[str, Entry]:
    """Find the bytes of each entry behind its own header, which must say the same as the directory."""
    entries: dict[str, Entry] = {}
    seen: set[str] = set()
    end = 0
    for header, described, entry in found:
        _require(end <= header <= directory - _LOCAL.size, f"its entry {entry.name!r} overlaps another")
        file.seek(header)
        data = file.read(_LOCAL.size)
        mark, _, flags, _, _, _, checksum, packed, size, name_length, more = _LOCAL.unpack(data)
        name = file.read(name_length)
        same = mark == b"PK\x03\x04" and data[6:14] == described and name == entry.name.encode("utf-8")
        if not flags & _DESCRIPTOR:
            same &= checksum == entry.checksum and {packed, size} <= {entry.size, _IN_32}
        _require(same, f"its entry {entry.name!r} is described in two ways")
        start = header + _LOCAL.size + name_length + more
        end = start + entry.size
        _require(end <= directory, f"its entry {entry.name!r} is larger than the file")
        _require(entry.name.lower() not in seen, f"it has two entries {entry.name!r}")  # torch looks for any case
        seen.add(entry.name.lower())
        entries[entry.name] = replace(entry, start=start)
    return entries
