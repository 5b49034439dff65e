"""Properties that hold for generated answers: no exceptions, reflexivity, round trips, sound rejection."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from stepgym.records import Status
from stepgym.rewards import MathVerifier
from stepgym.rewards.maths.number import read_number
from stepgym.rewards.maths.text import clean

verifier = MathVerifier()
LATEX = st.sampled_from(
    [
        r"\frac",
        r"\sqrt",
        r"{",
        r"}",
        r"(",
        r")",
        r"[",
        r"]",
        r"\{",
        r"\}",
        r"^",
        r"_",
        r"+",
        r"-",
        r"*",
        r"/",
        r"=",
        r"<",
        r",",
        r"\pm",
        r"\text",
        r"and",
        r"or",
        r"1",
        r"23",
        r"4.5",
        r"x",
        r"y",
        r"\pi",
        r"%",
        r"^\circ",
        r"\le",
        r"\cup",
        r"|",
        r"!",
        r"\sin",
        r"e",
        r"i",
        r"\begin{pmatrix}",
        r"\end{pmatrix}",
        r"&",
        r"\\",
        r":",
        r"\infty",
        r"\sum_{k=1}^{3}",
        r"\binom",
        r"9",
        r"\in",
        r"\dots",
        r"cm",
        r"$",
        r"\boxed{",
    ]
)
FRACTIONS = st.fractions(min_value=-10_000, max_value=10_000, max_denominator=500)


@settings(max_examples=400, deadline=None)
@given(st.lists(LATEX, max_size=14).map("".join) | st.text(max_size=30), st.lists(LATEX, max_size=14).map(" ".join))
def test_any_text_gets_a_verdict(gold: str, answer: str) -> None:
    for target, given_text in ((gold, answer), (answer, gold)):
        score = verifier.equal(target, given_text)
        if score.why == "the gold answer is empty":
            assert not clean(target) or "boxed" in target
            continue
        assert score.status in (Status.CORRECT, Status.WRONG, Status.UNPARSABLE, Status.TIMEOUT), score


@settings(max_examples=300, deadline=None)
@given(st.lists(LATEX, min_size=1, max_size=14).map(" ".join))
def test_every_answer_equals_itself(text: str) -> None:
    if clean(text) and "boxed" not in text:
        assert verifier.equal(text, text).value == 1.0


@given(FRACTIONS)
def test_numbers_are_read_in_every_spelling(value: Fraction) -> None:
    sign, top, bottom = "-" if value < 0 else "", abs(value.numerator), value.denominator
    whole, rest = divmod(top, bottom)
    spellings = [
        f"{sign}{top}/{bottom}",
        rf"{sign}\frac{{{top}}}{{{bottom}}}",
        rf"{sign}\dfrac{{{2 * top}}}{{{2 * bottom}}}",
    ]
    if rest and whole:
        spellings += [f"{sign}{whole} {rest}/{bottom}", rf"{sign}{whole}\frac{{{rest}}}{{{bottom}}}"]
    for spelling in spellings:
        number = read_number(clean(spelling))
        assert number is not None
        assert number.value == value
        assert verifier.equal(str(value), spelling).value == 1.0


@given(st.integers(-(10**30), 10**30), st.integers(-(10**30), 10**30))
def test_integers_are_equal_exactly(a: int, b: int) -> None:
    assert verifier.equal(str(a), str(b)).value == float(a == b)
    assert verifier.equal(str(a), f"{a:,}").value == 1.0
    assert verifier.equal(str(a), f"{a}.0").value == 1.0


@settings(deadline=None)
@given(FRACTIONS, FRACTIONS, st.integers(2, 30))
def test_numbers_with_roots_are_equal_exactly(a: Fraction, b: Fraction, n: int) -> None:
    left = rf"\frac{{{a.numerator}}}{{{a.denominator}}}+\sqrt{{{n}}}"
    assert verifier.equal(left, rf"\sqrt{{{n}}} + {a}").value == 1.0
    assert verifier.equal(left, rf"\sqrt{{{n}}} + {b}").value == float(a == b)
    assert verifier.equal(left, rf"\frac{{\sqrt{{{4 * n}}} + {2 * a}}}{{2}}").value == 1.0


@settings(deadline=None)
@given(st.lists(st.integers(-9, 9), min_size=1, max_size=4), st.lists(st.integers(-9, 9), min_size=1, max_size=4))
def test_polynomials_are_equal_exactly(roots: list[int], others: list[int]) -> None:
    factored = "".join(f"(x-({root}))" for root in roots)
    coefficients = [1]
    for root in others:
        coefficients = [a - root * b for a, b in zip([*coefficients, 0], [0, *coefficients], strict=True)]
    powers = range(len(others), -1, -1)
    expanded = " + ".join(f"({c})x^{{{power}}}" for c, power in zip(coefficients, powers, strict=True))
    assert verifier.equal(factored, expanded).value == float(sorted(roots) == sorted(others))


SHUFFLED = st.lists(st.integers(-99, 99), min_size=2, max_size=6).flatmap(
    lambda items: st.tuples(st.just(items), st.permutations(items))
)


@given(SHUFFLED)
def test_lists_are_equal_in_any_order_and_tuples_in_one(lists: tuple[list[int], list[int]]) -> None:
    items, shuffled = lists
    gold, answer = ", ".join(map(str, items)), ", ".join(map(str, shuffled))
    assert verifier.equal(gold, answer).value == 1.0
    assert verifier.equal(f"({gold})", f"({answer})").value == float(items == shuffled)
    assert verifier.equal(gold, f"{answer}, 100").value == 0.0
