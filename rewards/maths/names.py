"""Names in a formula: variables with subscripts and marks, and functions that are applied to arguments."""

from __future__ import annotations

from collections.abc import Callable

from stepgym.rewards.maths.lexer import UnreadableError
from stepgym.rewards.maths.nodes import Call, Expr, Sequence, Sym
from stepgym.rewards.maths.reader import ScalarReader, scalar

_CALLED = "fgFG"
"""Letters that before a bracket are functions, whatever it holds."""
_CONSTANTS = "ie"


def name(reader: ScalarReader, letter: str) -> Expr:
    """A variable with its subscript and primes, or a function of our own naming and its arguments."""
    if reader.skip("_"):
        letter = f"{letter}_{subscript(reader)}"
    while reader.token.text == "'" and reader.token.kind == "op":
        reader.take()
        letter += "'"
    inverse = [reader.peek(ahead).text for ahead in range(5)] == ["^", "{", "-", "1", "}"]
    if letter[0] in _CALLED and inverse and reader.peek(5).text == "(":
        reader.at += 5
        letter += "^-1"
    if reader.token.text == "(" and _applied(reader, letter):
        return Call(f"{letter}()", arguments(reader))
    return Sym(letter)


def _applied(reader: ScalarReader, letter: str) -> bool:
    """Whether a letter before brackets is a function: ``f(…)``, ``u(t)``, ``I(0)``, or what ``=`` follows.

    ``x(x + 1)`` is a product; a single letter or number is put in brackets only as an argument.
    """
    if letter[0] in _CALLED or _defines(reader):
        return True
    kind, text, _ = reader.peek(1)
    alone = (kind == "num" or (kind == "word" and len(text) == 1)) and reader.peek(2).text == ")"
    return alone and letter not in _CONSTANTS


def _defines(reader: ScalarReader) -> bool:
    """Whether the brackets that begin here are followed by ``=``, at the beginning of an item."""
    before = reader.tokens[reader.at - 2].text if reader.at >= 2 else ""
    if before not in ("", ",", ";", "and", "or", "="):
        return False
    depth = 0
    for ahead in range(40):
        text = reader.peek(ahead).text
        depth += (text == "(") - (text == ")")
        if depth == 0:
            return reader.peek(ahead + 1).text == "="
    return False


def arguments(reader: ScalarReader) -> tuple[Expr, ...]:
    """The scalars in the brackets that begin here."""
    inside = reader.enclosed()
    if isinstance(inside, Sequence) and not inside.items:
        raise UnreadableError("a function of nothing")
    return tuple(scalar(item) for item in inside.items) if isinstance(inside, Sequence) else (scalar(inside),)


def subscript(reader: ScalarReader) -> str:
    """What stands after ``_``, as text."""
    if not reader.skip("{"):
        token = reader.token
        if token.kind == "num" and len(token.text) > 1 and token.text.isdigit():
            reader.take()
            return token.text
        return str(reader.take().text)
    parts, depth = [], 1
    while depth:
        token = reader.take()
        if token.kind == "eof":
            raise UnreadableError("an open subscript")
        depth += (token.text == "{") - (token.text == "}")
        parts.append(token.text if depth else "")
    return "".join(parts)


def marked(mark: str) -> Callable[[ScalarReader], Expr]:
    r"""The reader of a name after a command such as ``\vec``, ``\dot`` or ``\angle``; the mark is part of the name."""

    def read(reader: ScalarReader) -> Expr:
        marked_name = subscript(reader) if reader.token.text == "{" else reader.take().text
        return name(reader, f"{mark} {marked_name}")

    return read
