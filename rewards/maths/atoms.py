r"""The smallest parts of a formula: numbers, names, functions, roots, fractions, and whatever stands in brackets."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from stepgym.rewards.maths.lexer import Token, UnreadableError
from stepgym.rewards.maths.nodes import HALF, MINUS_ONE, Answer, Call, Expr, Mul, Num, Pow, Sequence, Sym, quotient
from stepgym.rewards.maths.reader import ScalarReader, number, scalar
from stepgym.rewards.maths.vocabulary import FUNCTIONS, INVERSES, SYMBOLS

_OF_MANY = frozenset({"gcd", "lcm", "max", "min"})
_CALLED = "fgFG"
"""Letters that before a bracket are functions; others are factors, unless a definition such as p(x) = begins."""


def atom(reader: ScalarReader) -> Answer:
    """The atom that begins here. Raises `UnreadableError` if none does."""
    kind, text, _ = reader.token
    if kind == "num":
        return _number(reader)
    if kind == "word":
        return _word(reader, reader.take().text)
    if kind == "text":
        return _quoted_name(reader)
    if kind == "cmd" and text in _COMMANDS:
        reader.take()
        return _COMMANDS[text](reader)
    if kind == "cmd" and (text in FUNCTIONS or text in SYMBOLS):
        reader.take()
        return _known(reader, text)
    if kind == "begin" or text == "langle" or (kind == "op" and text in ("(", "[", "{", r"\{")):
        return reader.enclosed()
    if reader.skip("|"):
        return _bars(reader, "|")
    raise UnreadableError(f"cannot read {text or 'the end'!r} here")


def argument(reader: ScalarReader) -> Expr:
    r"""The argument of a command: a group, or as in ``\frac12`` a single digit or letter."""
    kind, text, _ = reader.token
    if kind in ("num", "word") and len(text) > 1 and not (kind == "word" and text in SYMBOLS):
        reader.tokens[reader.at] = Token(kind, text[1:], False)
        return number(text[0]) if kind == "num" else Sym(text[0])
    if kind == "num":
        return number(reader.take().text)
    return scalar(atom(reader))


def _number(reader: ScalarReader) -> Expr:
    digits = reader.take().text
    if reader.token.text == "vec" and reader.peek().text == "{" and "." in digits + reader.peek(-1).text:
        return _repeating(reader, digits)
    if reader.token.text == "_":
        reader.take()
        base = _subscript(reader)
        if base.isdigit() and digits.isdigit() and len(base) <= 3:
            return Call("base", (Num(Fraction(int(digits))), Num(Fraction(int(base)))))
        raise UnreadableError("a number with a subscript that is no base")
    return number(digits)


def _repeating(reader: ScalarReader, digits: str) -> Expr:
    r"""``0.1\overline{6}`` is 1/6."""
    reader.take()
    reader.expect("{")
    block = reader.take().text
    reader.expect("}")
    if not block.isdigit():
        raise UnreadableError("a repeating decimal without digits")
    places = len(digits.partition(".")[2])
    tail = Fraction(int(block), 10**places * (10 ** len(block) - 1))
    return Num(number(digits).value + tail)


def _word(reader: ScalarReader, word: str) -> Answer:
    if word in FUNCTIONS or word in SYMBOLS:
        return _known(reader, word)
    if len(word) == 1:
        return _name(reader, word)
    if word.startswith("set") and len(word) == 4:
        return Sym(word)
    if len(word) > 4 or (len(word) == 4 and word.islower()):
        raise UnreadableError(f"the word {word!r}")
    reader.at -= 1  # letters side by side are a product: ab is a·b
    reader.tokens[reader.at : reader.at + 1] = [Token("word", letter, False) for letter in word]
    reader.take()
    return _name(reader, word[0])


def _name(reader: ScalarReader, name: str) -> Expr:
    """A variable with its subscript, or a function of our own naming and its arguments."""
    if reader.skip("_"):
        name = f"{name}_{_subscript(reader)}"
    while reader.token.text == "'" and reader.token.kind == "op":
        reader.take()
        name += "'"
    inverse = [reader.peek(ahead).text for ahead in range(5)] == ["^", "{", "-", "1", "}"]
    if name[0] in _CALLED and inverse and reader.peek(5).text == "(":
        reader.at += 5
        name += "^-1"
    if reader.token.text == "(" and (name[0] in _CALLED or _defines(reader)):
        return Call(f"{name}()", _arguments(reader))
    return Sym(name)


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


def _arguments(reader: ScalarReader) -> tuple[Expr, ...]:
    inside = reader.enclosed()
    if isinstance(inside, Sequence) and not inside.items:
        raise UnreadableError("a function of nothing")
    return tuple(scalar(item) for item in inside.items) if isinstance(inside, Sequence) else (scalar(inside),)


def _subscript(reader: ScalarReader) -> str:
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


def _quoted_name(reader: ScalarReader) -> Expr:
    name = reader.take().text.strip()
    if len(name) == 1 and name.isalpha():
        return _name(reader, name)
    if name in FUNCTIONS:
        return scalar(_known(reader, name))
    raise UnreadableError(f"the words {name!r}")


def _known(reader: ScalarReader, word: str) -> Answer:
    if word in SYMBOLS:
        name = SYMBOLS[word]
        return Sym(f"{name}_{_subscript(reader)}") if name not in ("pi", "oo") and reader.skip("_") else Sym(name)
    name = FUNCTIONS[word]
    if name == "sqrt":
        return Pow(argument(reader), HALF)
    base: Expr | None = None
    power: Expr | None = None
    if reader.skip("_"):
        base = argument(reader)
    if reader.skip("^"):
        power = argument(reader)
    if power == MINUS_ONE and name in INVERSES:
        name, power = INVERSES[name], None
    args = _operand(reader)
    if base is not None:
        args = (*args, base)
    if len(args) > (2 if name == "log" else 1) and name not in _OF_MANY:
        raise UnreadableError(f"{name} of {len(args)} arguments")
    made: Expr = Pow(*args, Num(Fraction(1, 3))) if name == "cbrt" and len(args) == 1 else Call(name, args)
    return made if power is None else Pow(made, power)


def _operand(reader: ScalarReader) -> tuple[Expr, ...]:
    r"""What a function is applied to: brackets, or the factors up to the next sign or function, as in ``\sin 2x``."""
    if reader.token.text in ("(", "{", "["):
        after_brackets = _arguments(reader)
        return tuple(after_brackets)
    factors = [scalar(reader.power())]
    while reader.starts_factor() and reader.token.text not in FUNCTIONS and reader.token.text not in ("(", "["):
        factors.append(scalar(reader.power()))
    if reader.token.text == "/" and len(factors) == 1 and reader.peek().kind in ("num", "word"):
        reader.take()
        factors.append(Pow(scalar(reader.power()), MINUS_ONE))
    return (factors[0] if len(factors) == 1 else Mul(tuple(factors)),)


def _fraction(reader: ScalarReader) -> Expr:
    top = argument(reader)
    return quotient(top, argument(reader))


def _root(reader: ScalarReader) -> Expr:
    if not reader.skip("["):
        return Pow(argument(reader), HALF)
    index = scalar(reader.sum())
    reader.expect("]")
    return Pow(
        argument(reader),
        Pow(index, MINUS_ONE) if not isinstance(index, Num) or not index.value else Num(1 / index.value),
    )


def _binomial(reader: ScalarReader) -> Expr:
    top = argument(reader)
    return Call("binom", (top, argument(reader)))


def _between(name: str, closing: str) -> Callable[[ScalarReader], Expr]:
    def read(reader: ScalarReader) -> Expr:
        inside = scalar(reader.sum())
        reader.expect(closing)
        return Call(name, (inside,))

    return read


def _bars(reader: ScalarReader, closing: str) -> Expr:
    reader.bars += 1
    inside = scalar(reader.sum())
    reader.bars -= 1
    reader.expect(closing)
    return Call("abs", (inside,))


def _marked_name(mark: str) -> Callable[[ScalarReader], Expr]:
    def read(reader: ScalarReader) -> Expr:
        if reader.token.text == "{":
            return Sym(f"{mark} {_subscript(reader)}")
        return Sym(f"{mark} {reader.take().text}")

    return read


def _series(name: str) -> Callable[[ScalarReader], Expr]:
    r"""``\sum_{k=1}^{n} body``: the body reaches to the next plus or minus sign."""

    def read(reader: ScalarReader) -> Expr:
        reader.expect("_")
        reader.expect("{")
        variable = scalar(atom(reader))
        reader.expect("=")
        low = scalar(reader.sum())
        reader.expect("}")
        reader.expect("^")
        high = argument(reader)
        return Call(name, (scalar(reader.product()), variable, low, high))

    return read


_COMMANDS: dict[str, Callable[[ScalarReader], Answer]] = {
    "frac": _fraction,
    "sqrt": _root,
    "binom": _binomial,
    "lfloor": _between("floor", "rfloor"),
    "lceil": _between("ceil", "rceil"),
    "lvert": lambda reader: _bars(reader, "rvert"),
    "angle": _marked_name("angle"),
    "vec": _marked_name("vec"),
    "sum": _series("sum"),
    "prod": _series("prod"),
    "emptyset": lambda _reader: Sequence((), r"\{", r"\}"),
}
