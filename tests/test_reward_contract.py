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

TASK = Task(id="t", prompt="What is 1 + 1?", answer="2", steps=("1. Add the ones.", r"2. The answer is \boxed{2}."))
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
def reward(request: pytest.FixtureRequest) -> Reward:
    try:
        return REWARDS.make(request.param)
    except MissingDependencyError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_whatever_an_agent_writes_gets_a_score(reward: Reward, text: str) -> None:
    score = reward(Attempt(task=TASK, text=text))
    assert isinstance(score, Score)
    assert math.isfinite(score.value) == score.graded
    assert score.why
    assert all(isinstance(name, str) and isinstance(value, float) for name, value in score.parts.items())


def test_it_is_a_pure_function_in_any_thread(reward: Reward) -> None:
    attempts = [Attempt(task=TASK, text=TEXTS[name]) for name in ("an answer", "a wrong answer", "unclosed")] * 4
    alone = [reward(attempt) for attempt in attempts]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(reward, attempts)) == alone
    assert alone[:3] == alone[3:6]


def test_the_right_text_earns_more_than_nothing(reward: Reward) -> None:
    assert reward(Attempt(task=TASK, text=TASK.steps[1], index=1)).value == 1.0


def test_it_accepts_beforehand_a_task_it_can_judge(reward: Reward) -> None:
    check_task(reward, TASK)
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
