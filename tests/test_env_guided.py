"""stepgym/Guided-v0: attempts at one problem, helped after failure."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from stepgym import Attempt, Score, Status, Stop, Task
from stepgym.agents import ChatAgent, ScriptedPolicy
from stepgym.agents.rollout import rollout
from stepgym.envs import GuidedEnv
from stepgym.errors import ConfigError, RewardError, TaskError
from stepgym.tasks import load

HALF = Task(id="half", prompt="What is 1/4 + 1/4?", answer="1/2", hint="Add quarters.", subquestions=("1 + 1?", "2/4?"))
HINTED = "What is 1/4 + 1/4?\nHint: Add quarters.\n"
ASKED = "What is 1/4 + 1/4?\nSub-questions:\n1. 1 + 1?\n2. 2/4?\n"
WRONG, RIGHT = r"\boxed{1}", r"\boxed{0.5}"


def begun(**settings: Any) -> GuidedEnv:
    env = GuidedEnv([HALF], **settings)
    env.reset()
    return env


def test_an_episode_in_full() -> None:
    env = GuidedEnv([HALF])
    assert env.reset() == (HALF.prompt, {"task": "half", "helped": False})
    observation, reward, terminated, truncated, info = env.step(WRONG)
    assert (observation, reward, terminated, truncated) == (HINTED, 0.0, False, False)
    assert (info["task"], info["context"], info["helped"], info["score"].status) == (
        "half",
        "plain",
        True,
        Status.WRONG,
    )
    observation, reward, terminated, truncated, info = env.step(RIGHT)
    assert (observation, reward, terminated, truncated) == (HINTED, 1.0, True, False)
    assert (info["context"], info["helped"], info["stop"]) == ("helped", True, Stop.ANSWERED)
    assert info["score"].parts["helped"] == 1.0


def test_success_without_help_ends_the_episode_in_the_plain_context() -> None:
    observation, reward, terminated, _, info = begun().step(RIGHT)
    assert (observation, reward, terminated) == (HALF.prompt, 1.0, True)
    assert (info["context"], info["helped"], info["score"].parts["helped"]) == ("plain", False, 0.0)


@pytest.mark.parametrize("failures", [0, 1, 2, 3])
def test_help_comes_after_that_many_failures_and_stays(failures: int) -> None:
    env = GuidedEnv([HALF], failures=failures, help="subquestions")
    observation, info = env.reset()
    seen, contexts, told = [observation], [], [info["helped"]]
    for attempt in range(4):
        observation, reward, terminated, truncated, info = env.step("" if attempt == 2 else WRONG)
        seen.append(observation)
        contexts.append(info["context"])
        told.append(info["helped"])
        assert (reward, terminated, truncated) == (0.0, False, attempt == 3)
    assert info["stop"] is Stop.STEP_LIMIT
    assert seen == [HALF.prompt] * failures + [ASKED] * (5 - failures)
    assert contexts == ["plain"] * failures + ["helped"] * (4 - failures)
    assert told == [text == ASKED for text in seen]


def test_a_new_episode_begins_without_help() -> None:
    env = begun()
    env.step(WRONG)
    assert env.reset() == (HALF.prompt, {"task": "half", "helped": False})


def test_attempts_and_the_answer_are_never_shown() -> None:
    env = begun()
    for text in [env.reset()[0], *(env.step(f"attempt {i}: {WRONG}")[0] for i in range(4))]:
        assert "attempt" not in text
        assert HALF.answer not in text


def test_the_verifier_sees_the_plain_task_and_the_attempt_alone() -> None:
    seen: list[Attempt] = []

    def record(attempt: Attempt) -> Score:
        seen.append(attempt)
        return Score(0.5, {"length": 1.0})

    env = begun(reward=record, max_steps=2)
    env.step("one")
    _, reward, _, truncated, info = env.step("two")
    assert (reward, truncated) == (0.5, True), "half a success is none"
    assert info["score"].parts == {"length": 1.0, "helped": 1.0}
    assert seen == [Attempt(task=HALF, text="one", index=0), Attempt(task=HALF, text="two", index=1)]


def test_an_ungraded_attempt_is_nan_and_no_failure() -> None:
    def undecided(attempt: Attempt) -> Score:
        if attempt.text == "raise":
            raise RewardError("no verdict")
        return Score.ungraded("no verdict", Status.TIMEOUT)

    for action in ("raise", "return"):
        observation, reward, terminated, truncated, info = begun(reward=undecided).step(action)
        assert math.isnan(reward)
        assert (terminated, truncated, info["stop"], info["ungraded"]) == (False, True, Stop.UNGRADED, "no verdict")
        assert (observation, info["context"], info["helped"]) == (HALF.prompt, "plain", False)


def test_an_attempt_over_the_character_budget() -> None:
    observation, reward, _, truncated, info = begun(max_characters=5).step(WRONG)
    assert (observation, reward, truncated, info["stop"]) == (HALF.prompt, 0.0, True, Stop.CHARACTER_LIMIT)
    assert (info["context"], info["helped"]) == ("plain", False)


def test_templates() -> None:
    env = begun(template="Problem: {prompt}", helped_template="{prompt} ({hint})")
    assert env.reset()[0] == "Problem: What is 1/4 + 1/4?"
    assert env.step(WRONG)[0] == "What is 1/4 + 1/4? (Add quarters.)"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"failures": -1}, "failures must lie between 0 and max_steps - 1 = 3, got -1"),
        ({"failures": 4}, "failures must lie between 0 and max_steps - 1 = 3, got 4"),
        ({"help": "solution"}, "help must be one of hint, subquestions, not 'solution'"),
        ({"template": "Problem:"}, "lacks the placeholder {prompt}"),
        ({"helped_template": "{prompt}"}, "lacks the placeholder {hint}"),
        ({"help": "subquestions", "helped_template": "{prompt} {hint}"}, "lacks the placeholder {subquestions}"),
    ],
)
def test_settings_that_cannot_work(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        GuidedEnv([HALF], **settings)
    assert str(caught.value).endswith(message)


def test_tasks_without_the_help_are_refused_at_construction() -> None:
    bare = [Task(id=name, prompt="p", answer="1", hint="h") for name in ("bare", "bare too")]
    GuidedEnv([HALF, *bare])
    with pytest.raises(
        TaskError, match=r"'bare' has no sub-questions; .*stepgym annotate subquestions TASKS --out FILE"
    ):
        GuidedEnv([HALF, *bare], help="subquestions")


def test_a_task_given_to_reset_needs_the_help_too() -> None:
    env = begun()
    with pytest.raises(TaskError, match=r"'other' has no hint; .*stepgym annotate hints"):
        env.reset(options={"task": Task(id="other", prompt="p", answer="1")})
    assert env.reset()[0] == HALF.prompt


def test_a_vector_of_them_tells_who_is_helped() -> None:
    envs = gym.make_vec("stepgym/Guided-v0", num_envs=3, tasks="addition?level=2")
    observations, infos = envs.reset(seed=0)
    assert infos["helped"].tolist() == [False] * 3
    answers = {task.id: task.answer for task in load("addition?level=2")}
    actions = [rf"\boxed{{{answers[task]}}}" if i == 1 else r"\boxed{0}" for i, task in enumerate(infos["task"])]
    following, rewards, terminated, _, infos = envs.step(actions)
    assert rewards.tolist() == [0.0, 1.0, 0.0]
    assert infos["helped"].tolist() == [True, False, True]
    assert np.array_equal(terminated, rewards == 1.0)
    assert [text.startswith(f"{first}\nHint: ") for text, first in zip(following, observations, strict=True)] == [
        True,
        False,
        True,
    ]
    envs.close()


def test_a_rollout_keeps_the_contexts() -> None:
    policy = ScriptedPolicy(WRONG, RIGHT)
    played = asyncio.run(rollout(GuidedEnv([HALF]), ChatAgent(policy), HALF))
    assert [(step.observation, step.score.parts["helped"]) for step in played.steps] == [
        (HALF.prompt, 0.0),
        (HINTED, 1.0),
    ]
    assert (played.stop, played.reward) == (Stop.ANSWERED, 1.0)
