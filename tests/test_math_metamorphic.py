"""Metamorphic relations over real gold answers: a rewriting that keeps the meaning is accepted, any other rejected."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from stepgym.records import Attempt, Task
from stepgym.rewards import MathVerifier
from stepgym.tasks import load

VERIFIER = MathVerifier()
Rewrite = Callable[[str], str | None]
"""A gold to another way of writing it, or None where the rule does not apply."""


@pytest.fixture(scope="module")
def golds(data_dir: Path) -> list[str]:
    """Every gold once."""
    answers = [task.answer for name in ("math500", "olympiadbench", "minerva_math") for task in load(name)]
    return [gold for gold in dict.fromkeys(answers) if r",\!" not in gold]


def replaced(pattern: str, by: str) -> Rewrite:
    return lambda gold: re.sub(pattern, by, gold) if re.search(pattern, gold) else None


_NO_FORMULA = re.compile(
    r"[,=<>:]|\\(?:in|cup|[lg]e[a-z]*|pm|begin|text|mbox|mathrm|equiv|circ)(?![a-z])|(?<!\\)\b[A-Za-z]{4}|[0-9]_|dots"
)


def formula(rewrite: Callable[[str], str]) -> Rewrite:
    """Only for golds that are one scalar in base ten, without words."""
    return lambda gold: None if _NO_FORMULA.search(gold) else rewrite(gold)


def integer(rewrite: Callable[[str], str]) -> Rewrite:
    return lambda gold: rewrite(gold) if re.fullmatch(r"[1-9][0-9]*", gold) else None


def grouped(separator: str) -> Rewrite:
    return lambda gold: f"{int(gold):,}".replace(",", separator) if re.fullmatch(r"[1-9][0-9]{4,}", gold) else None


def listed(rewrite: Callable[[list[str]], str]) -> Rewrite:
    plain = re.compile(r"[-0-9a-z\\{}/^ ]+(?:, [-0-9a-z\\{}/^ ]+)+")
    return lambda gold: rewrite(gold.split(", ")) if plain.fullmatch(gold) and "=" not in gold else None


SAME: dict[str, Rewrite] = {
    "dfrac": replaced(r"\\frac", r"\\dfrac"),
    "over": replaced(r"^\\frac\{([0-9]+)\}\{([0-9]+)\}$", r"{\1 \\over \2}"),
    "slash": replaced(r"^(-?)\\frac\{([0-9]+)\}\{([0-9]+)\}$", r"\1\2/\3"),
    "minus above": replaced(r"^-\\frac\{([0-9]+)\}", r"\\frac{-\1}"),
    "no left and right": replaced(r"\\left|\\right(?![a-z])", ""),
    "root as power": replaced(r"(?<![0-9])(?<![0-9] )\\sqrt\{([0-9]+)\}", r"\1^{1/2}"),
    "unicode root": replaced(r"\\sqrt\{([0-9]+)\}", r"√{\1}"),
    "unicode pi": replaced(r"\\pi(?![a-z])", "π"),
    "unicode minus": replaced("-", "−"),
    "unicode square": replaced(r"\^\{2\}", "²"),
    "degrees": replaced(r"\^\\circ$", r" \\text{ degrees}"),
    "math function": replaced(r"\\(sin|cos|ln)(?![a-z])", r"\\operatorname{\1}"),
    "commas": grouped(","),
    "braced commas": grouped("{,}"),
    "thin spaces": grouped("\u2009"),
    "spaces": grouped(" "),
    "scientific": replaced(r"^([0-9.]+)e(-?[0-9]+)$", r"\1 \\times 10^{\2}"),
    "unit": integer(lambda gold: rf"{gold}\text{{ cm}}"),
    "tied unit": integer(lambda gold: f"{gold}~km/h"),
    "dollar": integer(lambda gold: rf"\${gold}"),
    "name": formula(lambda gold: f"S = {gold}"),
    "group": lambda gold: f"{{{gold}}}",
    "display": lambda gold: rf"$\displaystyle {gold}$.",
    "plus zero": formula(lambda gold: f"0 + {gold}"),
    "double half": formula(lambda gold: rf"\frac{{2({gold})}}{{2}}"),
    "reversed": listed(lambda items: ", ".join(reversed(items))),
    "as a set": listed(lambda items: r"\{" + ", ".join(items) + r"\}"),
    "and": listed(lambda items: ", ".join(items[:-1]) + r" \text{ and } " + items[-1]),
}

OTHER: dict[str, Rewrite] = {
    "negative": formula(lambda gold: f"-({gold})" if gold != "0" else "1"),
    "tenfold": integer(lambda gold: f"{gold}0"),
    "upside down": replaced(r"^\\frac\{([0-9]+)\}\{(?!\1\})([0-9]+)\}$", r"\\frac{\2}{\1}"),
    "cosine": replaced(r"\\sin(?![a-z])", r"\\cos"),
    "no root": replaced(r"\\sqrt", ""),
    "open": replaced(r"^\[([^\[\]()]*),([^\[\]()]*)\]$", r"(\1,\2)"),
    "closed": replaced(r"\(([^\[\]()]*),([^\[\]()]*)\]", r"[\1,\2]"),
    "fewer": listed(lambda items: ", ".join(items[1:])),
    "more": listed(lambda items: ", ".join([*items, "9173"])),
    "or": lambda gold: f"{gold} or 9173",
    "or in brackets": lambda gold: f"{gold} (or 9173)",
    "or before": lambda gold: f"9173 or {gold}",
    "and": lambda gold: rf"{gold} \text{{ and }} 9173",
    "denied": lambda gold: rf"\text{{not }} {gold}",
    "denied in words": lambda gold: f"not {gold}",
    "approximately another": formula(lambda gold: rf"{gold} \approx 9173"),
    "equal to another": formula(lambda gold: f"9173 = {gold}"),
    "two boxes": lambda gold: rf"\boxed{{{gold}}} or \boxed{{9173}}",
    "plus": formula(lambda gold: f"{gold} + 9173" if "e" not in gold else f"-{gold}"),
    "times": formula(lambda gold: f"17({gold})" if gold != "0" else "17"),
    "squared": formula(lambda gold: f"({gold})^2" if gold not in ("0", "1") else "2"),
}


@pytest.mark.parametrize("name", SAME)
def test_the_same_answer_in_another_spelling(golds: list[str], name: str) -> None:
    pairs = [(gold, other) for gold in golds if (other := SAME[name](gold)) is not None]
    assert pairs
    assert [pair for pair in pairs if VERIFIER.equal(*pair).value != 1.0] == []


@pytest.mark.parametrize("name", OTHER)
def test_another_answer(golds: list[str], name: str) -> None:
    pairs = [(gold, other) for gold in golds if (other := OTHER[name](gold)) is not None]
    assert pairs
    assert [pair for pair in pairs if VERIFIER.equal(*pair).value != 0.0] == []


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("I(0)", "0"),
        ("x(t)", "x(s)"),
        ("0", "not 0"),
        ("0", "0 (or 17)"),
        ("0", r"0 \approx 17"),
        ("p - q", r"p - q \approx 17"),
        ("3^{2011}-3", "3^{2011}-3x"),
        (r"\pi+3^{-2011}", r"\pi"),
        ("x+10^{-500}", "x"),
        ("f(x)=2x", "f(w)=2x"),
        (r"n\equiv 2 \pmod 4", r"2n\equiv 4 \pmod 4"),
        (r"n\equiv 1 \pmod 4", "n = 1"),
        (r"\{2k : k\in\mathbb{Z}\}", r"\mathbb{Z}"),
        (r"\dot{x}", r"\ddot{x}"),
        (r"\frac{dy}{dx}", r"\frac{y}{x}"),
        (r"\pi", r"\pi^\circ"),
        ("(1,2)", "y=1, x=2"),
        (r"\text{(C)}", r"\text{(C)} or 17"),
        ("A", "(A)^2"),
        (r"3 \text{ M}", r"3 \text{ m}"),
        (r"5 \text{ m/s}", r"5 \text{ ms}"),
        ("5", "5 is too large"),
    ],
)
def test_pairs_that_look_alike(gold: str, answer: str) -> None:
    assert VERIFIER.equal(gold, answer).value == 0.0


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("3 n", "3n"),
        (r"\frac{dy}{dx}", "dy/dx"),
        (r"10 \text{ mph}", "10 miles per hour"),
        (r"5 \text{ m/s}", "5 meters per second"),
        (r"(-\infty,2)\cup(3,\infty)", "(-inf,2)U(3,inf)"),
        ("x^{10}", "x¹⁰"),
        ("a_1", "a₁"),
        ("BD", r"\text{BD}"),
        ("(1,2)", "x=1, y=2"),
    ],
)
def test_pairs_that_look_different(gold: str, answer: str) -> None:
    assert VERIFIER.equal(gold, answer).value == 1.0


@pytest.mark.parametrize(
    "text",
    [
        r"\boxed{4} (or \boxed{3})",
        r"\boxed{4} / \boxed{3}",
        r"\boxed{4} or, if you prefer, \boxed{3}",
        r"Option 1: \boxed{4}; Option 2: \boxed{3}",
        "1. \\boxed{4}\n2. \\boxed{3}",
        r"(a) \boxed{4} (b) \boxed{3}",
        r"\boxed{4 \boxed{3}}",
    ],
)
def test_several_boxes_are_a_hedge(text: str) -> None:
    assert VERIFIER(Attempt(task=Task(id="", prompt="", answer="3"), text=text)).value == 0.0
