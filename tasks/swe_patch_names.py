"""File names in the headers of diffs, as ``git apply`` reads them and ``git diff`` writes them."""

from __future__ import annotations

import re

_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_ESCAPE = re.compile(rb"\\([0-7]{1,3}|.)")
_LETTERS = {b"a": b"\a", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}


def git_name(names: str) -> str:
    """The name in ``a/NAME b/NAME``, which follows ``diff --git``, or nothing where the two differ."""
    if names.startswith('"') and (match := _QUOTED.match(names)) is not None:
        old, new = match[0], names[match.end() + 1 :]
    elif names.endswith('"'):
        old, _, new = names.partition(' "')
        new = '"' + new
    else:
        middle = len(names) // 2
        old, new = names[:middle], names[middle + 1 :]
    first, second = stripped_name(old), stripped_name(new)
    return first if first and first == second else ""


def stripped_name(name: str) -> str | None:
    """A name of a header without its first folder, as ``git apply`` reads it; None for ``/dev/null``."""
    if not name.startswith('"'):
        name = name.split("\t", 1)[0]
    name = unquoted_name(name)
    if name == "/dev/null":
        return None
    if name.startswith("/"):
        return name  # unsafe, and to be seen as such
    return name.partition("/")[2]


def unquoted_name(name: str) -> str:
    """A name in git's quotes, which are those of C, without them."""
    if (match := _QUOTED.match(name)) is None:
        return name
    return _ESCAPE.sub(_unescaped, match[1].encode("utf-8", "surrogatepass")).decode("utf-8", "replace")


def _unescaped(match: re.Match[bytes]) -> bytes:
    code = match[1]
    return bytes([int(code, 8) & 255]) if code[:1].isdigit() else _LETTERS.get(code, code)


def quoted_name(path: str) -> str:
    """A path as git writes it: one with other than plain characters in quotes, its bytes in octal."""
    if path.isascii() and path.isprintable() and '"' not in path and "\\" not in path:
        return path
    plain = {'"': '\\"', "\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}
    shown = (plain.get(chr(byte), chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}") for byte in path.encode())
    return '"' + "".join(shown) + '"'
