"""Files made a little wrong, with knowledge of their structure: most mutants get past the first check of a reader."""

from __future__ import annotations

import copy
import gzip
import json
import math
import re
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

Mutate = Callable[[Random, bytes, Sequence[bytes]], bytes]
"""From a generator, a file and the other files of its kind to a mutant. The same generator makes the same mutant."""

WHOLE = (0, 1, -1, 2, 3, 4, 7, 8, 9, 64, 127, 128, 255, 256, 512, 1024, 32767, -32768, 65535, 10**6)
WIDE = (*WHOLE, 2**31 - 1, -(2**31), 2**32 - 1, 2**32, 2**63 - 1, -(2**63), 2**64 - 1)
REAL = (0.0, -0.0, 1.0, -1.0, 0.5, 12.0, 352.0, 1e-45, 1e-6, 1e6, 3e38, math.nan, math.inf, -math.inf)
WORDS = (
    *map(str, WIDE),
    *map(str, REAL),
    *("", " ", "1e400", "-nan", "0x10", "1 2", "1 2 3 4 5 6 7 8 9 10", "none", "NaN NaN NaN"),
    *("(1,0,0) (0,1,0) (0,0,1)", "left-posterior-superior", "left-posterior-superior-time", "RAI", "SPL", "LOCAL"),
    *("(1,0,0) (1,0,0) none", "True", "False", "../secret", "/etc/hostname", "LIST", "a%03d.raw 1 9 1", "%s%s%n", "\0"),
    *("A" * 5000, "é", "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"), "1,2", "float", "block"),
    *("gzip", "bzip2", "hex", "ascii", "raw", "MET_DOUBLE", "MET_UCHAR", "MET_OTHER", "little", "big"),
)


def some(rng: Random, most: int) -> int:
    """Mostly one, seldom more."""
    return min(most, 1 + int(rng.expovariate(1.2)))


def scrambled(rng: Random, content: bytes, others: Sequence[bytes]) -> bytes:
    """Bits flipped, pieces cut out, doubled, put in, or taken from another file."""
    made = bytearray(content)
    for _ in range(some(rng, 5)):
        at = rng.randrange(len(made) + 1)
        length = min(1 << rng.randrange(10), len(made) - at)
        match rng.randrange(8):
            case 0 if made:
                made[rng.randrange(len(made))] ^= 1 << rng.randrange(8)
            case 1:
                del made[at : at + length]
            case 2:
                made[at:at] = made[at : at + length]
            case 3:
                made[at:at] = rng.randbytes(length)
            case 4:
                made[at : at + length] = bytes([rng.choice((0, 255, 10, 32))]) * length
            case 5:
                del made[at:]
            case 6 if others:
                other = rng.choice(others)
                start = rng.randrange(len(other) + 1)
                made[at : at + length] = other[start : start + length]
            case _:
                number = rng.choice(WIDE) & (1 << 64) - 1
                size = rng.choice((1, 2, 4, 8))
                made[at : at + size] = (number & (1 << 8 * size) - 1).to_bytes(size, rng.choice(("little", "big")))
    return bytes(made)


def number_alone(rng: Random, content: bytes, others: Sequence[bytes]) -> bytes:
    """For what is damaged where it is made: what tells one damage from another."""
    return rng.randbytes(8)


# ---- NIfTI -----------------------------------------------------------------------------------------------------------

_FIELDS_1: list[tuple[int, str]] = [(0, "i"), (39, "B"), *((40 + 2 * n, "h") for n in range(8)), (68, "h"), (70, "h")]
_FIELDS_1 += [(72, "h"), (108, "f"), (112, "f"), (116, "f"), (120, "h"), (122, "B"), (123, "B"), (252, "h"), (254, "h")]
_FIELDS_1 += [(at, "f") for at in range(76, 108, 4)] + [(at, "f") for at in range(124, 140, 4)]
_FIELDS_1 += [(at, "f") for at in range(256, 328, 4)] + [(344, "i"), (348, "i")]
_FIELDS_2: list[tuple[int, str]] = [(0, "i"), (4, "i"), (12, "h"), (14, "h"), *((16 + 8 * n, "q") for n in range(8))]
_FIELDS_2 += [(at, "d") for at in range(104, 168, 8)] + [(168, "q"), (176, "d"), (184, "d"), (344, "i"), (348, "i")]
_FIELDS_2 += [(at, "d") for at in range(352, 496, 8)] + [(500, "i"), (504, "i"), (540, "i")]
_CODES = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 768, 1024, 1280, 1536, 1792, 2048, 2304, 3, 255, -1)


def _packed(order: str, kind: str, rng: Random) -> bytes:
    if kind in "fd":
        value = rng.choice(REAL) if rng.random() < 0.7 else rng.uniform(-1, 1) * 10.0 ** rng.randrange(-6, 7)
        if kind == "f" and math.isfinite(value):
            value = max(-3.4e38, min(3.4e38, value))
        return struct.pack(order + kind, value)
    bits = 8 * struct.calcsize(kind)
    number = rng.choice(WIDE if rng.random() < 0.6 else _CODES) & (1 << bits) - 1
    if kind != "B" and number >= 1 << bits - 1:
        number -= 1 << bits
    return struct.pack(order + kind, number)


def nifti(rng: Random, content: bytes, others: Sequence[bytes]) -> bytes:
    """Fields of the header set to what they must not hold, or the file scrambled."""
    if rng.random() < 0.15:
        return scrambled(rng, content, others)
    made = bytearray(content)
    order = "<" if made[0] in (92, 28) else ">"
    fields = _FIELDS_2 if b"n+2" in bytes(made[:8]) else _FIELDS_1
    for _ in range(some(rng, 6)):
        at, kind = rng.choice(fields)
        field = _packed(order, kind, rng)
        made[at : at + len(field)] = field
    if rng.random() < 0.15:
        return scrambled(rng, bytes(made), others)
    return bytes(made)


def nifti_gz(rng: Random, content: bytes, others: Sequence[bytes]) -> bytes:
    """A wrong file packed well, a right one packed badly, several members, or zeros without end."""
    whole = gzip.decompress(content)
    plain = nifti(rng, whole, ()) if rng.random() < 0.6 else whole
    match rng.randrange(6):
        case 0:
            cut = rng.randrange(len(plain) + 1)
            packed = _gz(rng, plain[:cut]) + rng.choice((b"", b"\0" * 7)) + _gz(rng, plain[cut:])
        case 1:
            packed = _gz(rng, plain + bytes(rng.choice((1 << 10, 1 << 20, 1 << 24))))
        case 2:
            packed = _gz(rng, plain) + rng.randbytes(rng.randrange(30))
        case _:
            packed = _gz(rng, plain)
    return scrambled(rng, packed, others) if plain is whole or rng.random() < 0.2 else packed


def _gz(rng: Random, plain: bytes) -> bytes:
    packer = zlib.compressobj(rng.choice((0, 1, 9)), zlib.DEFLATED, 31)
    return packer.compress(plain) + packer.flush()


# ---- headers in lines ------------------------------------------------------------------------------------------------


def lines(rng: Random, content: bytes, others: Sequence[bytes]) -> bytes:
    """A header of lines (NRRD, MetaImage, CSV): lines lost, doubled, moved, of another file, or with other values."""
    if rng.random() < 0.15:
        return scrambled(rng, content, others)
    # NRRD's header ends at an empty line, MetaImage's after its last field
    end = re.search(rb"\n\n|ElementDataFile[^\n]*\n", content)
    cut = end.end() if end else len(content)
    head, rest = content[:cut].splitlines(keepends=True), content[cut:]
    for _ in range(some(rng, 4)):
        if not head:
            break
        at = rng.randrange(len(head))
        match rng.randrange(7):
            case 0:
                del head[at]
            case 1:
                head.insert(rng.randrange(len(head) + 1), head[at])
            case 2:
                head.insert(rng.randrange(len(head) + 1), head.pop(at))
            case 3 if others:
                theirs = rng.choice(others)[:2000].splitlines(keepends=True)
                head.insert(at, rng.choice(theirs or [b""]))
            case _:
                head[at] = _other_value(rng, head[at])
    made = b"".join(head) + rest
    return scrambled(rng, made, others) if rng.random() < 0.1 else made


def _other_value(rng: Random, line: bytes) -> bytes:
    match = re.match(rb"([^:=,]*[:=,]+\s*)(.*?)(\r?\n?)$", line, re.DOTALL)
    word = rng.choice(WORDS).encode("utf-8", "surrogatepass")
    if match is None:
        return word + b"\n"
    key, value, end = match.groups()
    tokens = value.split(b" ")
    if rng.random() < 0.6:
        tokens[rng.randrange(len(tokens))] = word
    else:
        tokens = [word]
    return bytes(key + b" ".join(tokens) + end)


def table(rng: Random, content: bytes, others: Sequence[bytes]) -> bytes:
    """A CSV of any program: another encoding, separators, quotes, short and long rows, or ``lines``."""
    made = lines(rng, content, others) if rng.random() < 0.6 else content
    text = made.decode("utf-8", "replace")
    match rng.randrange(9):
        case 0:
            return text.encode(
                rng.choice(("utf-16", "utf-16-le", "utf-16-be", "utf-8-sig", "utf-32", "cp1252")), "replace"
            )
        case 1:
            return text.replace(",", rng.choice((";", "\t", ",,", '"', ""))).encode("utf-8", "replace")
        case 2:
            return text.replace("\n", rng.choice(("\r\n", "\r", '"\n', "\n\n", ",\n", "\0\n"))).encode(
                "utf-8", "replace"
            )
        case 3:
            rows = text.split("\n")
            rows[rng.randrange(len(rows))] = rng.choice(
                ("one", ",", '"', "a,b,c,d", "," * 50, "x" * 200_000, "Müller,ß")
            )
            return "\n".join(rows).encode(rng.choice(("utf-8", "cp1252")), "replace")
        case _:
            return made


# ---- JSON and TOML ---------------------------------------------------------------------------------------------------

_VALUES: tuple[Any, ...] = (
    *(None, True, False, "", "x", [], {}, [[]], [None], {"": None}, -1, 0, 1, 2, 255, 256, 10**6, 10**30, -(10**30)),
    *(0.5, -0.5, 1e308, math.nan, math.inf, "1", "../x", "/x", "a/b", "a\nb", "\ud800", "é" * 300, [0] * 1000, "\0"),
)


def json_file(rng: Random, content: bytes, others: Sequence[bytes]) -> bytes:
    """Values of another type or size, keys lost, renamed, added; deep nesting; other encodings."""
    if rng.random() < 0.15:
        return scrambled(rng, content, others)
    tree = json.loads(content)
    for _ in range(some(rng, 4)):
        places = list(_places(tree))
        if not places:
            break
        holder, key = rng.choice(places)
        match rng.randrange(6):
            case 0:
                del holder[key]
            case 1 if isinstance(holder, dict):
                holder[rng.choice((str(key) + "x", "", "0", "256", "-1", "99999999999"))] = holder.pop(key)
            case 2 if isinstance(holder, dict):
                holder[rng.choice(("added", "0", "weights", "plan"))] = copy.deepcopy(rng.choice(_VALUES))
            case 3 if isinstance(holder, list):
                holder.insert(rng.randrange(len(holder) + 1), copy.deepcopy(holder[key]))
            case _:
                holder[key] = copy.deepcopy(rng.choice(_VALUES))
    text = json.dumps(tree, ensure_ascii=rng.random() < 0.5)
    match rng.randrange(12):
        case 0:
            text = "[" * 20_000 + text + "]" * 20_000
        case 1:
            text = text.replace("{", '{"a": ' + "9" * 5000 + ", ", 1)
        case 2:
            return text.encode(rng.choice(("utf-16", "utf-8-sig", "utf-32", "cp1252")), "replace")
    return text.encode("utf-8", "surrogatepass")


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    children = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in children:
        yield tree, key
        yield from _places(value)


# ---- protocol buffers ------------------------------------------------------------------------------------------------


def protobuf(rng: Random, content: bytes, others: Sequence[bytes], depth: int = 0) -> bytes:
    """A field lost, doubled, of another number, kind or length, at any depth; the lengths around it are right."""
    try:
        fields = list(_proto_fields(content))
    except (IndexError, ValueError):
        fields = []
    if not fields or (depth == 0 and rng.random() < 0.15):
        return scrambled(rng, content, others)
    at = rng.randrange(len(fields))
    number, kind, body = fields[at]
    if kind == 2 and rng.random() < 0.75:
        fields[at] = (number, kind, protobuf(rng, body, others, depth + 1))
    else:
        match rng.randrange(6):
            case 0:
                del fields[at]
            case 1:
                fields.insert(rng.randrange(len(fields) + 1), fields[at])
            case 2:
                fields[at] = (rng.choice((1, 2, 5, 7, 9, 13, 14, 2**29 - 1)), kind, body)
            case 3:
                fields[at] = (number, rng.choice((0, 1, 2, 3, 4, 5, 6, 7)), body)
            case _:
                fields[at] = (
                    (number, 0, _varint(rng.choice(WIDE) & (1 << 64) - 1)) if kind == 0 else (number, kind, b"")
                )
    return b"".join(_proto_field(*field) for field in fields)


def _proto_fields(content: bytes) -> Iterator[tuple[int, int, bytes]]:
    at = 0
    while at < len(content):
        key, at = _read_varint(content, at)
        kind, start = key & 7, at
        if kind == 0:
            _, at = _read_varint(content, at)
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        elif kind == 2:
            length, start = _read_varint(content, at)
            at = start + length
        else:
            raise ValueError(kind)
        if at > len(content) or key >> 3 == 0:
            raise ValueError("cut short")
        yield key >> 3, kind, content[start:at]


def _proto_field(number: int, kind: int, body: bytes) -> bytes:
    return _varint(number << 3 | kind) + (_varint(len(body)) if kind == 2 else b"") + body


def _read_varint(content: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = content[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number, at


def _varint(number: int) -> bytes:
    made = bytearray()
    while number >= 0x80:
        made.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*made, number])


# ---- safetensors -----------------------------------------------------------------------------------------------------


def safetensors(rng: Random, content: bytes, others: Sequence[bytes]) -> bytes:
    """The JSON in front of the numbers wrong, its length wrong, or the file scrambled."""
    length = int.from_bytes(content[:8], "little")
    if rng.random() < 0.25:
        return scrambled(rng, content, others)
    head = json_file(rng, content[8 : 8 + length], ())
    said = len(head) if rng.random() < 0.9 else rng.choice(WIDE) & (1 << 64) - 1
    return said.to_bytes(8, "little") + head + content[8 + length :]
