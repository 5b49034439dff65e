"""Helped contexts, and sub-questions as models write them."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from stepgym import Attempt, Task
from stepgym.errors import ConfigError, TaskError
from stepgym.rewards import REWARDS
from stepgym.tasks import FAMILIES, load
from stepgym.tasks.helped import DIVERSITY, check_help, with_help, with_hint, with_subquestions, with_template
from stepgym.tasks.subquestions import (
    CLOSING_TAG,
    MAX_CHARACTERS,
    MAX_SUBQUESTIONS,
    TAG,
    format_subquestions,
    parse_subquestions,
    subquestions_fault,
)

TASK = Task(
    id="half",
    prompt="What is 1/4 + 1/4?",
    answer="1/2",
    steps=("a", "b"),
    hint="Two quarters.",
    subquestions=("What is 1 + 1?", "What is 2/4?"),
    meta={"level": 3},
)


def test_a_helped_task_is_the_task_with_another_prompt() -> None:
    hinted, asked = with_hint(TASK), with_subquestions(TASK)
    assert hinted.prompt == "What is 1/4 + 1/4?\nHint: Two quarters.\n"
    assert asked.prompt == "What is 1/4 + 1/4?\nSub-questions:\n1. What is 1 + 1?\n2. What is 2/4?\n"
    for task, kind in ((hinted, "hint"), (asked, "subquestions")):
        assert task == replace(TASK, prompt=task.prompt, meta={"level": 3, "helped": kind})
        assert Task.from_json(task.to_json()) == task
        assert with_help(TASK, kind) == task
        assert REWARDS.make("math")(Attempt(task=task, text=r"\boxed{0.5}")).value == 1.0
    assert TASK.meta == {"level": 3}


def test_another_wording() -> None:
    assert with_hint(TASK, "H {hint} P {prompt}").prompt == "H Two quarters. P What is 1/4 + 1/4?"
    assert with_subquestions(TASK, "{subquestions}|{prompt}").prompt.startswith("1. What is 1 + 1?\n2. What is 2/4?|")
    plain = with_template(TASK, DIVERSITY)
    assert plain == replace(TASK, prompt=f"{TASK.prompt}\nSolution:\n")


def test_braces_in_texts_and_templates_are_just_braces() -> None:
    task = Task(id="x", prompt=r"\frac{1}{2} {hint} {0} {", hint="{prompt} {hint.__class__} %s \\1 }{")
    assert with_hint(task, r"\boxed{} {prompt}|{hint}|{id}").prompt == (rf"\boxed{{}} {task.prompt}|{task.hint}|{{id}}")


@pytest.mark.parametrize(
    ("fill", "missing"),
    [
        (lambda: with_hint(TASK, "Hint: {hint}"), "{prompt}"),
        (lambda: with_hint(TASK, "{prompt} {subquestions}"), "{hint}"),
        (lambda: with_subquestions(TASK, "{prompt} { subquestions }"), "{subquestions}"),
        (lambda: with_template(TASK, ""), "{prompt}"),
    ],
)
def test_a_template_without_its_placeholder_is_refused(fill: Callable[[], Task], missing: str) -> None:
    with pytest.raises(ConfigError, match="lacks the placeholder") as caught:
        fill()
    assert str(caught.value).endswith(missing)


@pytest.mark.parametrize(
    ("kind", "command"),
    [
        ("hint", "'bare' has no hint; make them with: stepgym annotate hints TASKS --out FILE"),
        ("subquestions", "'bare' has no sub-questions; make them with: stepgym annotate subquestions TASKS --out FILE"),
    ],
)
def test_the_first_task_without_help_is_named_with_the_command_that_makes_it(kind: str, command: str) -> None:
    bare = [Task(id=name, prompt="p", hint=" \n", subquestions=("", " ")) for name in ("bare", "bare too")]
    with pytest.raises(TaskError) as caught:
        check_help([TASK, *bare], kind)
    assert str(caught.value) == f"task {command}"
    with pytest.raises(TaskError, match="'bare too'"):
        with_help(bare[1], kind)


def test_an_unknown_kind_of_help() -> None:
    with pytest.raises(ConfigError, match="one of hint, subquestions, not 'hints'"):
        with_help(TASK, "hints")


@pytest.mark.parametrize("source", [*FAMILIES, "worked"])
def test_families_and_worked_problems_have_both_kinds_of_help(source: str) -> None:
    tasks = load(source)
    for task in tasks:
        assert task.hint in with_hint(task).prompt
        written = format_subquestions(task.subquestions)
        assert parse_subquestions(written) == task.subquestions
        assert subquestions_fault(written) == ""


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ()),
        ("What is it?", ()),
        ("<subquestion>One?<subquestion>Two?", ("One?", "Two?")),
        ("  <subquestion> One?\n\n<subquestion>\nTwo\nlines? ", ("One?", "Two\nlines?")),
        ("Sure! <subquestion>One?</subquestion> and\n<subquestion>Two?</subquestion> That is all.", ("One?", "Two?")),
        ("<subquestion><subquestion>One?<subquestion> ", ("One?",)),
        ("<subquestion></subquestion>One?", ()),
        ("<Subquestion>One?<subquestion >Two?", ()),
    ],
)
def test_parsing(text: str, found: tuple[str, ...]) -> None:
    assert parse_subquestions(text) == found


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("<subquestion>One?", ""),
        ("\n<subquestion>1+8<subquestion>2+3\n", ""),
        ("<subquestion>One?</subquestion>\n<subquestion>Two?</subquestion>", ""),
        ("", "0 characters"),
        ("One? Two?", "not more than 10"),
        ("First of all: <subquestion>One?", "does not begin"),
        ("</subquestion>One?<subquestion>Two?", "does not begin"),
        ("<subquestion>", "empty"),
        ("<subquestion>One?<subquestion>\n", "empty"),
        ("<subquestion><subquestion>One?", "empty"),
        ("<subquestion>One?<subquestion></subquestion>", "empty"),
        ("<subquestion>One? <subquestion>Two?</subquestion></subquestion>", "contains another"),
        ("<subquestion>?" * (MAX_SUBQUESTIONS + 1), "65 sub-questions, more than 64"),
        ("<subquestion>" + "?" * (MAX_CHARACTERS + 1), "2001 characters, more than 2000"),
    ],
)
def test_the_format(text: str, fault: str) -> None:
    assert fault in subquestions_fault(text)
    assert bool(fault) == bool(subquestions_fault(text))


def test_what_is_written_is_read_back() -> None:
    rng = random.Random(0)
    alphabet = "ab 1+8=?\n\t<>/{}\\é中\u2028\ud800" + "<subquestion"
    for _ in range(500):
        texts = ["".join(rng.choices(alphabet, k=rng.randint(1, 40))).strip() for _ in range(rng.randint(1, 8))]
        subquestions = tuple(filter(None, texts))
        written = format_subquestions(subquestions)
        assert parse_subquestions(written) == subquestions
        assert bool(subquestions_fault(written)) == (not subquestions)


def test_any_text_is_read_within_bounds_and_a_kept_format_is_read_in_full() -> None:
    rng = random.Random(1)
    pieces = [TAG, CLOSING_TAG, "One?", " ", "\n", "<", "x" * 900]
    kept = 0
    for _ in range(2_000):
        text = TAG * rng.randint(0, 1) + "".join(rng.choices(pieces, k=rng.choice((4, 8, 300))))
        found = parse_subquestions(text)
        assert len(found) <= MAX_SUBQUESTIONS
        assert all(each and TAG not in each and len(each) <= MAX_CHARACTERS for each in found)
        if not subquestions_fault(text):
            kept += 1
            assert len(found) == text.count(TAG) > 0
    assert kept > 100


@pytest.mark.parametrize("subquestion", ["", " \n", "a <subquestion> b", "a </subquestion>"])
def test_what_could_not_be_read_back_is_not_written(subquestion: str) -> None:
    with pytest.raises(TaskError, match="a sub-question"):
        format_subquestions(["One?", subquestion])
