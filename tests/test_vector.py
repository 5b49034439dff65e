"""ThreadVectorEnv: SyncVectorEnv's behaviour in every autoreset mode, without its waiting."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ClosedEnvironmentError, ResetNeeded
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import stepgym
from stepgym import Attempt, Score, Status, Task
from stepgym.envs import MathEnv, Outcome, TextEnv, ThreadVectorEnv
from stepgym.errors import ConfigError, RewardError

TASKS = tuple(Task(id=f"task-{i}", prompt=f"What is {i}?", answer=str(i)) for i in range(30))
WORDS = ("a step", "another step", r"\boxed{3}", r"so \boxed{7}", "undecided " + r"\boxed{1}")


def verdict(attempt: Attempt) -> Score:
    if "undecided" in attempt.text:
        raise RewardError("no verdict")
    right = rf"\boxed{{{attempt.task.answer}}}" in attempt.text
    return Score(float(right), status=Status.CORRECT if right else Status.WRONG)


make_env = partial(MathEnv, TASKS, reward=verdict, max_steps=4)


@contextmanager
def threaded(count: int, mode: str = "NextStep", make: Callable[[], TextEnv] = make_env) -> Iterator[ThreadVectorEnv]:
    envs = ThreadVectorEnv([make] * count, autoreset_mode=mode)
    try:
        yield envs
    finally:
        envs.close()


def same(one: Any, other: Any) -> bool:
    """Equal in kind, type and value, NaN equal to NaN, all the way down."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and same(tuple(one.tolist()), tuple(other.tolist()))
    return repr(one) == repr(other)


@pytest.mark.parametrize("mode", [mode.value for mode in AutoresetMode])
def test_step_by_step_the_same_as_gymnasiums_own(mode: str) -> None:
    count, rng = 6, random.Random(mode)
    ours = ThreadVectorEnv([make_env] * count, autoreset_mode=mode)
    theirs = SyncVectorEnv([make_env] * count, autoreset_mode=mode)
    assert ours.metadata == theirs.metadata
    assert ours.action_space == theirs.action_space
    assert ours.observation_space == theirs.observation_space
    assert same(ours.reset(seed=5), theirs.reset(seed=5))
    ends = 0
    for _ in range(80):
        actions = tuple(rng.choice(WORDS) for _ in range(count))
        mine, reference = ours.step(actions), theirs.step(actions)
        assert same(mine, reference)
        over = mine[2] | mine[3]
        ends += int(over.sum())
        if mode == "Disabled" and over.any():
            again = [ours.reset(options={"reset_mask": over}), theirs.reset(options={"reset_mask": over.copy()})]
            assert same(*again)
    assert ends > 50, "the comparison has to cover autoresets"
    ours.close()
    theirs.close()


@pytest.mark.parametrize("seed", [None, 11, [3, None, 3]])
def test_seeds_mean_what_they_mean_to_gymnasium(seed: Any) -> None:
    with threaded(3) as ours:
        theirs = SyncVectorEnv([make_env] * 3)
        if seed is None:
            ours.reset(seed=1)
            theirs.reset(seed=1)
        mine, reference = ours.reset(seed=seed), theirs.reset(seed=seed)
        for i in (0, 2) if isinstance(seed, list) else range(3):
            assert mine[0][i] == reference[0][i]
        with pytest.raises(ValueError, match="one seed for each"):
            ours.reset(seed=[1])


def test_make_vec_makes_it_by_default() -> None:
    envs = gym.make_vec("stepgym/Math-v0", num_envs=3, tasks=TASKS, reward=verdict, autoreset_mode="SameStep")
    assert isinstance(envs, ThreadVectorEnv)
    assert envs.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    observations, infos = envs.reset(seed=0)
    assert observations in envs.observation_space
    _, rewards, *_ = envs.step([rf"\boxed{{{task.removeprefix('task-')}}}" for task in infos["task"]])
    assert rewards.tolist() == [1.0, 1.0, 1.0]
    envs.close()


@pytest.mark.parametrize("env_id", stepgym.env_ids())
def test_every_id_makes_a_vector_and_its_spec_makes_it_again(env_id: str) -> None:
    envs = gym.make_vec(env_id, num_envs=2)
    assert envs.spec is not None
    again = gym.make_vec(type(envs.spec).from_json(envs.spec.to_json()))
    assert again.num_envs == 2
    assert again.reset(seed=1)[0] == envs.reset(seed=1)[0]
    envs.close()
    again.close()


def test_all_environments_share_the_tasks() -> None:
    envs = gym.make_vec("stepgym/Math-v0", num_envs=4)
    assert len({id(tasks) for tasks in envs.get_attr("tasks")}) == 1
    envs.close()


def test_a_group_attempts_one_task() -> None:
    with threaded(6, "Disabled") as envs:
        _, infos = envs.reset(seed=2, options={"group_size": 3})
        first, second = infos["task"][:3], infos["task"][3:]
        assert len(set(first)) == len(set(second)) == 1
        assert first[0] != second[0]
        mask = np.array([False, True, True, False, False, False])
        _, infos = envs.reset(seed=8, options={"group_size": 3, "reset_mask": mask})
        assert infos["_task"].tolist() == mask.tolist()
        assert infos["task"][1] == infos["task"][2] != first[0]
        assert envs.get_attr("task")[0].id == first[0]


def test_one_task_for_all() -> None:
    with threaded(3) as envs:
        assert set(envs.reset(options={"task": "task-9"})[1]["task"]) == {"task-9"}


@pytest.mark.parametrize("size", [0, 4, "2", 1.5])
def test_a_group_size_that_does_not_fit(size: Any) -> None:
    with threaded(6) as envs, pytest.raises(ConfigError, match="group_size must divide the 6 environments"):
        envs.reset(options={"group_size": size})


@pytest.mark.parametrize("mask", [[True, False], np.array([True]), np.zeros(2, bool), np.array([1, 0])])
def test_a_mask_that_does_not_fit(mask: Any) -> None:
    with threaded(2) as envs, pytest.raises(ValueError, match="reset_mask must be a numpy array of 2 booleans"):
        envs.reset(options={"reset_mask": mask})


def test_the_callers_options_are_left_as_they_are() -> None:
    options = {"reset_mask": np.array([True, True]), "group_size": 2}
    with threaded(2) as envs:
        envs.reset(options=options)
    assert set(options) == {"reset_mask", "group_size"}


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_some_can_be_stepped_while_the_others_stand_still(mode: str) -> None:
    with threaded(4, mode) as envs:
        envs.reset(seed=0)
        steps = envs.step_some([3, 1], ["a step", r"\boxed{none}"])
        assert [step.index for step in steps] == [3, 1]
        assert steps[0].observation.endswith("a step")
        assert (steps[1].terminated, steps[1].reward) == (True, 0.0)
        assert ("final_info" in steps[1].info) == (mode == "SameStep")
        assert not envs.step(["x", "y", "z", "w"])[2].any()
        assert envs.get_attr("index") == ((1, 0, 1, 2) if mode == "NextStep" else (1, 1, 1, 2))


def test_environments_can_be_stepped_from_many_threads() -> None:
    """Each of 8 threads plays its own environment: every reward is its own."""
    with threaded(8, "SameStep") as envs:
        _, infos = envs.reset(seed=1)
        tasks = list(infos["task"])
        wrong: list[str] = []

        def play(index: int) -> None:
            task = tasks[index]
            for _ in range(50):
                answer = rf"\boxed{{{task.removeprefix('task-')}}}"
                [step] = envs.step_some([index], [answer])
                if step.reward != 1.0 or step.info["final_info"]["task"] != task:
                    wrong.append(task)
                task = step.info["task"]

        threads = [threading.Thread(target=play, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []


@pytest.mark.parametrize(
    ("indices", "actions"),
    [([0], "a"), ([0, 1], ["a"]), ([0, 0], ["a", "b"]), ([5], ["a"]), ([-1], ["a"])],
)
def test_indices_and_actions_that_do_not_fit(indices: list[int], actions: Any) -> None:
    with threaded(2) as envs:
        envs.reset()
        with pytest.raises(ValueError, match="expected"):
            envs.step_some(indices, actions)
        with pytest.raises(ValueError, match="one action for each of 2"):
            envs.step("ab")


def test_an_ended_episode_is_not_stepped_where_autoreset_is_disabled() -> None:
    with threaded(2, "Disabled") as envs:
        envs.reset()
        envs.step([r"\boxed{0}", "a"])
        with pytest.raises(ResetNeeded, match="reset_mask") as caught:
            envs.step(["a", "b"])
        assert caught.value.__notes__ == ["raised by environment 0 of 2"]


def test_judging_overlaps() -> None:
    """Eight graders that wait for each other: one after the other, none would ever finish."""
    barrier = threading.Barrier(8)

    def together(attempt: Attempt) -> Score:
        barrier.wait(timeout=30)
        return verdict(attempt)

    with threaded(8, "SameStep", partial(MathEnv, TASKS, reward=together)) as envs:
        envs.reset()
        assert envs.step([r"\boxed{0}"] * 8)[2].all()


def env_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("stepgym-env")]


def test_threads_come_when_something_can_block_and_go_with_close() -> None:
    envs = ThreadVectorEnv([make_env] * 4)
    envs.reset()
    envs.step(["a step"] * 4)
    envs.step(["a step"] * 3 + [r"\boxed{0}"])
    assert env_threads() == []
    envs.step([r"\boxed{0}"] * 3 + ["a step"])
    assert len(env_threads()) > 1
    envs.close()
    envs.close()
    assert env_threads() == []
    for call in (envs.reset, lambda: envs.step(["a"] * 4)):
        with pytest.raises(ClosedEnvironmentError):
            call()


class Fragile(TextEnv):
    """Breaks on the action "break"; any other action is judged by nobody."""

    def begin(self) -> str:
        return self.task.prompt

    def advance(self, action: str) -> Outcome:
        if action == "break":
            raise OSError("disk full")
        return Outcome(action, Score(1.0))


def test_an_exception_says_whose_it_is_and_the_others_have_stepped() -> None:
    with threaded(4, make=partial(Fragile, TASKS, reward=verdict)) as envs:
        envs.reset()
        with pytest.raises(OSError, match="disk full") as caught:
            envs.step(["a", "b", "break", "break"])
        assert caught.value.__notes__ == ["raised by environment 2 of 4"]
        assert envs.get_attr("index") == (1, 1, 0, 0)
        assert envs.step(["a"] * 4)[1].tolist() == [1.0] * 4


def test_no_environments_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        ThreadVectorEnv([])


def test_other_environments_are_not_for_it() -> None:
    with pytest.raises(ConfigError, match="TextEnvs only"):
        ThreadVectorEnv([lambda: gym.make("CartPole-v1")])


def test_actions_are_text() -> None:
    with threaded(2) as envs:
        envs.reset(seed=0)
        with pytest.raises(TypeError, match="an action is a str, got int: 5"):
            envs.step(["a step", 5])  # type: ignore[list-item]
        assert [env.unwrapped.index for env in envs.envs] == [0, 0]  # type: ignore[attr-defined]
