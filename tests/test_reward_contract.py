"""What every reward in the table promises, whichever it is."""

from __future__ import annotations

import dataclasses
import math
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest

import stepgym.rewards
from stepgym.errors import MissingDependencyError, UnknownNameError
from stepgym.records import Attempt, Score, Task
from stepgym.rewards import REWARDS, Reward, TaskChecker, check_task
from stepgym.tasks.swe_small import small_tasks

SUM = Task(id="t", prompt="What is 1 + 1?", answer="2", steps=("1. Add the ones.", r"2. The answer is \boxed{2}."))
SOFTWARE = small_tasks()[0]
TASKS = {"swe-tests": SOFTWARE, "patch-similarity": SOFTWARE}
"""Tasks of rewards that judge no answers to `SUM`."""
TEXTS = {
    "an answer": r"The answer is \boxed{2}.",
    "a wrong answer": r"The answer is \boxed{3}.",
    "empty": "",
    "white space": " \n\t",
    "control characters": "\0\x01\x7f",
    "lone surrogate": "\\boxed{\ud800}",
    "astral": "\\boxed{\U0001d7d0}",
    "unclosed": r"\boxed{\frac{1}{",
    "long": "a" * 50_000,
    "deep": r"\boxed{" + "{" * 5_000,
}


@pytest.fixture(params=sorted(REWARDS))
def name(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    if found == "swe-tests":
        request.getfixturevalue("namespaces")
    return found


@pytest.fixture
def reward(name: str) -> Reward:
    try:
        return REWARDS.make(name)
    except MissingDependencyError as error:
        pytest.skip(str(error))


@pytest.fixture
def task(name: str) -> Task:
    return TASKS.get(name, SUM)


@pytest.fixture
def right(task: Task) -> str:
    """The right text, at index 1."""
    return task.steps[1] if task.steps else task.answer


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_whatever_an_agent_writes_gets_a_score(reward: Reward, task: Task, text: str) -> None:
    score = reward(Attempt(task=task, text=text))
    assert isinstance(score, Score)
    assert math.isfinite(score.value) == score.graded
    assert score.why
    assert all(isinstance(name, str) and isinstance(value, float) for name, value in score.parts.items())


def test_it_is_a_pure_function_in_any_thread(reward: Reward, task: Task, right: str) -> None:
    attempts = [
        Attempt(task=task, text=text, index=1) for text in (right, TEXTS["a wrong answer"], TEXTS["unclosed"])
    ] * 4
    alone = [reward(attempt) for attempt in attempts]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(reward, attempts)) == alone
    assert alone[:3] == alone[3:6]


def test_the_right_text_earns_more_than_nothing(reward: Reward, task: Task, right: str) -> None:
    assert reward(Attempt(task=task, text=right, index=1)).value == 1.0


def test_it_accepts_beforehand_a_task_it_can_judge(reward: Reward, task: Task) -> None:
    check_task(reward, task)
    if isinstance(reward, TaskChecker):
        with pytest.raises(ValueError, match="blank"):
            reward.check_task(Task(id="blank", prompt=""))


def test_it_is_a_frozen_record_of_its_settings(reward: Reward) -> None:
    assert dataclasses.is_dataclass(reward)
    assert pickle.loads(pickle.dumps(reward)) == reward
    with pytest.raises((dataclasses.FrozenInstanceError, AttributeError, TypeError)):
        reward.anything = 1  # type: ignore[attr-defined]


def test_an_unknown_reward_is_met_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'similarity'"):
        REWARDS.make("similarty")


def test_what_the_table_makes_has_a_public_name() -> None:
    for name in REWARDS:
        kind = type(REWARDS.make(name)) if name != "math-verify" else stepgym.rewards.MathVerifyGrader
        assert getattr(stepgym.rewards, kind.__name__) is kind
        assert kind.__name__ in stepgym.rewards.__all__
    assert REWARDS.make("math-qwen") == stepgym.rewards.MathVerifier(stepgym.rewards.QWEN)
