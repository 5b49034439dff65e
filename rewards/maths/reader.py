r"""Tokens to scalar expressions: a recursive-descent reader of LaTeX and of plain typed formulas.

``sum := ['-'] product (('+'|'-'|'\pm') product)*``, ``product := power (['*'|'/'|'\cdot'] power)*``,
``power := atom ('!'|'%'|'^' power)*``. Multiplication may be left out and binds like ``*`` and ``/``, from left
to right. Every recursion counts against `MAX_DEPTH`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from stepgym.rewards.maths import arrays
from stepgym.rewards.maths.lexer import Token, TokenReader, UnreadableError
from stepgym.rewards.maths.nodes import (
    MINUS_ONE,
    Add,
    Answer,
    Call,
    Expr,
    Matrix,
    Mul,
    Num,
    Pow,
    Quantity,
    Sym,
    fraction,
    is_scalar,
    negative,
    quotient,
)
from stepgym.rewards.maths.number import MAX_DIGITS, decimal
from stepgym.rewards.maths.vocabulary import FUNCTIONS, SYMBOLS, UNIT_WORDS

MAX_DEPTH = 64
"""Levels of nesting of one answer."""
SIGN = Sym("±")
r"""The sign of ``\pm``: +1 and -1 in turn. ``\mp`` is its negative."""

MARKS = {"%": "percent", "deg": "deg"}
"""Units that are written as signs, and the functions they are inside a formula."""

_STARTS = frozenset(
    "frac sqrt binom lfloor lceil lvert vec dot ddot angle langle sum prod text".split()  # noqa: SIM905
)
_CONNECTORS = {"and", "or", "for", "where", "with", "if", "when", "is", "are"}
_ORDINAL = {"th", "st", "nd", "rd"}


class ScalarReader(TokenReader, ABC):
    """Reads sums, products and powers. `atom` and `enclosed` are left to the reader of whole answers."""

    bars = 0
    """How many ``|`` are open: the next one closes."""

    @abstractmethod
    def atom(self) -> Answer:
        """The smallest part that begins here."""

    @abstractmethod
    def enclosed(self) -> Answer:
        """What stands in the brackets that begin here."""

    def sum(self) -> Answer:
        """A sum; the only part may be a shape."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise UnreadableError(f"nested deeper than {MAX_DEPTH} levels")
        first = self.signed_product()
        terms = [first]
        while self.token.kind in ("op", "cmd") and self.token.text in ("+", "-", "pm", "mp"):
            terms.append(self.signed_product())
        self.depth -= 1
        if len(terms) == 1:
            return first
        if any(isinstance(term, Matrix) for term in terms):
            return arrays.total(terms)
        return Add(tuple(scalar(term) for term in terms))

    def signed_product(self) -> Answer:
        """A product with its leading signs."""
        factors: list[Expr] = []
        while self.token.kind in ("op", "cmd") and self.token.text in ("+", "-", "pm", "mp"):
            sign = self.take().text
            factors += [MINUS_ONE] if sign in ("-", "mp") else []
            factors += [SIGN] if sign in ("pm", "mp") else []
        product = self.product()
        if isinstance(product, Matrix):
            return arrays.multiple(Mul(tuple(factors)), product) if factors else product
        if factors == [MINUS_ONE]:
            return negative(scalar(product))
        return Mul((*factors, scalar(product))) if factors else product

    def product(self) -> Answer:
        """Factors, with or without multiplication signs."""
        first = self.power()
        if isinstance(first, Matrix):
            return self._matrix_product(first)
        factors: list[Expr] = []
        moduli = 0
        while moduli < MAX_DEPTH:
            previous = self.tokens[self.at - 1]
            if self.skip("*", "times", "cdot", "ast"):
                factors.append(scalar(self.signed_power()))
            elif self.skip("/", "div"):
                bottom = scalar(self.signed_power())
                top = factors.pop() if factors else None
                if top is None:
                    first = fraction(scalar(first), bottom)
                else:
                    factors.append(fraction(top, bottom))
            elif self.skip("bmod", "mod") or (self.token.text == "mod" and self.take()):
                left = Mul((scalar(first), *factors)) if factors else scalar(first)
                first, factors, moduli = Call("mod", (left, scalar(self.signed_power()))), [], moduli + 1
            elif self.token.kind == "num" or self._starts_fraction(previous):
                mixed = self._mixed(first, factors, previous)
                if mixed is None:
                    factors.append(scalar(self.power()))
                else:
                    first = mixed
            elif self.starts_factor():
                factors.append(scalar(self.power()))
            elif self.token.kind == "begin":
                return arrays.multiple(Mul((scalar(first), *factors)), self._matrix_product(self.power()))
            else:
                return Mul((scalar(first), *factors)) if factors else first
        raise UnreadableError("too many moduli")

    def _matrix_product(self, left: Answer) -> Answer:
        while self.skip("times", "cdot", "*") or self.token.kind == "begin":
            left = arrays.product(left, self.power())
        return left

    def _starts_fraction(self, previous: Token) -> bool:
        return self.token.text == "frac" and previous.kind == "num"

    def _mixed(self, first: Answer, factors: list[Expr], previous: Token) -> Expr | None:
        r"""``2\frac{1}{3}`` and ``2 1/3`` are sums. Two numbers side by side are nothing else that can be read."""
        whole = isinstance(first, Num) and not factors and first.value.denominator == 1 and previous.kind == "num"
        if self.token.kind == "num":
            if not (whole and self.peek().text == "/" and self.peek(2).kind == "num"):
                if previous.kind == "num":
                    raise UnreadableError("two numbers side by side")
                return None
            top, _, bottom = self.take(), self.take(), self.take()
            part: Answer = quotient(number(top.text), number(bottom.text))
        elif not whole:
            return None
        else:
            start = self.at
            part = self.power()
            if not (isinstance(part, Mul) and all(isinstance(p, Num | Pow) for p in part.factors) and _numeric(part)):
                self.at = start
                return None
        return Add((scalar(first), scalar(part)))

    def starts_factor(self) -> bool:
        """Whether the next token can begin a factor after another one without a sign."""
        kind, text, spaced = self.token
        if kind == "word":
            return text not in _CONNECTORS and not self._is_unit(text, spaced) and not self._is_union_sign()
        if kind == "cmd":
            return text in FUNCTIONS or text in SYMBOLS or text in _STARTS
        if kind == "text":
            return text in ("e", "i") or (text in FUNCTIONS and text not in UNIT_WORDS)
        if kind == "op" and text == "|":
            return self.bars == 0
        return kind == "op" and text in ("(", "[", "{")

    def _is_union_sign(self) -> bool:
        """Whether the U that is next joins two intervals, as in ``(0,1)U(2,3)``."""
        joins = self.tokens[self.at - 1].text in (")", "]") and self.peek().text in ("(", "[")
        return self.token.text == "U" and joins

    def _is_unit(self, word: str, spaced: bool) -> bool:
        """Whether a word is a unit: short ones only after a number, single letters only at the very end."""
        if word not in UNIT_WORDS:
            return False
        if len(word) == 1:
            return spaced and self.tokens[self.at - 1].kind == "num" and self.peek().kind == "eof"
        return len(word) > 2 or self.tokens[self.at - 1].kind == "num"

    def signed_power(self) -> Answer:
        """A factor that may carry its own sign, as after ``*``."""
        return self.signed_product_of_one() if self.token.text in ("-", "+") else self.power()

    def signed_product_of_one(self) -> Expr:
        """A sign and one factor."""
        sign = self.take().text
        factor = scalar(self.signed_power())
        return negative(factor) if sign == "-" else factor

    def power(self) -> Answer:
        """A factor with its postfixes: factorial, degree, percent, power."""
        base = self.atom()
        for _ in range(MAX_DEPTH):
            if self.skip("!"):
                base = Call("factorial", (scalar(base),))
            elif self.skip("'", "prime"):
                base = Sym(f"{base.name}'") if isinstance(base, Sym) else base
            elif self.skip("%"):
                base = Call("percent", (scalar(base),))
            elif self.skip("^"):
                base = self._raised(base)
            else:
                return base
        raise UnreadableError("too many postfixes")

    def _raised(self, base: Answer) -> Answer:
        if self._degree_sign():
            return Call("deg", (scalar(base),))
        ordinal = self.peek().kind == "text" and self.peek().text.strip() in _ORDINAL
        if ordinal and self.token.text == "{" and self.peek(2).text == "}":
            self.at += 3
            return base
        if self.token.text == "{" and self.peek().text in ("'", "prime"):
            raise UnreadableError("a prime as a power")
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise UnreadableError(f"nested deeper than {MAX_DEPTH} levels")
        exponent = scalar(self.signed_power_chain())
        self.depth -= 1
        return Pow(scalar(base), exponent)

    def signed_power_chain(self) -> Answer:
        """An exponent: signs allowed, and powers of powers from right to left."""
        return self.signed_product_of_one() if self.token.text in ("-", "+") else self.power()

    def _degree_sign(self) -> bool:
        if self.token.text == "^" and self.peek().text == "circ":  # the cleaned form of a degree command after ^
            self.at += 2
            return True
        if self.skip("circ"):
            return True
        if self.token.text == "{":
            inner = [self.peek(ahead).text for ahead in (1, 2, 3)]
            for length, form in ((2, ["circ", "}"]), (3, ["^", "circ", "}"])):
                if inner[:length] == form:
                    self.at += length + 1
                    return True
        return False


def number(text: str) -> Num:
    """The node of a number token."""
    digits, _, power = text.replace("E", "e").partition("e")
    if len(digits) > MAX_DIGITS or (power and abs(int(power)) > MAX_DIGITS):
        raise UnreadableError(f"a number of more than {MAX_DIGITS} digits")
    read = decimal(digits, int(power or "0"))
    return Num(read.value, read.place)


def scalar(node: Answer) -> Expr:
    """`node` itself if it is a scalar. Raises `UnreadableError` for a shape, which no arithmetic is defined on here."""
    if isinstance(node, Quantity) and node.unit in MARKS:
        return Call(MARKS[node.unit], (node.value,))
    if not is_scalar(node):
        raise UnreadableError("arithmetic on something that is no scalar")
    return node  # type: ignore[return-value]


def _numeric(product: Mul) -> bool:
    return all(isinstance(f, Num) or (isinstance(f, Pow) and isinstance(f.base, Num)) for f in product.factors)
