"""Gold answers: boxes, bare text, whole numbers, and hostile text in linear time."""

from __future__ import annotations

import time

import pytest

from stepgym.tasks.gold import bare, boxes, gold_answer, last_boxed, whole_number
from stepgym.tasks.gsm8k import worked
from stepgym.tasks.numbered import numbered_steps


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"so \boxed{1} or \boxed {\frac{1}{2}}.", ["1", r"\frac{1}{2}"]),
        (r"\boxed{\{1, 2\}}", [r"\{1, 2\}"]),
        (r"\boxed{a \boxed{b} c}", [r"a \boxed{b} c"]),
        (r"\boxed{unclosed, \boxed{2}", ["2"]),
        (r"\frac{1 \boxed{2}", ["2"]),
        (r"} \boxed{2}}", ["2"]),
        (r"\boxed{x \right\} y}", [r"x \right\} y"]),
        (r"\\boxed{1}", []),  # a line break and a word
        (r"\boxed 5", []),
        (r"\boxed{}", [""]),
    ],
)
def test_boxes(text: str, expected: list[str]) -> None:
    assert boxes(text) == expected
    assert last_boxed(text) == (expected[-1] if expected else "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" $x$ ", "x"),
        (r"\$32,\!348", r"\$32,\!348"),
        ("$221,$8$", "221,8"),
        (r"$\boxed{\{1\}}$.", r"\{1\}"),
        (r"\boxed{\{1\}}", r"\{1\}"),
        (r"\boxed{1} and \boxed{2}", r"\boxed{1} and \boxed{2}"),
        ("5.", "5"),
        ("1, 2, ...", "1, 2, ..."),
    ],
)
def test_bare(text: str, expected: str) -> None:
    assert bare(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("025", "25"), ("000", "0"), ("-07", "-7"), ("27.0", "27"), ("27.50", "27.50"), ("0.5", "0.5"), ("1e5", "1e5")],
)
def test_whole_number(text: str, expected: str) -> None:
    assert whole_number(text) == expected


@pytest.mark.parametrize(
    ("value", "several", "expected"),
    [
        (["2500,7500"], True, "2500, 7500"),
        (["$(1,2),(3,[4,5])$"], True, "(1,2), (3,[4,5])"),
        (["$(1,2)$", "3"], False, "(1,2), 3"),
        (["1,000"], False, "1,000"),
        ([], False, "box"),
        ({"a": 1}, False, "box"),
        (float("nan"), False, "box"),
        (0, False, "0"),
        (-0.0, False, "0"),
        (1e22, False, "10000000000000000000000"),
    ],
)
def test_what_an_answer_column_holds(value: object, several: bool, expected: str) -> None:
    assert gold_answer(value, r"\boxed{box}", several=several) == expected


@pytest.mark.parametrize(
    "text",
    [
        r"\boxed{" * 150_000,
        "{" * 1_000_000,
        r"\boxed" + " " * 1_000_000,
        "#### " + " " * 1_000_000 + "\ny",
        "\n####" * 200_000 + "\ny",
        "<<" * 500_000,
        "0" * 1_000_000 + "x",
        "1" * 1_000_000 + ". **",
        "1. **" * 200_000,
        "$" * 1_000_000,
        "," * 1_000_000,
    ],
)
def test_hostile_text_takes_linear_time(text: str) -> None:
    started = time.process_time()
    gold_answer(text, text)
    gold_answer([text], text, several=True)
    whole_number(text)
    worked(text, "1")
    numbered_steps(text)
    assert time.process_time() - started < 10  # a second or so; quadratic time would be hours
