"""stepgym/SWE-v0: a repository in a sandbox, commands and a submission, judged by hidden tests."""

from __future__ import annotations

import math
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

from stepgym import Attempt, Score, Stop, Task
from stepgym.agents.swe_scripted import gold_command
from stepgym.codec import encode
from stepgym.envs import SWEEnv
from stepgym.errors import ConfigError, SandboxError, TaskError
from stepgym.rewards.swe.masked import masked
from stepgym.rewards.swe.repository import checkout
from stepgym.sandboxes import SandboxPool, Spec, make
from stepgym.sandboxes.namespaces import sandbox as namespace
from stepgym.tasks import load
from stepgym.tasks.swe import KEY, instance_of
from stepgym.tasks.swe_patch_reading import changes
from stepgym.tasks.swe_patch_reversal import reverse

pytestmark = pytest.mark.usefixtures("namespaces")

SECRET = "test_never_shown"


def size(attempt: Attempt) -> Score:
    """A reward that runs nothing: whether there is a patch."""
    return Score(float(bool(attempt.text)))


@pytest.fixture
def env() -> Iterator[SWEEnv]:
    env = SWEEnv(reward=size)
    env.reset(options={"task": "swe-small__pager"})
    yield env
    env.close()


def out(observation: str) -> str:
    return observation.partition("<output>\n")[2].partition("</output>")[0]


def run(env: SWEEnv, command: str) -> str:
    return out(env.step(command)[0])


def test_an_episode_that_is_resolved() -> None:
    env = gym.make("stepgym/SWE-v0")
    task = next(task for task in load("swe-small") if task.id == "swe-small__pager")
    observation, info = env.reset(options={"task": task})
    assert observation.startswith(task.prompt)
    assert info == {"task": task.id}
    observation, reward, terminated, truncated, info = env.step(f"```bash\n{gold_command(task.answer)}\n```")
    assert (reward, terminated, truncated, info["exit_code"]) == (0.0, False, False, 0)
    assert "<returncode>0</returncode>" in observation
    observation, reward, terminated, truncated, info = env.step("submit")
    assert (reward, terminated, truncated, info["stop"]) == (1.0, True, False, Stop.ANSWERED)
    assert info["patch"].startswith("diff --git a/pager/")
    assert info["score"].parts
    env.close()


def test_a_bug_that_the_task_puts_in_is_there_for_agent_and_judge(tmp_path: Path) -> None:
    """As SWE-smith has it: what the source holds is right, and `Instance.base_patch` makes it wrong."""
    task = next(each for each in load("swe-small") if each.id == "swe-small__pager")
    instance = instance_of(task)
    shutil.copytree(checkout(instance.source), tmp_path, symlinks=True, dirs_exist_ok=True)
    subprocess.run(["git", "apply", "-"], cwd=tmp_path, input=task.answer, text=True, check=True)
    script = instance.eval_script.replace(instance.base_commit, "HEAD")
    smith = replace(instance, source=str(tmp_path), base_patch=reverse(task.answer), base_commit="", eval_script=script)
    with SWEEnv([replace(task, meta={KEY: encode(smith)})]) as env:
        for actions, reward in (((gold_command(task.answer), "submit"), 1.0), (("touch a.txt", "submit"), 0.0)):
            env.reset()
            for action in actions:
                *_, earned, terminated, _, info = env.step(action)
            assert (earned, terminated) == (reward, True), info["score"].why
            same = [file.body for file in changes(env.patch)] == [file.body for file in changes(task.answer)]
            assert same == (reward == 1.0)


def test_nothing_handed_in_earns_nothing() -> None:
    env = gym.make("stepgym/SWE-v0")
    env.reset(seed=1)
    _, reward, terminated, _, info = env.step("submit")
    assert (reward, terminated, info["patch"]) == (0.0, True, "")
    env.close()


def test_what_the_agent_does_is_data(env: SWEEnv) -> None:
    observation, reward, terminated, truncated, info = env.step("cd tests && echo $PWD; false")
    assert (out(observation), reward, terminated, truncated) == ("/testbed/tests\n", 0.0, False, False)
    assert info["exit_code"] == 1
    assert run(env, "pwd") == "/testbed\n"
    observation, *_, info = env.step("```bash\nls\n```\n```bash\nls\n```")
    assert "2 complete blocks" in observation
    assert "Expected exactly one action" in observation
    assert "exit_code" not in info
    assert "97 actions" in observation
    for said in ("echo \ud800", "echo a\0b", "kill -9 -1", "exec 1>&-", "exit 3", "rm -rf /testbed/.git"):
        *_, truncated, info = env.step(said)
        assert not truncated, info
    assert env.step("submit")[4]["patch"] == ""


def test_the_editor_works_on_the_repository(env: SWEEnv) -> None:
    env.step("str_replace_editor create a.txt --file_text 'one\ntwo\nthree\n'")
    assert run(env, "str_replace_editor view a.txt --view_range 2 -1") == "     2\ttwo\n     3\tthree\n"
    assert "     2\t2\n" in run(env, "str_replace_editor str_replace a.txt --old_str two --new_str 2")
    assert "     1\tzero\n" in run(env, "str_replace_editor insert a.txt --insert_line 0 --new_str zero")
    assert run(env, "cat a.txt") == "zero\none\n2\nthree\n"
    assert "./a.txt\n" in run(env, "str_replace_editor view .")
    for wrong, why in [
        ("str_replace_editor str_replace a.txt --old_str four --new_str 4", "not there"),
        ("str_replace_editor str_replace a.txt --old_str e --new_str x", "4 times"),
        ("str_replace_editor view nowhere", "No such file"),
        ("str_replace_editor view a.txt --view_range 9 10", "has 4 lines"),
        ("str_replace_editor insert a.txt --insert_line 9 --new_str x", "has 4 lines"),
        ("str_replace_editor create /proc/version --file_text x", "/proc/version"),
    ]:
        observation, *_, info = env.step(wrong)
        assert why in observation
        assert info["exit_code"] == 1
    assert run(env, "cat a.txt") == "zero\none\n2\nthree\n"


def test_long_output_keeps_its_beginning_and_its_end(env: SWEEnv) -> None:
    printed = run(env, "seq 1 2000000")
    assert len(printed) < 10_200
    assert printed.startswith("1\n2\n")
    assert printed.endswith("2000000\n")
    assert "characters left out" in printed


def test_mini_swe_agents_submission_ends_it(env: SWEEnv) -> None:
    env.step("echo x > new.txt && git add -A && git commit -qm mine")
    *_, terminated, truncated, info = env.step(
        "```bash\necho COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT && git add -A && git diff --cached\n```"
    )
    assert (terminated, truncated, info["stop"]) == (True, False, Stop.ANSWERED)
    assert "+x" in info["patch"]


def test_the_future_and_the_hidden_tests_are_not_there(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    repository.mkdir()

    def git(*words: str) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@localhost")
        subprocess.run(["git", *who, *words], cwd=repository, check=True, capture_output=True)

    git("init", "-q")
    for name in ("base", "future-fix"):
        (repository / "a.py").write_text(f"# {name}\n")
        git("add", ".")
        git("commit", "-qm", name)
        git("tag", f"v-{name}")
    git("checkout", "-q", "HEAD~1")
    test = (
        "diff --git a/tests/test_x.py b/tests/test_x.py\nnew file mode 100644\n--- /dev/null\n+++ b/tests/test_x.py\n"
    )
    test += f"+++ b/tests/test_x.py\n@@ -0,0 +1 @@\n+{SECRET} = 1\n"
    base = next(iter(load("swe-small")))
    broken = "diff --git a/a.py b/a.py\n--- a/a.py\n+++ b/a.py\n@@ -1 +1 @@\n-# base\n+# broken-by-the-task\n"
    instance = replace(instance_of(base), source=str(repository), test_patch=test, base_patch=broken)
    task = Task(id="t", prompt="p", answer="gold-secret", meta={KEY: encode(instance)})
    with SWEEnv([task], reward=size) as env:
        env.reset()
        assert run(env, "cat a.py") == "# broken-by-the-task\n"
        known = "git log --all --format=%s; git tag; git reflog --format=%gs; git stash list; git remote"
        assert run(env, known) == "base\n"
        everywhere = "/testbed /tmp /var/tmp /root --exclude-dir=.pyenv"
        for secret in (SECRET, "future-fix", "gold-secret", "^-# base$"):  # the last: how the task was broken
            assert run(env, f"grep -rl -e '{secret}' {everywhere} 2> /dev/null") == ""


def test_the_shipped_gold_patches_are_not_seen_where_the_package_is() -> None:
    seen = Path(sys.base_prefix) / "include"  # a folder of this machine that a sandbox sees, as it may see the package
    with make("namespace") as sandbox:
        assert sandbox.exec(f"ls {seen}").output
    with make("namespace", binds=masked(seen)) as sandbox:
        assert sandbox.exec(f"ls -A {seen}").output == ""
    assert masked(Path("/home/checkout/tasks/repos")) == ()


def test_time_is_a_budget() -> None:
    env = SWEEnv(reward=size, command_seconds=1, max_seconds=1.5)
    env.reset(seed=0)
    observation, *_, truncated, info = env.step("echo begun; sleep 30")
    assert "begun" in observation
    assert "<stopped>" in observation
    assert (info["exit_code"], truncated) == (137, False)
    *_, truncated, info = env.step("sleep 30")
    assert (truncated, info["stop"]) == (True, Stop.TIME_LIMIT)
    assert "budget of time" in info["score"].why


@pytest.mark.parametrize(("autosubmit", "reward"), [(False, 0.0), (True, 1.0)])
def test_running_out_of_actions(autosubmit: bool, reward: float) -> None:
    env = SWEEnv(reward=size, max_steps=2, autosubmit=autosubmit)
    env.reset(seed=0)
    env.step("echo x > new.txt")
    *_, earned, terminated, truncated, info = env.step("true")
    assert (earned, terminated, truncated, info["stop"]) == (reward, False, True, Stop.STEP_LIMIT)
    assert bool(info["patch"]) == autosubmit


def test_a_sandbox_that_breaks_is_not_a_zero(env: SWEEnv) -> None:
    env.box.close()  # as if it had been killed from outside
    _, reward, terminated, truncated, info = env.step("ls")
    assert math.isnan(reward)
    assert (terminated, truncated, info["stop"]) == (False, True, Stop.UNGRADED)
    assert info["ungraded"].startswith("sandbox: ")
    env.reset(seed=0)
    assert env.step("true")[4]["exit_code"] == 0


def test_each_command_can_be_likened_to_the_experts() -> None:
    task = replace(load("swe-small")[0], steps=("ls -la", "cat a.py"))
    env = SWEEnv([task], reward=size, step_reward="similarity")
    env.reset()
    assert env.step("```bash\nls -la\n```")[1] == 1.0
    assert 0 < env.step("cat b.py")[1] < 1
    assert env.step("ls")[1] == 0.0
    env.close()


def test_a_session_keeps_its_directory() -> None:
    env = SWEEnv(reward=size, stateful=True)
    env.reset(seed=0)
    run(env, "cd tests; export A=1")
    assert run(env, "echo $PWD $A") == "/testbed/tests 1\n"
    env.close()


def test_a_copy_is_a_fork_with_the_same_files(env: SWEEnv) -> None:
    env.step("echo first > a.txt; echo outside > /root/b.txt")
    copied = deepcopy(env)
    assert copied.step("cat a.txt /root/b.txt") == env.step("cat a.txt /root/b.txt")
    assert run(copied, "echo copy > a.txt; cat a.txt") == "copy\n"
    env.close()
    assert run(copied, "cat a.txt") == "copy\n"
    assert copied.step("submit")[1] == 1.0
    copied.close()


def test_a_pickled_episode_takes_its_actions_again(env: SWEEnv) -> None:
    env.step("echo first > a.txt")
    env.step("str_replace_editor insert a.txt --insert_line 1 --new_str second")
    held = pickle.dumps(env)
    env.close()
    again: SWEEnv = pickle.loads(held)
    assert run(again, "cat a.txt") == "first\nsecond\n"
    again.close()


def test_many_environments_start_nothing_before_reset_and_leave_nothing() -> None:
    live = namespace._LIVE
    begun = len(live)
    envs = gym.make_vec("stepgym/SWE-v0", num_envs=64, reward=size)
    assert len(live) == begun
    envs.close()
    few = gym.make_vec("stepgym/SWE-v0", num_envs=4, reward=size, autoreset_mode="Disabled")
    _, infos = few.reset(seed=5, options={"group_size": 2})
    assert list(infos["task"][:2]) == [infos["task"][0]] * 2
    assert len(live) == begun + 4
    few.step(["echo a > a.txt", "true", "submit", "submit"])
    assert len(live) == begun + 2
    assert [step.reward for step in few.step_some([0, 1], ["submit", "submit"])] == [1.0, 0.0]
    few.close()
    assert len(live) == begun


def test_the_same_seed_draws_the_same_task() -> None:
    one, other = SWEEnv(reward=size), SWEEnv(reward=size)
    assert [one.reset(seed=s) for s in range(3)] == [other.reset(seed=s) for s in range(3)]
    one.close()
    other.close()


def test_sandboxes_may_come_from_a_pool() -> None:
    with SandboxPool("namespace", live=2) as pool:
        env = SWEEnv(sandbox=pool, reward=size)
        env.reset(seed=0)
        assert pool.count == 1
        assert run(env, "pwd") == "/testbed\n"
        env.close()


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({"tasks": "addition"}, TaskError, "not a software-engineering task"),
        ({"step_reward": "similarity"}, TaskError, "no expert steps"),
        ({"command_seconds": 0}, ConfigError, "time"),
        ({"max_seconds": math.inf}, ConfigError, "time"),
        ({"sandbox": "namespce"}, ConfigError, "namespace"),
    ],
)
def test_settings_that_cannot_work(settings: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        SWEEnv(**settings).reset(seed=0)


def test_an_image_that_is_not_here_is_named() -> None:
    task = load("swe-small")[0]
    instance = replace(instance_of(task), source="", image="sweb.eval.x86_64.nowhere:latest")
    env = SWEEnv([replace(task, meta={KEY: encode(instance)})], reward=size)
    with pytest.raises(SandboxError, match="nowhere"):
        env.reset()


def test_the_limits_of_a_spec_hold() -> None:
    env = SWEEnv(reward=size, spec=Spec(env={"COLOUR": "blue"}))
    env.reset(seed=0)
    assert run(env, "echo $COLOUR") == "blue\n"
    env.close()
