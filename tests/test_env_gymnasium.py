"""Every registered environment is a true Gymnasium environment: checked, wrapped, copied, remade, in processes."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import wrappers
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env
from gymnasium.wrappers import vector

import stepgym
from stepgym import Task
from stepgym.envs import TextEnv, TextSpace

IDS = stepgym.env_ids()
STEP = "Let me begin with the first step."


@pytest.fixture(autouse=True)
def can_run_here(request: pytest.FixtureRequest) -> None:
    """Environments on repositories need a sandbox."""
    params = getattr(request.node, "callspec", None)
    if params is not None and "SWE" in params.params.get("env_id", ""):
        request.getfixturevalue("namespaces")


@pytest.mark.parametrize("env_id", IDS)
def test_check_env_has_nothing_to_say(env_id: str) -> None:
    env = gym.make(env_id)
    check_env(env.unwrapped)
    env.close()


@pytest.mark.parametrize("env_id", IDS)
def test_every_id_plays_a_seeded_episode(env_id: str) -> None:
    # A random text with & or | in it is a program for a shell, and what its processes print has no order.
    settings = {"bare": False} if env_id == "stepgym/SWE-v0" else {}

    def played() -> list[Any]:
        env = gym.make(env_id, **settings)
        env.action_space.seed(4)
        trace: list[Any] = [env.reset(seed=4)]
        over = False
        while not over:
            trace.append(env.step(env.action_space.sample()))
            over = trace[-1][2] or trace[-1][3]
        env.close()
        assert trace[-1][4]["stop"]
        return trace

    assert played() == played()


@pytest.mark.parametrize("env_id", IDS)
def test_the_passive_checker_is_content(env_id: str) -> None:
    env = gym.make(env_id, disable_env_checker=False)
    env.reset(seed=0)
    for _ in range(2):
        *_, terminated, truncated, _ = env.step(STEP)
        if terminated or truncated:
            break
    env.close()


@pytest.mark.parametrize("env_id", IDS)
def test_a_spec_makes_the_same_environment_after_json(env_id: str) -> None:
    env = gym.make(env_id, max_characters=300)
    assert env.spec is not None
    again = gym.make(EnvSpec.from_json(env.spec.to_json()))
    assert again.reset(seed=9) == env.reset(seed=9)
    assert again.get_wrapper_attr("max_characters") == 300
    env.close()
    again.close()


@pytest.mark.parametrize("env_id", IDS)
@pytest.mark.parametrize("copy", [deepcopy, lambda env: pickle.loads(pickle.dumps(env))], ids=["deepcopy", "pickle"])
def test_a_copy_in_mid_episode_plays_on(env_id: str, copy: Callable[[gym.Env], gym.Env]) -> None:
    env = gym.make(env_id)
    env.reset(seed=1)
    *_, terminated, truncated, _ = env.step(STEP)
    if terminated or truncated:  # an episode of one action: copied before it
        env.reset(seed=1)
    copied = copy(env)
    assert copied.step(STEP) == env.step(STEP)
    assert copied.reset() == env.reset()
    env.close()
    copied.close()


def timed(env: gym.Env) -> gym.Env:
    return wrappers.TimeAwareObservation(wrappers.TimeLimit(env, 9), flatten=False)


WRAPPERS: dict[str, Callable[[gym.Env], gym.Env]] = {
    "Autoreset": wrappers.Autoreset,
    "ClipReward": lambda env: wrappers.ClipReward(env, -1, 1),
    "DelayObservation": lambda env: wrappers.DelayObservation(env, 0),
    "FilterObservation": lambda env: wrappers.FilterObservation(timed(env), ["obs"]),
    "FlattenObservation": wrappers.FlattenObservation,
    "FrameStackObservation": lambda env: wrappers.FrameStackObservation(env, 2, padding_type="reset"),
    "NormalizeReward": wrappers.NormalizeReward,
    "OrderEnforcing": wrappers.OrderEnforcing,
    "PassiveEnvChecker": wrappers.PassiveEnvChecker,
    "RecordEpisodeStatistics": wrappers.RecordEpisodeStatistics,
    "RepeatAction": lambda env: wrappers.RepeatAction(env, 2),
    "StickyAction": lambda env: wrappers.StickyAction(env, 0.5),
    "TimeAwareObservation": timed,
    "TimeLimit": lambda env: wrappers.TimeLimit(env, 2),
    "TransformAction": lambda env: wrappers.TransformAction(env, str.strip, TextSpace()),
    "TransformObservation": lambda env: wrappers.TransformObservation(env, str.upper, TextSpace()),
    "TransformReward": lambda env: wrappers.TransformReward(env, lambda reward: reward * 2),
}


@pytest.mark.parametrize("name", WRAPPERS)
def test_gymnasiums_wrappers_wrap_it(name: str) -> None:
    env = WRAPPERS[name](gym.make("stepgym/Math-v0"))
    observation, info = env.reset(seed=0)
    assert observation in env.observation_space
    assert info["task"]
    observation, reward, terminated, truncated, info = env.step(STEP)
    assert observation in env.observation_space
    assert (float(reward), terminated, truncated) == (0.0, False, False)
    assert info["score"].value == 0.0
    assert isinstance(env.unwrapped, TextEnv)
    env.close()


def test_time_limit_truncates_and_statistics_count() -> None:
    env = wrappers.RecordEpisodeStatistics(gym.make("stepgym/Math-v0", max_episode_steps=2))
    env.reset(seed=0)
    env.step(STEP)
    *_, truncated, info = env.step(STEP)
    assert truncated
    assert info["episode"]["l"] == 2


def test_gymnasiums_vector_wrappers_wrap_ours() -> None:
    envs = gym.make_vec("stepgym/Math-v0", num_envs=3, max_steps=1)
    wrapped = vector.DictInfoToList(vector.TransformReward(vector.RecordEpisodeStatistics(envs), lambda r: r + 1))
    _, infos = wrapped.reset(seed=0)
    assert [info["task"] for info in infos] == list(envs.reset(seed=0)[1]["task"])
    _, rewards, *_, infos = wrapped.step([""] * 3)
    assert rewards.tolist() == [1.0] * 3
    assert [info["episode"]["l"] for info in infos] == [1, 1, 1]
    wrapped.close()


@pytest.mark.parametrize("settings", [{}, {"shared_memory": False}], ids=["shared memory", "pipes"])
def test_environments_in_processes_of_their_own(settings: dict[str, Any]) -> None:
    settings = {"context": "spawn", **settings}
    tasks = [Task(id="line", prompt="Halve x + 1.", answer=r"\frac{x+1}{2}")]
    in_processes = gym.make_vec(
        "stepgym/Math-v0", num_envs=2, vectorization_mode="async", vector_kwargs=settings, tasks=tasks
    )
    here = gym.make_vec("stepgym/Math-v0", num_envs=2, vectorization_mode="sync", tasks=tasks)
    try:
        assert in_processes.reset(seed=3)[0] == here.reset(seed=3)[0]
        for actions in [("a step", "é 🧮 \ud800"), (r"\boxed{1}", r"\boxed{\frac{1}{2}x + \frac{1}{2}}"), ("x", "y")]:
            mine, reference = in_processes.step(actions), here.step(actions)
            assert mine[0] == reference[0]
            assert all(np.array_equal(a, b) for a, b in zip(mine[1:4], reference[1:4], strict=True))
            assert set(mine[4]) == set(reference[4])
    finally:
        in_processes.close()
        here.close()


@pytest.mark.parametrize("env_id", IDS)
def test_a_fresh_interpreter_needs_no_import_of_ours(env_id: str) -> None:
    code = (
        "import gymnasium as gym\n"
        f"env = gym.make('stepgym:{env_id}')\n"
        "env.reset(seed=0); env.step('a step')\n"
        f"gym.make_vec('stepgym:{env_id}', num_envs=2).close(); print('played')\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "played\n", done.stderr
