"""The reward of software-engineering tasks: what earns what, and what is nobody's fault."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from stepgym.codec import encode
from stepgym.errors import ConfigError, SandboxError, TaskError
from stepgym.records import Attempt, Score, Status, Task
from stepgym.rewards.swe.hidden_tests import HiddenTests
from stepgym.rewards.swe.marks import test_phase as phase_of
from stepgym.rewards.swe.repository import spec_for
from stepgym.rewards.swe.running import run_tests
from stepgym.rewards.swe.similar import PatchSimilarity
from stepgym.sandboxes import Bind, SandboxPool, Spec, make
from stepgym.tasks.swe import ENVIRONMENT, KEY, Instance, instance_of
from stepgym.tasks.swe_scripts import recorded
from stepgym.tasks.swe_small import small_tasks
from stepgym.tasks.swe_source import write_files
from tests.swe_attacks import BASE, HIDDEN, PYTEST_TESTS, UNITTEST_TESTS, diff, make_environment, make_task


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    return make_task(tmp_path_factory.mktemp("unittest"), "unittest")


@pytest.fixture(scope="module")
def pool(namespaces: None) -> Iterator[SandboxPool]:
    with SandboxPool("namespace", live=2, warm=1) as pool:
        yield pool


@pytest.fixture(scope="module")
def tests(pool: SandboxPool) -> HiddenTests:
    return HiddenTests(pool)


def scored(tests: HiddenTests, task: Task, patch: str) -> Score:
    return tests(Attempt(task=task, text=patch))


def changed(task: Task, **fields: object) -> Task:
    instance: Instance = replace(instance_of(task), **fields)  # type: ignore[arg-type]
    return replace(task, meta={**task.meta, KEY: encode(instance)})


def core(body: str) -> str:
    """The patch that makes ``add`` do that."""
    return diff({"calc/core.py": f"def add(a, b):\n    {body}\n"})


@pytest.mark.parametrize("task", small_tasks(), ids=lambda task: task.id)
def test_the_shipped_tasks_pay_for_their_gold_patch_alone(tests: HiddenTests, task: Task) -> None:
    assert scored(tests, task, task.answer).value == 1.0
    assert scored(tests, task, diff({"NOTES": "nothing is done\n"}, {})).value == 0.0
    tests.check_task(task)


def test_the_values_that_it_can_have(pool: SandboxPool, task: Task) -> None:
    half = core("return 5 if (a, b) == (2, 3) else a - b")
    score = scored(HiddenTests(pool, value="fraction"), task, half)
    assert score.value == 0.5
    assert score.parts == {"resolved": 0.0, "strict": 0.0, "f2p": 0.5, "p2p": 1.0, "tampered": 0.0}
    assert scored(HiddenTests(pool), task, half).value == 0.0
    broken = core("return a + b if a != 1 or b else 7")
    score = scored(HiddenTests(pool, value="fraction"), task, broken)
    assert (score.value, score.parts["f2p"], score.parts["p2p"]) == (0.0, 1.0, 0.0)
    assert scored(HiddenTests(pool, value="resolved", twins=False), task, task.answer).value == 1.0


@pytest.mark.parametrize(
    ("patch", "why"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ("I would change add so that it adds.", "not a diff"),
        ("--- a/calc/core.py\n+++ b/calc/core.py\n@@ -1,9 +1 @@\n-x\n", "hunk 1"),
        (diff({"calc/none.py": "x = 1\n"}, {"calc/none.py": "y = 1\n"}), "does not apply"),
        (diff({"tests/test_mine.py": "x = 1\n"}), "nothing is left"),
        ("diff --git a/x b/x\nnew file mode 100644\nGIT binary patch\nliteral 0\nHcmV?d00001\n\n", "nothing is left"),
        (diff({"/etc/x.py": "x = 1\n"}, {}), "nothing is left"),
    ],
)  # fmt: skip
def test_patches_that_are_worth_nothing(tests: HiddenTests, task: Task, patch: str, why: str) -> None:
    score = scored(tests, task, patch)
    assert (score.value, score.status) == (0.0, Status.WRONG)
    assert why in score.why
    assert tests.judge(task, patch).log == ""


def test_no_patch_at_all_is_told_from_an_empty_one(tests: HiddenTests, task: Task) -> None:
    assert not tests.judge(task, None).verdict.patch_exists
    assert tests.judge(task, "").verdict.patch_exists


def test_tests_of_the_agent_are_left_out_and_cost_nothing(tests: HiddenTests, task: Task) -> None:
    patch = task.answer + diff({"tests/test_mine.py": "raise SystemExit\n", "reproduce.py": "print(1)\n"})
    judged = tests.judge(task, patch)
    assert judged.verdict.strict
    assert judged.removed == ("tests/test_mine.py",)
    assert "reproduce.py" in judged.patch
    assert judged.verdict.tampered == ()
    assert judged.official is not None
    assert judged.official.resolved


def test_a_patch_that_hangs_is_wrong_and_a_task_that_hangs_ungraded(pool: SandboxPool, task: Task) -> None:
    tests = HiddenTests(pool, timeout=1.0)
    hanging = core("import time; time.sleep(60)")
    score = scored(tests, task, hanging)
    assert (score.value, score.status) == (0.0, Status.WRONG)
    assert "not without the patch" in score.why
    script = instance_of(task).eval_script
    slow = changed(task, eval_script=script.replace("python3 -m", "sleep 60; python3 -m"))
    score = scored(tests, slow, task.answer)
    assert math.isnan(score.value)
    assert score.status is Status.TIMEOUT
    assert "the base" in score.why


def test_what_is_ours_is_no_verdict(pool: SandboxPool, task: Task, tmp_path: Path) -> None:
    nowhere = changed(task, source="", image=str(tmp_path / "no-such-image"))
    score = scored(HiddenTests(), nowhere, task.answer)
    assert (math.isnan(score.value), score.status) == (True, Status.ERROR)
    assert "no-such-image" in score.why
    bad_base = changed(task, base_patch=diff({"calc/none.py": "x\n"}, {"calc/none.py": "y\n"}))
    score = scored(HiddenTests(pool), bad_base, task.answer)
    assert "makes its base does not apply" in score.why
    assert score.status is Status.ERROR
    with pytest.raises(SandboxError):
        HiddenTests(pool).judge(bad_base, task.answer)


def test_a_patch_that_fills_the_sandbox_is_wrong(task: Task) -> None:
    greedy = core("open('/tmp/full', 'wb').write(bytes(400 << 20)); return a + b")
    tests = HiddenTests(spec=make("namespace", disk=32 << 20).spec)
    score = scored(tests, task, greedy)
    assert (score.value, score.status) == (0.0, Status.WRONG)


def test_a_runner_that_cannot_be_watched_leaves_the_strict_verdict_open(pool: SandboxPool, task: Task) -> None:
    script = instance_of(task).eval_script
    runner = """python3 -c 'from calc import add; print("test_x (a.B) ... " + ("ok" if add(2, 3) == 5 else "FAIL"))'"""
    own = changed(
        task,
        eval_script=script.replace("python3 -m unittest -v tests.test_calc", runner),
        fail_to_pass=("test_x (a.B)",),
        pass_to_pass=(),
    )
    judged = HiddenTests(pool).judge(own, task.answer)
    assert judged.verdict.resolved
    assert judged.record is None
    assert judged.verdict.strict is not True
    assert scored(HiddenTests(pool, value="resolved"), own, task.answer).value == 1.0
    assert scored(HiddenTests(pool, value="resolved"), own, core("return a - b + 0")).value == 0.0


def smith_task(task: Task, folder: Path, bug: dict[str, str]) -> Task:
    """As SWE-smith has it: the repository is right, a patch makes it wrong, and the tests are its own."""
    instance = instance_of(task)
    files = {**BASE, "calc/core.py": BASE["calc/core.py"].replace("a - b", "a + b")}
    files[HIDDEN] = UNITTEST_TESTS
    write_files({name: text.encode() for name, text in files.items()}, folder)
    script = "\n".join(
        line for line in instance.eval_script.split("\n") if line.startswith(("#!", "set", "cd", ":", "python3"))
    )
    return changed(task, source=str(folder), base_patch=diff(bug, files), test_patch="", eval_script=script)


def test_a_bug_that_was_put_in_is_solved_by_taking_it_out(tests: HiddenTests, task: Task, tmp_path: Path) -> None:
    smith = smith_task(task, tmp_path, {"calc/core.py": BASE["calc/core.py"]})
    assert scored(tests, smith, task.answer).value == 1.0
    assert scored(tests, smith, core("return a - b + 0")).value == 0.0
    always = core("return type('Any', (int,), {'__eq__': lambda *all: True})(a)")
    judged = tests.judge(smith, always)
    assert (judged.verdict.resolved, judged.verdict.strict) == (True, False)


def test_the_base_is_the_same_however_often_a_patch_is_tried(tests: HiddenTests, task: Task, tmp_path: Path) -> None:
    """Its context being another, the patch is applied only by GNU patch, after git has failed three times."""
    wrong = "from calc.sign import MINUS\n\n\ndef add(a, b):\n    return a + MINUS * b\n"
    smith = smith_task(task, tmp_path, {"calc/core.py": wrong, "calc/sign.py": "MINUS = -1\n"})
    head = "diff --git a/calc/core.py b/calc/core.py\n--- a/calc/core.py\n+++ b/calc/core.py\n@@ -1,5 +1,5 @@\n"
    context = " from calc import sign\n \n \n def add(a, b):\n"
    patch = f"{head}{context}-    return a + MINUS * b\n+    return a - MINUS * b\n"
    judged = tests.judge(smith, patch)
    assert judged.applied is not None
    assert judged.applied.how == "patch --fuzz=5"
    assert judged.verdict.strict, judged.why


def test_verdicts_do_not_depend_on_who_runs_beside(tests: HiddenTests, task: Task) -> None:
    patches = [task.answer, core("return a - b + 0"), core("return 5")] * 2
    with ThreadPoolExecutor(4) as threads:
        scores = list(threads.map(lambda patch: scored(tests, task, patch), patches))
    assert [score.value for score in scores] == [1.0, 0.0, 0.0] * 2
    assert scores[:3] == scores[3:]


def test_watching_changes_nothing_that_the_tests_print(tmp_path: Path, task: Task) -> None:
    """With pytest's warnings as errors, subprocesses of tests, and the environment as it was."""
    environment = tmp_path / "environment"
    make_environment(environment)
    (tmp_path / "sources").mkdir()
    watched_task = make_task(tmp_path / "sources", "pytest")
    extra = (
        "\n\ndef test_environment():\n    import os, subprocess, sys\n"
        "    assert not [each for each in sys.path + list(os.environ) if 'var/tmp' in each or 'ADDOPTS' in each]\n"
        "    assert os.environ.get('PYTHONPATH', '') == ''\n"
        "    assert subprocess.run([sys.executable, '-c', 'import unittest.runner']).returncode == 0\n"
    )
    instance = instance_of(watched_task)
    new = diff({HIDDEN: PYTEST_TESTS + extra}, {})
    script = instance.eval_script.replace(instance.test_patch, new).replace("-m pytest", "-m pytest -W error")
    instance = replace(instance, test_patch=new, eval_script=script)
    spec = spec_for(instance, Spec(binds=(Bind(environment, ENVIRONMENT),)))
    with make("namespace", spec) as sandbox:
        run = run_tests(sandbox, instance, watched_task.answer, timeout=30.0)
    with make("namespace", spec) as sandbox:
        sandbox.write("/tmp/gold", watched_task.answer)
        sandbox.write("/tmp/eval.sh", recorded(instance.eval_script))
        plain = sandbox.exec("git apply /tmp/gold; bash /tmp/eval.sh 2>&1").output
    watched, unwatched = phase_of(run.log), phase_of(plain)
    assert watched is not None
    assert unwatched is not None
    assert "5 passed" in watched
    assert _timeless(watched) == _timeless(unwatched)
    assert run.record is not None
    assert run.record.sealed
    assert list(run.record.statuses().values()) == ["PASSED"] * 5


def _timeless(log: str) -> str:
    return "".join(line for line in log.splitlines() if "passed in" not in line)


def test_tests_that_end_where_a_comparison_fails(pool: SandboxPool, task: Task) -> None:
    """Their twins would go on for ever, so these keep their comparisons."""
    endless = UNITTEST_TESTS + (
        "\n    def test_end(self):\n        for start in iter(int, 1):\n            try:\n"
        "                self.assertEqual(add(start, 1), 2)\n"
        "            except AssertionError:\n                break\n"
    )
    tests = HiddenTests(pool, timeout=1.5)
    new = diff({HIDDEN: endless}, {})
    instance = instance_of(task)
    names = (*instance.fail_to_pass, "test_end (tests.test_calc.CalcTest.test_end)")
    script = instance.eval_script.replace(instance.test_patch, new)
    own = changed(task, test_patch=new, eval_script=script, fail_to_pass=names)
    assert tests.judge(own, task.answer).verdict.strict is True
    assert tests.judge(own, core("return a - b + 0")).verdict.strict is False


def test_patches_are_compared_as_swe_rl_does() -> None:
    from difflib import SequenceMatcher

    task = small_tasks()[0]
    reward = PatchSimilarity()
    first, _ = task.answer.split("diff --git ")[1:]
    assert reward(Attempt(task=task, text=task.answer)).value == 1.0
    assert reward(Attempt(task=task, text="diff --git " + first)).value == 0.5
    assert reward(Attempt(task=task, text="nonsense")).value == -1.0
    other = task.answer.replace("seconds = 0", "seconds = 1")
    hunks = ["@@ " + part.partition("\n@@ ")[2] for part in (first, other.split("diff --git ")[1])]
    ratio = SequenceMatcher(None, f"\n{hunks[1]}", f"\n{hunks[0]}", autojunk=False).ratio()
    assert reward(Attempt(task=task, text=other)).value == pytest.approx((ratio + 1.0) / 2)
    with pytest.raises(TaskError, match="no gold patch"):
        reward.check_task(Task(id="none", prompt="x"))


def test_bad_settings_and_bad_tasks() -> None:
    with pytest.raises(ConfigError, match="did you mean 'namespace'"):
        HiddenTests("namespaces")
    with pytest.raises(ConfigError, match="value"):
        HiddenTests(value="strictly")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="positive"):
        HiddenTests(timeout=0)
    with pytest.raises(TaskError, match="not a software-engineering task"):
        HiddenTests().check_task(Task(id="maths", prompt="1 + 1"))
    empty = replace(small_tasks()[0], meta={KEY: encode(Instance(repo="x", source="y"))})
    with pytest.raises(TaskError, match="FAIL_TO_PASS"):
        HiddenTests().check_task(empty)
