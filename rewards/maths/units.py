"""What follows a formula: its unit, or the condition under which it holds.

Words after a formula never bring in another answer: with a number or a word such as "or" and "maybe" among them the
whole answer is unreadable.
"""

from __future__ import annotations

import re
from itertools import pairwise

from stepgym.rewards.maths.lexer import Token, UnreadableError
from stepgym.rewards.maths.nodes import Answer, Call, Quantity, Relation, is_scalar
from stepgym.rewards.maths.reader import MARKS, ScalarReader, scalar
from stepgym.rewards.maths.vocabulary import UNIT_NAMES, UNIT_WORDS

MAX_WORDS = 60
_ENDS = (",", ";", ")", "]", r"\}", "&", r"\\")
_CONDITIONS = frozenset("for where with if when such in mod pmod all any some is are on as".split())  # noqa: SIM905
_HEDGE = re.compile(r"[0-9]|\b(?:or|else|otherwise|maybe|perhaps|possibly|probably|not|but|either|alternatively)\b")


def with_tail(reader: ScalarReader, made: Answer) -> Answer:
    """`made` with the unit that follows it; a condition is read over. Raises `UnreadableError` for other words."""
    tail = _words(reader)
    if not tail or _hedges(tail):
        raise UnreadableError(f"cannot read {reader.token.text!r} after a formula")
    parts = [token.text.strip() for token in tail]
    leading = (parts[0].split() or [""])[0].lower().strip(".")
    if leading in _CONDITIONS or (parts[0] == "(" and "mod" in parts):
        return made
    if (tail[0].kind != "text" and leading not in UNIT_WORDS) or _loose_number(tail):
        raise UnreadableError(f"cannot read {parts[0]!r} after a formula")
    if is_scalar(made):
        return Quantity(scalar(made), unit_name(parts))
    if isinstance(made, Relation) and is_scalar(made.sides[-1]):
        return Relation((*made.sides[:-1], Quantity(scalar(made.sides[-1]), unit_name(parts))), made.operators)
    return made


def _words(reader: ScalarReader) -> list[Token]:
    """The tokens up to the end of the item."""
    taken: list[Token] = []
    depth = 0
    while reader.token.kind not in ("eof", "end") and len(taken) < MAX_WORDS:
        text = reader.token.text.strip()
        if text in ("and", "or") or (reader.token.kind == "op" and text in _ENDS and depth == 0):
            break
        depth += (text == "(") - (text == ")")
        taken.append(reader.take())
    return taken


def _hedges(tail: list[Token]) -> bool:
    return any(token.kind in ("text", "word") and _HEDGE.search(token.text.lower()) for token in tail)


def _loose_number(tail: list[Token]) -> bool:
    """Whether a number stands among the words that is no exponent."""
    pairs = pairwise(tail)
    return any(token.kind == "num" and before.text not in ("^", "{", "-", "_") for before, token in pairs)


def unit_name(parts: list[str]) -> str:
    """One spelling for a unit: ``\\text{ cm}^{2}``, ``square centimeters`` and ``cm^2`` are the same."""
    text = " ".join(parts).replace("{", "").replace("}", "").replace("~", " ").replace("\\", " ").lower()
    names = [UNIT_NAMES.get(word.strip("."), word.strip(".")) for word in text.replace("^", " ^ ").split()]
    if len(names) > 1 and names[0] in ("square", "sq", "cubic"):
        names = [*names[1:], "^", "3" if names[0] == "cubic" else "2"]
    joined = "".join(name for name in names if name not in ("*", "cdot", "per", "of"))
    return UNIT_NAMES.get(joined, joined)


def marked(node: Answer) -> Answer:
    """A percent or degree sign on the whole value as its unit."""
    if isinstance(node, Call) and node.name in MARKS.values():
        return Quantity(node.args[0], next(unit for unit, name in MARKS.items() if name == node.name))
    if isinstance(node, Relation) and is_scalar(node.sides[-1]):
        return Relation((*node.sides[:-1], marked(node.sides[-1])), node.operators)
    return node
