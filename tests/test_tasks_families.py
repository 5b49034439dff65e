"""Procedural families: correct answers and steps, repeatable, no repeats, disjoint splits."""

from __future__ import annotations

import ast
import operator
import re
import subprocess
import sys
from fractions import Fraction

import pytest

from stepgym.errors import ConfigError, UnknownNameError
from stepgym.records import Task
from stepgym.tasks import FAMILIES, generate, load
from stepgym.tasks.gold import boxes

LEVELS = (1, 2, 3, 5, 8)
OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}


def evaluate(text: str, x: Fraction | None = None) -> Fraction:
    """The value of an expression by Python's own grammar, which knows nothing of how the family wrote it."""

    def value(node: ast.expr) -> Fraction:
        match node:
            case ast.Constant(value=int(number)):
                return Fraction(number)
            case ast.Name(id="x"):
                assert x is not None
                return x
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -value(operand)
            case ast.BinOp(left=left, op=op, right=right):
                return OPERATORS[type(op)](value(left), value(right))
        raise AssertionError(ast.dump(node))

    return value(ast.parse(text, mode="eval").body)


def tasks_of(family: str) -> list[Task]:
    return [task for level in LEVELS for task in generate(family, count=60, seed=3, level=level)]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_task_is_complete_and_its_last_step_alone_boxes_the_answer(family: str) -> None:
    for task in tasks_of(family):
        assert task.prompt
        assert task.hint
        assert task.subquestions
        assert len(task.steps) >= 2
        assert boxes(task.steps[-1]) == [task.answer]
        assert not boxes("".join((*task.steps[:-1], task.prompt, task.hint, *task.subquestions)))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_arguments_give_the_same_tasks_in_another_process(family: str) -> None:
    here = generate(family, count=5, seed=7, level=2)
    call = f"generate({family!r}, count=5, seed=7, level=2)"
    code = f"from stepgym.tasks import generate\nfor task in {call}: print(task.to_json())"
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert [task.to_json() for task in here] == there.splitlines()
    assert generate(family, count=3, seed=7, level=2) == here[:3]
    assert generate(family, count=5, seed=8, level=2) != here


@pytest.mark.parametrize("family", FAMILIES)
def test_no_task_repeats_and_one_problem_has_one_id(family: str) -> None:
    ids: dict[str, str] = {}
    for seed in range(3):
        tasks = generate(family, count=300, seed=seed, level=2)
        assert len({task.prompt for task in tasks}) == 300
        assert len({task.id for task in tasks}) == 300
        for task in tasks:
            assert ids.setdefault(task.prompt, task.id) == task.id


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("level", [1, 3])
def test_the_splits_share_no_problem_whatever_the_seeds(family: str, level: int) -> None:
    count = 15 if family == "addition" and level == 1 else 300
    train = {
        t.prompt for seed in range(4) for t in load(f"{family}?level={level}&seed={seed}&count={count}&split=train")
    }
    test = {t.prompt for seed in range(4) for t in load(f"{family}?level={level}&seed={seed}&count={count}&split=test")}
    assert len(train) >= count
    assert len(test) >= count
    assert not train & test


def test_a_fifth_of_the_problems_is_held_out() -> None:
    everything = {task.id for task in generate("addition", count=5_000, level=4)}
    held_out = {task.id for task in generate("addition", count=900, level=4, split="test")}
    assert 850 <= len(held_out & everything) == len(held_out)  # the same stream, filtered


def test_arithmetic_has_the_right_value_after_every_step() -> None:
    for task in tasks_of("arithmetic"):
        assert len(task.steps) == len(task.subquestions) == task.meta["level"] + 1
        assert evaluate(task.prompt.removeprefix("Compute ").removesuffix(".")) == int(task.answer)
        for step in task.steps[:-1]:
            done, left = step.removesuffix(".").split(", which leaves ")
            operation, result = done.split(" = ")
            assert evaluate(operation) == int(result)
            assert evaluate(left) == int(task.answer)


def test_arithmetic_sub_questions_lead_to_the_answer_and_tell_no_result() -> None:
    for task in tasks_of("arithmetic"):
        known: dict[str, Fraction] = {}
        for question in task.subquestions:
            name, asked = question.removeprefix("What is ").removesuffix("?").split(" = ")
            for earlier in reversed(known):
                asked = asked.replace(earlier, f"({known[earlier]})")
            known[name] = evaluate(asked)
        assert known[f"r{len(known)}"] == int(task.answer)


def test_equations_hold_at_their_solution_and_after_every_step() -> None:
    fractional = 0
    for task in tasks_of("equations"):
        x = Fraction(task.answer)
        fractional += x.denominator > 1
        statements = [task.prompt.removeprefix("Solve for x: ").removesuffix(".")]
        for step in task.steps[:-1]:
            statement = step.removesuffix(".").partition(": ")[2]
            statements.append(statement if "=" in statement else f"{statement} = {statements[0].split(' = ')[1]}")
        for statement in statements:
            left, right = (re.sub(r"(?<=[\dx)])(?=[x(])", "*", side) for side in statement.split(" = "))
            assert evaluate(left, x) == evaluate(right, x), statement
    assert fractional > 20


def test_modular_chains_end_at_the_answer() -> None:
    for task in tasks_of("modular"):
        match = re.fullmatch(
            r"Let x = (\d+)\. Working modulo (\d+), replace x by (.*)\. What is x at the end\?", task.prompt
        )
        assert match
        x, prime = int(match[1]), int(match[2])
        rules = match[3].split(", then by ")
        assert len(rules) == len(task.steps) == len(task.subquestions)
        for rule, step in zip(rules, task.steps, strict=True):
            python = re.sub(r"(\d)x", r"\1*x", rule).replace("x^2", "x*x")
            value = evaluate(python, Fraction(x))
            assert f" = {value}, and {value} mod {prime} = {value % prime}" in step
            x = int(value % prime)
        assert x == int(task.answer)


def test_addition_writes_its_columns_and_carries() -> None:
    task = load("addition?level=4&count=1&split=train")[0]
    assert task.prompt == "5311+3497="
    assert task.steps == ("1+7+0=8,0;", "1+9+0=0,1;", "3+4+1=8,0;", "5+3+0=8,0;", "\\boxed{8808}")
    assert task.subquestions == ("1+7", "1+9", "3+4", "5+3")
    for task in tasks_of("addition"):
        upper, lower = task.prompt.removesuffix("=").split("+")
        assert len(upper) == len(lower) == task.meta["level"]
        assert int(upper) + int(lower) == int(task.answer)
        columns = [re.fullmatch(r"(\d)\+(\d)\+([01])=(\d),([01]);", step) for step in task.steps[:-1]]
        written = "".join(column[4] for column in reversed(columns) if column)
        assert columns[-1]
        assert int(columns[-1][5] + written) == int(task.answer)
        for column in columns:
            assert column
            assert int(column[1]) + int(column[2]) + int(column[3]) == 10 * int(column[5]) + int(column[4])


def test_difficulty_grows_with_the_level() -> None:
    for family in FAMILIES:
        lengths = [sum(len("".join(t.steps)) for t in generate(family, count=50, level=level)) for level in LEVELS]
        assert lengths == sorted(lengths)
        assert lengths[-1] > 1.5 * lengths[0]


def test_a_family_that_is_used_up_says_so() -> None:
    assert len({task.prompt for task in generate("addition", count=100)}) == 100
    with pytest.raises(
        ConfigError, match=r"only 100 different tasks of level 1 .* not 101; ask for fewer, or a higher level"
    ):
        generate("addition", count=101)


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("arithmetik", UnknownNameError, "did you mean 'arithmetic'"),
        ("arithmetic?levl=3", ConfigError, "did you mean 'level'"),
        ("arithmetic?level=three", ConfigError, "level must be a whole number, not 'three'"),
        ("arithmetic?level=", ConfigError, "level must be a whole number"),
        ("arithmetic?level=²", ConfigError, "level must be a whole number"),
        ("arithmetic?level=0", ConfigError, "level must be between 1 and 20, not 0"),
        ("arithmetic?level=99999", ConfigError, "level must be between 1 and 20"),
        ("arithmetic?count=-1", ConfigError, "count must be between 0"),
        ("arithmetic?count=99999999", ConfigError, "count must be between 0 and 1000000"),
        ("arithmetic?seed=1&seed=2", ConfigError, "seed is given twice"),
        ("arithmetic?split=dev", ConfigError, "split must be one of all, train, test, not 'dev'"),
    ],
)
def test_a_wrong_spec_gets_one_clear_sentence(spec: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        load(spec)
    assert "\n" not in str(caught.value)
