"""TextEnv: what is written once for every environment."""

from __future__ import annotations

import math
import pickle
from copy import deepcopy
from typing import Any

import pytest
from gymnasium.error import ResetNeeded

from stepgym import Attempt, Score, Status, Stop, Task
from stepgym.envs import Outcome, TextEnv
from stepgym.errors import ConfigError, RewardError, TaskError, UnknownNameError

TASKS = tuple(Task(id=f"task-{i}", prompt=f"Say {i}.", answer=str(i)) for i in range(20))


def length(attempt: Attempt) -> Score:
    """A reward that can do everything a reward may do: measure, refuse, break."""
    if attempt.text == "undecided":
        return Score.ungraded("ran out of time", Status.TIMEOUT)
    if attempt.text == "broken":
        raise RewardError("the grader's process died")
    if attempt.text == "bug":
        raise ZeroDivisionError
    return Score(float(len(attempt.text)))


class EchoEnv(TextEnv):
    """Repeats what it hears, until it hears "end"."""

    def begin(self) -> str:
        return self.task.prompt

    def advance(self, action: str) -> Outcome:
        return Outcome(f"you said {action}", self.judge(action), Stop.ANSWERED if action == "end" else None)


def make(**settings: Any) -> EchoEnv:
    return EchoEnv(**({"tasks": TASKS, "reward": length} | settings))


def begun(**settings: Any) -> EchoEnv:
    env = make(**settings)
    env.reset(seed=0)
    return env


def test_an_episode_and_its_infos() -> None:
    env = make()
    observation, info = env.reset(options={"task": "task-3"})
    assert (observation, info) == ("Say 3.", {"task": "task-3"})
    assert env.step("hello") == ("you said hello", 5.0, False, False, {"task": "task-3", "score": Score(5.0)})
    last = {"task": "task-3", "score": Score(3.0), "stop": Stop.ANSWERED}
    assert env.step("end") == ("you said end", 3.0, True, False, last)


def test_the_step_budget_truncates() -> None:
    env = begun(max_steps=2)
    env.step("a")
    _, reward, terminated, truncated, info = env.step("b")
    assert (reward, terminated, truncated, info["stop"]) == (1.0, False, True, Stop.STEP_LIMIT)


def test_an_end_on_the_last_step_of_the_budget_is_an_end() -> None:
    _, _, terminated, truncated, info = begun(max_steps=1).step("end")
    assert (terminated, truncated, info["stop"]) == (True, False, Stop.ANSWERED)


def test_an_action_over_the_character_budget_is_not_applied() -> None:
    env = begun(max_characters=8)
    env.step("12345")
    observation, reward, terminated, truncated, info = env.step("6789")
    assert (observation, reward) == ("you said 12345", 0.0)
    assert (terminated, truncated, info["stop"]) == (False, True, Stop.CHARACTER_LIMIT)
    assert info["score"].status is Status.UNPARSABLE


def test_the_character_budget_starts_again_with_each_episode() -> None:
    env = make(max_characters=5)
    for _ in range(3):
        env.reset()
        assert "stop" not in env.step("12345")[4]


@pytest.mark.parametrize(
    ("action", "status", "why"),
    [
        ("undecided", Status.TIMEOUT, "ran out of time"),
        ("broken", Status.ERROR, "the grader's process died"),
    ],
)
def test_what_cannot_be_graded_is_nan_and_truncated_and_never_zero(action: str, status: Status, why: str) -> None:
    env = begun()
    _, reward, terminated, truncated, info = env.step(action)
    assert math.isnan(reward)
    assert (terminated, truncated, info["stop"]) == (False, True, Stop.UNGRADED)
    assert (info["ungraded"], info["score"].status) == (why, status)
    with pytest.raises(ResetNeeded):
        env.step("more")


def test_a_verdict_that_fails_to_come_at_an_end_is_ungraded_too() -> None:
    env = make(reward=lambda attempt: Score.ungraded("no verdict"))
    env.reset()
    _, reward, terminated, truncated, info = env.step("end")
    assert math.isnan(reward)
    assert (terminated, truncated, info["stop"]) == (False, True, Stop.UNGRADED)


def test_other_exceptions_escape() -> None:
    with pytest.raises(ZeroDivisionError):
        begun().step("bug")


def test_stepping_outside_an_episode() -> None:
    env = make()
    with pytest.raises(ResetNeeded, match="reset"):
        env.step("too early")
    env.reset()
    env.step("end")
    with pytest.raises(ResetNeeded, match="reset"):
        env.step("too late")
    env.reset()
    env.close()
    env.close()
    with pytest.raises(ResetNeeded):
        env.step("after closing")


@pytest.mark.parametrize("action", [3, None, b"bytes", ["a"]])
def test_actions_are_text(action: Any) -> None:
    with pytest.raises(TypeError, match="an action is a str, got"):
        begun().step(action)


def test_a_lone_surrogate_is_an_action_like_any_other() -> None:
    observation, reward, *_ = begun().step("\ud800")
    assert (observation, reward) == ("you said \ud800", 1.0)


def test_the_seed_decides_the_tasks() -> None:
    def drawn(env: EchoEnv, seed: int) -> list[str]:
        return [env.reset(seed=seed)[1]["task"], *(env.reset()[1]["task"] for _ in range(30))]

    assert drawn(make(), 1) == drawn(make(), 1) != drawn(make(), 2)
    assert set(drawn(make(), 1)) > {task.id for task in TASKS[:3]}


def test_reset_takes_a_task_of_the_set_or_any_other() -> None:
    env = make()
    assert env.reset(options={"task": TASKS[7]})[1] == {"task": "task-7"}
    assert env.reset(options={"task": Task(id="mine", prompt="?")}) == ("?", {"task": "mine"})


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"tsk": 1}, UnknownNameError, "did you mean 'task'"),
        ({"task": "task-33"}, UnknownNameError, "no task named 'task-33'; did you mean 'task-3'"),
        ({"task": 3}, ConfigError, "must be a Task or a task's id, got int"),
    ],
)
def test_options_that_do_not_exist(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make().reset(options=options)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"tasks": ()}, TaskError, "at least one task"),
        ({"tasks": [3]}, TaskError, "is a int, not a Task"),
        ({"max_steps": 0}, ConfigError, "max_steps must be at least 1"),
        ({"max_characters": 0}, ConfigError, "max_characters must be at least 1"),
        ({"reward": "mth"}, UnknownNameError, "did you mean 'math'"),
        ({"reward": None}, ConfigError, "reward must be a Reward or the name of one, got NoneType"),
        ({"tasks": 5}, ConfigError, "a sequence of Task, not as int"),
    ],
)
def test_settings_that_cannot_work(settings: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make(**settings)


class Picky:
    """A reward that counts the tasks it is asked about and refuses unreadable golds."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, attempt: Attempt) -> Score:
        return Score(1.0)

    def check_task(self, task: Task) -> None:
        self.asked += 1
        if task.answer == "unreadable":
            raise TaskError(f"{task.id}: the gold answer cannot be read")


def test_the_reward_is_asked_about_each_task_once_however_many_environments_there_are() -> None:
    reward = Picky()
    for _ in range(5):
        make(reward=reward, tasks=list(TASKS))
    assert reward.asked == len(TASKS)
    make(reward=reward, tasks=[*TASKS[:-1], Task(id="other", prompt="?", answer="1")])
    assert reward.asked == 2 * len(TASKS), "another set, asked about anew"


def test_a_task_no_attempt_could_solve_is_an_error_when_it_is_given() -> None:
    bad = Task(id="bad", prompt="?", answer="unreadable")
    with pytest.raises(TaskError, match="bad: the gold"):
        make(reward=Picky(), tasks=[*TASKS, bad])
    with pytest.raises(TaskError, match="bad: the gold"):
        make(reward=Picky()).reset(options={"task": bad})


def test_a_copy_goes_its_own_way_and_shares_the_tasks() -> None:
    env = begun()
    env.step("one")
    copied = deepcopy(env)
    assert copied.tasks is env.tasks
    assert copied.task is env.task
    env.step("end")
    assert copied.index == 1
    assert copied.step("two")[0] == "you said two"
    assert env.reset()[1] == copied.reset()[1], "the generators were in the same state"


def test_a_pickle_plays_on() -> None:
    env = begun()
    env.step("one")
    loaded = pickle.loads(pickle.dumps(env))
    assert loaded.step("end") == env.step("end")
    assert loaded.reset() == env.reset()
