"""Expert steps: one instance a step, what its context holds, titles, whole solutions, and where steps come from."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stepgym import Task
from stepgym.errors import TaskError
from stepgym.tasks import FAMILIES, generate, load
from stepgym.tasks.expert_steps import (
    check_steps,
    is_instance,
    is_whole,
    joined,
    step_instance,
    step_instances,
    whole_solution,
)
from stepgym.tasks.numbered import TitledStep, numbered_steps, numbering_fault, split_title

TITLES = ("1. **Factor**: $x(x - 2)$", "2. **Solve**\n$x = 2$", "3. **Conclude** \\boxed{2}")
MATHS = Task(id="m", prompt="Solve.", answer="2", steps=TITLES, hint="Factor.", meta={"level": 3})
RUN = Task(
    id="repo-1",
    prompt="It crashes.",
    steps=("ls", "cat a.py", "sed -i s/1/2/ a.py", "submit"),
    meta={"answerless": True, "observations": ["a.py", "x = 1", "", "done"]},
)


def test_n_steps_give_n_minus_one_instances_or_n() -> None:
    instances = step_instances(MATHS)
    assert [task.id for task in instances] == ["m#1", "m#2"]
    assert [task.steps for task in instances] == [(TITLES[0],), (TITLES[1],)]
    assert [task.prompt for task in instances] == ["Solve.", f"Solve.\n\nThe solution so far:\n{TITLES[0]}"]
    assert [task.steps[0] for task in step_instances(MATHS, last=True)] == list(TITLES)
    second = instances[1]
    assert second.meta == {"level": 3, "expert_step": 2, "expert_steps": 3, "of": "m"}
    assert (second.answer, second.hint) == ("2", "Factor.")
    assert is_instance(second)
    assert not is_instance(MATHS)
    assert step_instances(second) == (second,)
    assert Task.from_json(second.to_json()) == second


def test_the_next_title_may_be_shown_and_the_rest_is_the_target() -> None:
    first, second, third = step_instances(MATHS, titled=True, last=True)
    assert first.prompt == "Solve.\n\nThe solution so far:\n1. **Factor**:"
    assert first.steps == ("$x(x - 2)$",)
    assert second.prompt == f"Solve.\n\nThe solution so far:\n{TITLES[0]}\n2. **Solve**"
    assert second.steps == ("$x = 2$",)
    assert third.steps == ("\\boxed{2}",)
    bare = replace(MATHS, steps=("1. **Only a title**", *TITLES[1:]))
    assert step_instance(bare, 1, titled=True) == step_instance(bare, 1)


def test_steps_of_addition_are_joined_by_nothing() -> None:
    (task,) = generate("addition", count=1, level=4)
    written = ""
    for k, step in enumerate(task.steps, start=1):
        assert step_instance(task, k).prompt == task.prompt + written
        written += step
    assert joined(task, task.steps) == written
    assert whole_solution(task).steps == (written,)


def test_a_whole_solution_is_one_instance() -> None:
    whole = whole_solution(MATHS)
    assert (whole.id, whole.prompt, whole.steps) == ("m#whole", "Solve.", ("\n".join(TITLES),))
    assert is_instance(whole)
    assert is_whole(whole)
    assert not is_whole(step_instances(MATHS)[0])
    assert whole_solution(replace(MATHS, steps=TITLES[:1])).steps == TITLES[:1]


def test_a_run_shows_the_issue_and_the_last_two_rounds() -> None:
    instances = step_instances(RUN, last=True)
    assert [task.steps[0] for task in instances] == list(RUN.steps)
    assert instances[0].prompt == "It crashes."
    assert instances[1].prompt == "It crashes.\n\nCommand:\nls\nOutput:\na.py"
    assert instances[3].prompt == (
        "It crashes.\n\nCommand:\ncat a.py\nOutput:\nx = 1\n\nCommand:\nsed -i s/1/2/ a.py\nOutput:\n"
    )
    assert all("observations" not in task.meta for task in instances)


@pytest.mark.parametrize(
    ("task", "settings", "message"),
    [
        (
            Task(id="bare", prompt="?"),
            {},
            "'bare' has no expert steps; `stepgym annotate steps TASKS --out FILE`",
        ),
        (
            Task(id="gap", prompt="?", steps=("a", " ", "b")),
            {},
            "'gap': its expert step 2 is empty",
        ),
        (Task(id="one", prompt="?", steps=("a",)), {}, r"task 'one' has one expert step.*last=True.*annotate steps"),
        (Task(id="no", prompt="?", steps=("a", "b")), {"titled": True}, "task 'no': its expert step 1 has no title"),
        (replace(RUN, meta={"observations": ["a"]}), {}, "meta.observations must be a list of 4 texts"),
        (replace(RUN, meta={"observations": "abcd"}), {}, "meta.observations must be a list of 4 texts"),
        (replace(RUN, meta={"observations": [1, 2, 3, 4]}), {}, "meta.observations must be a list of 4 texts"),
    ],
)
def test_tasks_without_instances_are_refused(task: Task, settings: dict[str, Any], message: str) -> None:
    for refuse in (step_instances, check_steps):
        with pytest.raises(TaskError, match=message):
            refuse(task, **settings)


def test_other_refusals() -> None:
    with pytest.raises(TaskError, match="'bare' has no expert steps"):
        whole_solution(Task(id="bare", prompt="?"))
    with pytest.raises(TaskError, match="'m#1' is a single step of 'm'"):
        whole_solution(step_instances(MATHS)[0])
    with pytest.raises(TaskError, match=r"meta\.joint must be text, not int"):
        joined(replace(MATHS, meta={"joint": 5}), TITLES)


@pytest.mark.parametrize("family", FAMILIES)
def test_procedural_tasks_have_steps(family: str) -> None:
    for task in generate(family, count=20, level=3):
        instances = step_instances(task)
        assert len(instances) == len(task.steps) - 1 >= 1
        assert all(task.steps[-1] not in instance.prompt for instance in instances)


def test_gsm8k_has_steps(data_dir: Path) -> None:
    tasks = load("gsm8k")
    assert sum(len(step_instances(task)) for task in tasks) == 3500
    assert min(len(task.steps) for task in tasks) == 2


def test_s1k_which_solutions_are_cut_and_why_the_others_are_not(data_dir: Path) -> None:
    solutions = [str(task.meta.get("solution", "")) for task in load("s1k")]
    steps = [numbered_steps(solution) for solution in solutions]
    titled = [found for found in steps if found and all(split_title(step).title for step in found)]
    found = Counter(numbering_fault(solution) for solution in solutions)
    assert found == {
        "": 268,
        "a single line, not numbered": 452,
        "several lines, not numbered": 274,
        "numbered and untitled, but not 1, 2, 3 from the first line to the last": 6,
    }
    assert (len(titled), sum(map(bool, steps))) == (212, 268)
    assert sum(len(step_instances(task)) for task in load("s1k") if task.steps) == 1654


@pytest.mark.parametrize(
    "lines",
    [
        ("1. **Factor** it", "2. **Solve**: x"),
        ("**1. Factor** it", "**2. Solve**: x"),
        ("**Step 1: Factor** it", "**Step 2: Solve** x"),
        ("### 1. Factor\nit", "### 2. Solve\nx"),
        ("## Step 1: Factor\nit", "## Step 2: Solve\nx"),
        ("Step 1: factor it", "STEP 2. solve x"),
        ("**Step 1**: factor it", "**Step 2**: solve x"),
        ("**1.** factor it", "**2.** solve x"),
        ("1. factor it\n   - so", "2. solve x"),
    ],
)
def test_forms_of_numbered_steps(lines: tuple[str, ...]) -> None:
    solution = "\n\n".join(lines)
    assert numbered_steps(solution) == lines
    assert numbering_fault(solution) == ""


@pytest.mark.parametrize(
    ("solution", "why"),
    [
        ("", "empty"),
        ("42", "a single line, not numbered"),
        ("3.14", "a single line, not numbered"),
        ("First we factor.\nThen we solve.", "several lines, not numbered"),
        ("1. **Only**: x", "one numbered step"),
        ("There are two cases:\n1. x\n2. y\nSo z.", "numbered and untitled"),
        ("1. x\n3. y", "numbered and untitled"),
        ("1. x\n2. y\n1. z", "numbered and untitled"),
    ],
)
def test_what_is_not_cut(solution: str, why: str) -> None:
    assert numbered_steps(solution) == ()
    assert numbering_fault(solution).startswith(why)


@pytest.mark.parametrize(
    ("step", "title", "body"),
    [
        ("1. **Factor:** it", "1. **Factor:**", "it"),
        ("12. **Factor** : it", "12. **Factor** :", "it"),
        ("### Step 1: Factor\n\nit", "### Step 1: Factor", "it"),
        ("1. factor it", "", "1. factor it"),
        ("ls -la", "", "ls -la"),
    ],
)
def test_titles(step: str, title: str, body: str) -> None:
    assert split_title(step) == TitledStep(title, body)
