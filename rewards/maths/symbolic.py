"""The last tier's work, run in a worker process only: sympy on expressions built from our own syntax tree."""

from __future__ import annotations

from typing import Any

import sympy

from stepgym.rewards.maths.nodes import Add, Call, Expr, Mul, Num, Pow, Sym

_CONSTANTS = {"pi": sympy.pi, "e": sympy.E, "i": sympy.I, "oo": sympy.oo}
_FUNCTIONS = {
    "arcsin": sympy.asin, "arccos": sympy.acos, "arctan": sympy.atan, "arccot": sympy.acot, "arsinh": sympy.asinh,
    "arcosh": sympy.acosh, "artanh": sympy.atanh, "abs": sympy.Abs, "ceil": sympy.ceiling, "max": sympy.Max,
    "min": sympy.Min,
    "lg": lambda x: sympy.log(x, 10), "binom": sympy.binomial, "percent": lambda x: x / 100,
    "deg": lambda x: x * sympy.pi / 180,
    "mod": sympy.Mod,
}  # fmt: skip
_SAME_NAME = frozenset(
    [
        "sin",
        "cos",
        "tan",
        "cot",
        "sec",
        "csc",
        "sinh",
        "cosh",
        "tanh",
        "coth",
        "exp",
        "log",
        "floor",
        "factorial",
        "sign",
        "gcd",
        "lcm",
        "re",
        "im",
        "arg",
    ]
)


_NO_PROOF = (KeyError, ArithmeticError, ValueError, TypeError, AttributeError, NotImplementedError, RecursionError)
"""What sympy raises on expressions that are undefined or that it cannot treat. Memory and time are budgets."""


def same(pair: tuple[Expr, Expr]) -> bool:
    """Whether sympy proves the two equal. False also where it can prove neither: an unproven answer is not accepted."""
    try:
        left, right = (build(expr) for expr in pair)
        difference = (left - right).doit()
        if difference == 0 or sympy.simplify(difference) == 0:
            return True
        return difference.equals(0) is True
    except _NO_PROOF:
        return False


def build(expr: Expr) -> Any:
    """The sympy object of our node. Raises `KeyError` for a function that sympy has no name for."""
    match expr:
        case Num(value, _):
            return sympy.Rational(value.numerator, value.denominator)
        case Sym(name):
            return _CONSTANTS.get(name) or sympy.Symbol(name)
        case Add(terms):
            return sympy.Add(*map(build, terms))
        case Mul(parts):
            return sympy.Mul(*map(build, parts))
        case Pow(base, exponent):
            return sympy.Pow(build(base), build(exponent))
        case Call("sum" | "prod" as name, (body, variable, low, high)):
            kind = sympy.Sum if name == "sum" else sympy.Product
            return kind(build(body), (build(variable), build(low), build(high)))
        case Call(name, args):
            function = getattr(sympy, name) if name in _SAME_NAME else _FUNCTIONS[name]
            return function(*map(build, args))
