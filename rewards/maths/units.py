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
from stepgym.rewards.maths.vocabulary import HEDGES, UNIT_NAMES, UNIT_WORDS

MAX_WORDS = 60
_CASED = re.compile(r"[A-KM-Z]|M[a-zA-Z]")
"""Units whose capital counts: m is a metre and M a mole per litre, mm is not Mm."""
_INVERSE = re.compile(r"([A-Za-z]+) *\^ *- *1(?![0-9])|([A-Za-z]+) *\^ *- *(?=[2-9])")
_MODULI = frozenset({"mod", "pmod"})
_ENDS = (",", ";", ")", "]", r"\}", "&", r"\\")
_WORDS = re.compile(r"[a-z]+")
_CONDITIONS = frozenset("for where with if when such in mod pmod all any some on as".split())  # noqa: SIM905


def with_tail(reader: ScalarReader, made: Answer) -> Answer:
    """`made` with the unit that follows it; a condition is read over. Raises `UnreadableError` for other words."""
    tail = _words(reader)
    if not tail or any(token.kind in ("text", "word") and hedges(token.text) for token in tail):
        raise UnreadableError(f"cannot read {reader.token.text!r} after a formula")
    parts = [token.text.strip() for token in tail]
    leading = (parts[0].split() or [""])[0].lower().strip(".")
    if leading in _CONDITIONS or (parts[0] == "(" and "mod" in parts):
        return modular(made) if _MODULI.intersection(parts) or _MODULI.intersection(parts[0].split()) else made
    if (tail[0].kind != "text" and leading not in UNIT_WORDS) or _loose_number(tail):
        raise UnreadableError(f"cannot read {parts[0]!r} after a formula")
    if is_scalar(made):
        return Quantity(scalar(made), unit_name(parts))
    if isinstance(made, Relation) and is_scalar(made.sides[-1]):
        return Relation((*made.sides[:-1], Quantity(scalar(made.sides[-1]), unit_name(parts))), made.operators)
    return made


def modular(made: Answer) -> Answer:
    """A congruence: its sides may not be multiplied or moved like those of an equation."""
    if not isinstance(made, Relation):
        return made
    return Relation(made.sides, tuple("mod" if operator == "=" else operator for operator in made.operators))


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


def hedges(words: str) -> bool:
    """Whether words beside a formula take it back or bring in another answer."""
    return not HEDGES.isdisjoint(_WORDS.findall(words.lower())) or any(map(str.isdigit, words))


def _loose_number(tail: list[Token]) -> bool:
    """Whether a number stands among the words that is no exponent."""
    pairs = pairwise(tail)
    return any(token.kind == "num" and before.text not in ("^", "{", "-", "_") for before, token in pairs)


def unit_name(parts: list[str]) -> str:
    """One spelling for a unit: ``\\text{ cm}^{2}``, ``square centimeters`` and ``cm^2`` are the same."""
    text = " ".join(parts).replace("{", "").replace("}", "").replace("~", " ").replace("\\", " ")
    text = _INVERSE.sub(r" / \1 \2 ", text)
    words = [word.strip(".") for word in text.replace("^", " ^ ").replace("/", " / ").split()]
    words = [word if _CASED.fullmatch(word) else word.lower() for word in words]
    names = ["/" if word == "per" else UNIT_NAMES.get(word, word) for word in words]
    if len(names) > 1 and names[0] in ("square", "sq", "cubic"):
        names = [*names[1:], "^", "3" if names[0] == "cubic" else "2"]
    joined = "".join(name for name in names if name not in ("*", "cdot", "of"))
    return UNIT_NAMES.get(joined, joined)


def marked(node: Answer) -> Answer:
    """A percent or degree sign on the whole value as its unit."""
    if isinstance(node, Call) and node.name in MARKS.values():
        return Quantity(node.args[0], next(unit for unit, name in MARKS.items() if name == node.name))
    if isinstance(node, Relation) and is_scalar(node.sides[-1]):
        return Relation((*node.sides[:-1], marked(node.sides[-1])), node.operators)
    return node
