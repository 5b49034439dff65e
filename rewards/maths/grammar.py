"""Whole answers: lists, tuples, sets, intervals, unions, relations, matrices, units, words.

``answer := item ((',' | ';' | 'and' | 'or') item)*``, ``item := [label ':'] chain [unit | condition]``,
``chain := union (('=' | '<' | …) union)*``, ``union := ratio ('\\cup' ratio)*``, ``ratio := sum (':' sum)*``.
"""

from __future__ import annotations

from functools import lru_cache

from stepgym.rewards.maths.atoms import atom
from stepgym.rewards.maths.lexer import MAX_LENGTH, UnreadableError, tokenize
from stepgym.rewards.maths.nodes import (
    Answer,
    Call,
    Matrix,
    Quantity,
    Relation,
    Sequence,
    Sym,
    Text,
    Union,
    is_scalar,
    quotient,
)
from stepgym.rewards.maths.reader import MAX_DEPTH, ScalarReader, scalar
from stepgym.rewards.maths.regions import REALS, without_points
from stepgym.rewards.maths.text import words
from stepgym.rewards.maths.units import hedges, marked, with_tail
from stepgym.rewards.maths.vocabulary import FUNCTIONS, RELATIONS

_CLOSING = {"(": (")", "]"), "[": ("]", ")"), "{": ("}",), r"\{": (r"\}",), "langle": ("rangle",)}
_MATRICES = {"matrix", "pmatrix", "bmatrix", "Bmatrix", "vmatrix", "Vmatrix", "smallmatrix", "array"}
_PHRASES: dict[str, Answer] = {
    **dict.fromkeys(("all real numbers", "all reals", "real numbers"), REALS),
    **dict.fromkeys(
        ("no solution", "no solutions", "no real solutions", "empty set", "none"), Sequence((), r"\{", r"\}")
    ),
}
"""Sets that are named in words."""
_ENDS = (",", ";", ")", "]", "}", r"\}", "|", ":", "&", r"\\")
_SEPARATORS = (",", ";", "and", "or")


@lru_cache(maxsize=8192)
def read_answer(cleaned: str) -> Answer:
    """The syntax tree of `cleaned` (see `stepgym.rewards.maths.text`); `Text` if it is no mathematics. Never raises."""
    try:
        reader = AnswerReader(tokenize(cleaned))
        made = reader.items()
        if reader.token.kind == "eof":
            return made
    except (UnreadableError, ZeroDivisionError, OverflowError, RecursionError):
        pass
    return _PHRASES.get(words(cleaned[:100]), Text(words(cleaned[:MAX_LENGTH])))


class AnswerReader(ScalarReader):
    """Reads whole answers."""

    building = False
    """Whether a ``:`` begins the condition of a set builder."""

    def atom(self) -> Answer:
        """The smallest part that begins here."""
        return atom(self)

    def items(self) -> Answer:
        """A list without brackets, or its only item."""
        items, separators = [self.item()], set[str]()
        while (separator := self._separator()) and not (self.token.kind == "eof" and separator in (",", ";")):
            separators.add(separator)
            items.append(self.item())
        if len(items) == 1:
            return items[0]
        if separators == {"or"} and all(map(_is_region, items)):
            return Union(tuple(items))
        return Sequence(tuple(items))

    def _separator(self) -> str:
        found = ""
        while (word := self.token.text.strip().strip(",").strip().lower()) in _SEPARATORS[2:] or (
            self.token.kind == "op" and self.token.text in _SEPARATORS[:2]
        ):
            self.take()
            found = word or found or ","
        return found

    def item(self) -> Answer:
        """One element: a chain of relations with an optional label before and a unit or a condition after it."""
        self._label()
        self._membership()
        made = self.chain()
        kind, text, _ = self.token
        if (
            kind in ("eof", "end")
            or (kind == "op" and text in _ENDS)
            or text.strip(" ,") in ("and", "or", "mid", "rangle")
        ):
            return marked(made)
        return with_tail(self, marked(made))

    def _label(self) -> None:
        """Skip a name such as ``Minimum:``, and words before it."""
        ahead = 0
        while self.peek(ahead).kind in ("word", "text") and ahead < 4 and not hedges(self.peek(ahead).text):
            ahead += 1
        if (
            ahead
            and self.peek(ahead).text == ":"
            and len(self.peek(ahead - 1).text.strip()) > 2
            and self.peek(0).text not in FUNCTIONS
        ):
            if self.peek(ahead - 1).text.isupper():
                return  # a ratio of two areas
            self.at += ahead + 1
        elif ahead and self.peek(ahead).text == "=" and self.token.kind == "text" and len(self.token.text.strip()) > 2:
            self.at += ahead + 1  # the name of a value, in words
        elif ahead == 1 and self.token.kind == "text" and self.token.text.split()[-1:] in (["is"], ["are"]):
            self.at += 1

    def _membership(self) -> None:
        r"""Skip ``x \in`` before a set: the set is the answer."""
        ahead = 1
        if self.token.kind not in ("word", "cmd"):
            return
        if self.peek(1).text == "_":
            ahead = 3
        if self.peek(ahead).text == "in" and self.peek(ahead).kind == "cmd":
            self.at += ahead + 1

    def chain(self) -> Answer:
        """Sides and the relations between them."""
        sides, operators = [self.union()], list[str]()
        while self.token.kind in ("op", "cmd") and self.token.text in RELATIONS:
            operators.append(RELATIONS[self.take().text])
            sides.append(self.union())
        return Relation(tuple(sides), tuple(operators)) if operators else sides[0]

    def union(self) -> Answer:
        """Sets joined by a union sign (or a plain U)."""
        parts = [self.ratio()]
        while self.skip("cup") or (
            self.token[:2] == ("word", "U") and self.peek().text in ("(", "[", r"\{") and self.take()
        ):
            parts.append(self.ratio())
        made = parts[0] if len(parts) == 1 else Union(tuple(parts))
        if self.skip("setminus", "backslash"):
            difference = without_points(made, self.ratio())
            if difference is None:
                raise UnreadableError("a difference of sets")
            return difference
        return made

    def ratio(self) -> Answer:
        r"""``a : b`` and ``a \over b`` are the quotient; ``a : b : c`` a sequence relative to its first number."""
        first = self.sum()
        if self.skip("over"):
            first = quotient(scalar(first), scalar(self.sum()))
        parts = [first]
        while self.token.text == ":" and not self.building and is_scalar(first) and self.peek().kind != "eof":
            self.take()
            parts.append(self.sum())
        if len(parts) == 2:
            return quotient(scalar(parts[0]), scalar(parts[1]))
        if len(parts) > 2:
            return Sequence(tuple(quotient(scalar(part), scalar(first)) for part in parts[1:]), ":", ":")
        return first

    def enclosed(self) -> Answer:
        """Grouping, a tuple, an interval, a set, a set builder, or a matrix environment."""
        if self.token.kind == "begin":
            return self._matrix()
        opening = self.take().text
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise UnreadableError(f"nested deeper than {MAX_DEPTH} levels")
        bars, self.bars = self.bars, 1 if opening == r"\{" else 0
        building, self.building = self.building, opening == r"\{"
        if self.skip(*_CLOSING[opening]):
            made: Answer = Sequence((), opening, self.tokens[self.at - 1].text)
        else:
            made = self._inside(opening)
        self.bars, self.building = bars, building
        self.depth -= 1
        return made

    def _inside(self, opening: str) -> Answer:
        inside = self.items()
        if opening == r"\{" and (self.skip("|", ":", "mid")):
            condition = self.items()
            self.expect(r"\}")
            if isinstance(inside, Sym | Relation):
                return condition  # of {x | 0 < x}: it says which elements there are
            return Sequence((inside, condition), r"\{|", r"\}")
        closing = self.token.text
        self.expect(*_CLOSING[opening])
        if isinstance(inside, Sequence) and not inside.opening:
            return Sequence(inside.items, "" if opening == "{" else opening, "" if opening == "{" else closing)
        if opening == r"\{":
            return Sequence((inside,), opening, closing)
        if opening == "[" and is_scalar(inside) and closing != "]":
            raise UnreadableError("brackets that do not match")
        return inside.value if isinstance(inside, Quantity) and inside.unit == "" else inside

    def _matrix(self) -> Answer:
        environment = self.take().text.rstrip("*")
        if environment not in _MATRICES:
            raise UnreadableError(f"the environment {environment!r}")
        rows: list[tuple[Answer, ...]] = []
        while self.token.kind != "end":
            row = [self.item()]
            while self.skip("&"):
                row.append(self.item())
            rows.append(tuple(row))
            if not self.skip(r"\\"):
                break
        if self.take().kind != "end" or len({len(row) for row in rows}) > 1:
            raise UnreadableError("an open matrix, or rows of different lengths")
        matrix = Matrix(tuple(rows))
        if environment == "vmatrix":
            return Call("determinant", tuple(scalar(entry) for row in rows for entry in row))
        return matrix


def _is_region(item: Answer) -> bool:
    return isinstance(item, Union) or (isinstance(item, Relation) and not set(item.operators) & {"=", "~"})
