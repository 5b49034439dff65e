"""Format rules, and patterns that no text can stall."""

from __future__ import annotations

import time

import pytest

from stepgym.errors import ConfigError
from stepgym.records import Attempt, Task
from stepgym.rewards import Format
from stepgym.rewards.bounded_pattern import compile_bounded

A2D = Format(starts_with="<subquestion>", filled=("<subquestion>",), min_characters=11)
SRL = Format(starts_with="<think>", once=("<think>", "</think>"), filled=("</think>",))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("<subquestion> How many?", ""),
        ("\n<subquestion>What is x?\n<subquestion>And y?\n", ""),
        ("What? <subquestion> How many?", "does not begin"),
        ("<subquestion> <subquestion> How many?", "nothing follows"),
        ("<subquestion> How many? <subquestion> ", "nothing follows"),
        ("<subquest", "9 characters"),
    ],
)
def test_sub_questions(text: str, fault: str) -> None:
    assert fault in A2D.fault(text)
    assert bool(A2D.fault(text)) == bool(fault)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("<think>Hm.</think>\n1. Add.", ""),
        ("<think></think>1. Add.", ""),
        ("1. Add.", "does not begin"),
        ("<think>Hm.", "'</think>' 0 times"),
        ("<think>Hm.</think> \n", "nothing follows '</think>'"),
        ("<think>Hm.</think>x</think>y", "'</think>' 2 times"),
        ("<think><think>Hm.</think>1.", "'<think>' 2 times"),
    ],
)
def test_a_thought_and_then_a_step(text: str, fault: str) -> None:
    assert fault in SRL.fault(text)
    assert bool(SRL.fault(text)) == bool(fault)


def test_tags_in_the_wrong_order_are_a_fault() -> None:
    assert Format(once=("<a>", "<b>")).fault("x<b><a>") == "'<b>' is out of order"


def test_tags_side_by_side_leave_the_first_one_empty() -> None:
    assert Format(filled=("<a>",), once=("<b>",)).fault("<a> <b> x") == "nothing follows '<a>'"
    assert Format(filled=("<a>",), once=("<b>",)).fault("<a> x <b>") == ""


def test_forbidden_text_and_length() -> None:
    assert Format(forbidden=("Answer:",)).fault("so Answer: 2") == "contains 'Answer:'"
    assert Format(max_characters=3).fault("abcd") == "4 characters, not 1 to 3"
    assert Format().fault(" \n") == "0 characters, not 1 to 65536"


def test_the_whole_text_matches_the_pattern() -> None:
    numbered = Format(pattern=r"\d{1,3}\. .+", max_characters=5000)
    assert numbered.fault("1. Add.\nAll of it.") == ""
    assert "does not match" in numbered.fault("Well, 1. Add.")


def test_values_can_be_set_and_the_reason_is_given() -> None:
    rule = Format(starts_with="1.", ok=0.5, broken=-1.0)
    task = Task(id="t", prompt="")
    assert rule(Attempt(task=task, text="1. x")).value == 0.5
    broken = rule(Attempt(task=task, text="x"))
    assert (broken.value, broken.why) == (-1.0, "does not begin with '1.'")


@pytest.mark.parametrize(
    "settings", [{"min_characters": 5, "max_characters": 4}, {"min_characters": -1}, {"once": ("",)}, {"pattern": "("}]
)
def test_rules_that_cannot_work_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        Format(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "pattern",
    [r"(a*)*b", r"(a|a)*b", r"(a|ab)+?c", "a?" * 30 + "a" * 30, r"(?:a?){30}a", r"(a+)\1", r".*.*.*x", r"(?=(a+))+b"],
)
def test_a_pattern_that_a_text_could_stall_is_refused(pattern: str) -> None:
    with pytest.raises(ConfigError, match="could stall"):
        compile_bounded(pattern, 5000)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [(r".*x.*y", "x"), (r".*.*z", "a"), (r"(?:.*x)(?:.*x)y", "x"), (r"(?:ab|a)*+b", "ab"), (r"(?>a*)a*b", "a")],
)
def test_no_text_stalls_a_pattern_that_is_accepted(pattern: str, text: str) -> None:
    characters = 7000 if pattern.count("*") > 1 else 100_000
    compiled = compile_bounded(pattern, characters)
    started = time.process_time()
    compiled.fullmatch((text * characters)[:characters])
    assert time.process_time() - started < 3
