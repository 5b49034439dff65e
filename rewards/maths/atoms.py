r"""The smallest parts of a formula: numbers, names, functions, roots, fractions, and whatever stands in brackets."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from stepgym.rewards.maths import names
from stepgym.rewards.maths.lexer import Token, UnreadableError
from stepgym.rewards.maths.nodes import HALF, MINUS_ONE, Answer, Call, Expr, Mul, Num, Pow, Sequence, Sym, fraction
from stepgym.rewards.maths.reader import ScalarReader, number, scalar
from stepgym.rewards.maths.vocabulary import FUNCTIONS, INVERSES, NO_FACTORS, SYMBOLS

_OF_MANY = frozenset({"gcd", "lcm", "max", "min"})


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
        base = names.subscript(reader)
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
        return names.name(reader, word)
    if word.startswith("set") and len(word) == 4:
        return Sym(f"{word}_{names.subscript(reader)}") if reader.skip("_") else Sym(word)
    if len(word) > 4 or (len(word) == 4 and word.islower()) or word.lower() in NO_FACTORS:
        raise UnreadableError(f"the word {word!r}")
    reader.at -= 1  # letters side by side are a product: ab is a·b
    reader.tokens[reader.at : reader.at + 1] = [Token("word", letter, False) for letter in word]
    reader.take()
    return names.name(reader, word[0])


def _quoted_name(reader: ScalarReader) -> Expr:
    name = reader.take().text.strip()
    if len(name) == 1 and name.isalpha():
        return names.name(reader, name)
    if 1 < len(name) <= 4 and name.isalpha() and name.isupper():
        return scalar(_word(reader, name))
    if name in FUNCTIONS:
        return scalar(_known(reader, name))
    raise UnreadableError(f"the words {name!r}")


def _known(reader: ScalarReader, word: str) -> Answer:
    if word in SYMBOLS:
        name = SYMBOLS[word]
        return Sym(f"{name}_{names.subscript(reader)}") if name not in ("pi", "oo") and reader.skip("_") else Sym(name)
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
        after_brackets = names.arguments(reader)
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
    return fraction(top, argument(reader))


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
    "angle": names.marked("angle"),
    "vec": names.marked("vec"),
    "dot": names.marked("dot"),
    "ddot": names.marked("ddot"),
    "sum": _series("sum"),
    "prod": _series("prod"),
    "emptyset": lambda _reader: Sequence((), r"\{", r"\}"),
}
