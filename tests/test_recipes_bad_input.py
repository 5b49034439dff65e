"""What a recipe cannot learn from is refused before anything starts: one sentence, with the command that helps."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from stepgym.cli import COMMANDS
from stepgym.errors import ConfigError, TaskError
from stepgym.records import Task
from stepgym.trainers import RECIPES
from stepgym.trainers.making import make_recipe
from tests.recipe_material import FULL

UNANSWERED = replace(FULL, answer="", meta={"answerless": True})
LACKS = {
    "sft": (replace(FULL, steps=()), "has no expert steps", "annotate steps"),
    "grpo": (UNANSWERED, "has no answer", ""),
    "ppo": (UNANSWERED, "has no answer", ""),
    "srl": (replace(FULL, steps=()), "has no expert steps", "annotate steps"),
    "holistic": (replace(FULL, steps=()), "has no expert steps", "annotate steps"),
    "guide-grpo": (replace(FULL, hint=" "), "has no hint", "annotate hints"),
    "guide-ppo": (replace(FULL, hint=""), "has no hint", "annotate hints"),
    "a2d-decomposer": (UNANSWERED, "has no answer", ""),
    "a2d-reasoner": (replace(FULL, subquestions=()), "has no sub-questions", "annotate subquestions"),
}
"""For each recipe a task it cannot learn from, what is said of it, and the command that makes what is missing."""


def train(folder: Path, tasks: list[Task], *words: str) -> subprocess.CompletedProcess[str]:
    """`stepgym train` on `tasks`, in a process of its own."""
    path = folder / "tasks.jsonl"
    path.write_text("".join(task.to_json() + "\n" for task in tasks))
    command = [sys.executable, "-m", "stepgym.cli", "train", *words, "--out", str(folder / "run"), "--steps", "1"]
    held_out = ["--held-out", "addition?level=1&count=2&split=test"]
    command += ["--tasks", str(path), *([] if "--held-out" in words else held_out)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def refused(done: subprocess.CompletedProcess[str], folder: Path) -> str:
    """The one sentence of a command that started nothing."""
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert not (folder / "run").exists()
    return line


@pytest.mark.parametrize("name", list(RECIPES))
def test_the_first_unfit_task_is_named_with_its_remedy(name: str, tmp_path: Path) -> None:
    unfit, said, remedy = LACKS[name]
    tasks = [FULL, replace(unfit, id="bare"), replace(unfit, id="bare too")]
    line = refused(train(tmp_path, tasks, name), tmp_path)
    assert line.startswith(f"stepgym: task 'bare' {said}")
    if remedy:
        assert f"stepgym {remedy} TASKS --out FILE" in line
        assert remedy in COMMANDS
    else:
        assert line.endswith("leave it out")


@pytest.mark.parametrize("name", list(RECIPES))
def test_a_task_with_everything_is_taken(name: str) -> None:
    """Each complaint is about what was taken away."""
    recipe = RECIPES.load(name)()
    recipe.check(FULL)
    unfit, said, _ = LACKS[name]
    with pytest.raises(TaskError, match=said):
        recipe.check(unfit)


def test_the_other_help_is_asked_for_too() -> None:
    recipe = make_recipe("guide-grpo", ("help=subquestions", "template={prompt} {subquestions}"))
    recipe.check(replace(FULL, hint=""))
    with pytest.raises(TaskError, match="no sub-questions; make them with: stepgym annotate subquestions"):
        recipe.check(replace(FULL, subquestions=()))


@pytest.mark.parametrize(
    ("name", "setting", "says"),
    [
        ("guide-grpo", "template={prompt} Hint:", "lacks the placeholder {hint}"),
        ("guide-ppo", "help=subquestions", "lacks the placeholder {subquestions}"),
        ("a2d-reasoner", "template={subquestions}", "lacks the placeholder {prompt}"),
        ("a2d-reasoner", "diversity=Solve it!", "lacks the placeholder {prompt}"),
    ],
)
def test_an_unfit_template_is_found_at_the_first_task(name: str, setting: str, says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)):
        make_recipe(name, (setting,)).check(FULL)


def test_srl_needs_two_steps_unless_the_last_counts() -> None:
    single = replace(FULL, steps=("\\boxed{2}",))
    with pytest.raises(TaskError, match=r"one expert step.*stepgym annotate steps"):
        make_recipe("srl").check(single)
    make_recipe("srl", ("last=true",)).check(single)
    make_recipe("holistic").check(single)
    with pytest.raises(TaskError, match="no title"):
        make_recipe("srl", ("titled=true",)).check(replace(FULL, steps=("1+1", "\\boxed{2}")))


def test_what_is_rehearsed_is_checked_too(tmp_path: Path) -> None:
    bare = tmp_path / "bare.jsonl"
    bare.write_text(replace(FULL, id="bare", steps=()).to_json() + "\n")
    line = refused(train(tmp_path, [FULL], "grpo", "--rehearse", str(bare)), tmp_path)
    assert line.startswith("stepgym: task 'bare' has no expert steps")


def test_a_setting_out_of_range_is_refused_on_the_command_line(tmp_path: Path) -> None:
    line = refused(train(tmp_path, [FULL], "a2d-reasoner", "--settings", "k2=0.05"), tmp_path)
    assert line == "stepgym: k2 of a group must be at least one attempt, and 0.05 of 8 is not"


def test_help_too_long_to_read_is_ungraded_and_said(tmp_path: Path) -> None:
    tasks = [replace(FULL, id="wordy", hint="7" * 300)]
    sizes = ("--model.width", "16", "--model.layers", "1", "--model.heads", "2", "--max-tokens", "4")
    done = train(tmp_path, tasks, "guide-grpo", "--settings", "tasks=1", "group=2", *sizes)
    assert done.returncode == 0, done.stderr
    why = "2 attempts could not be graded; the first: PolicyError: the prompt has 312 tokens"
    assert why in done.stdout
    assert why in (tmp_path / "run" / "report.html").read_text()


def test_a_run_that_learned_nothing_says_so(tmp_path: Path) -> None:
    """A model with random weights solves nothing, with a hint or without."""
    tasks = [replace(FULL, id=str(i)) for i in range(2)]
    sizes = ("--model.width", "16", "--model.layers", "1", "--model.heads", "2", "--max-tokens", "4")
    done = train(tmp_path, tasks, "guide-grpo", "--settings", "tasks=2", "group=2", *sizes)
    assert done.returncode == 0, done.stderr
    assert "in 1 of 1 steps there was nothing to learn from" in done.stdout
    assert "the run learned nothing" in done.stdout
    assert "In 1 steps there was nothing to learn from" in (tmp_path / "run" / "report.html").read_text()
