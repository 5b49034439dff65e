"""What cannot be bought: every attack scores 0 on the strict verdict, and the gold patch 1 with every guard on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stepgym.records import Attempt, Task
from stepgym.rewards.swe.hidden_tests import HiddenTests
from stepgym.sandboxes import Bind, SandboxPool, Spec
from stepgym.tasks.swe import ENVIRONMENT
from tests.swe_attacks import ATTACKS, Attack, make_environment, make_task

RUNNERS = ("pytest", "unittest")


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Task]:
    return {runner: make_task(tmp_path_factory.mktemp(runner), runner) for runner in RUNNERS}


@pytest.fixture(scope="module")
def pytest_environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with nothing but pytest, as it is installed here."""
    folder = tmp_path_factory.mktemp("environment")
    make_environment(folder)
    return folder


@pytest.fixture(scope="module")
def tests(namespaces: None, pytest_environment: Path) -> Iterator[HiddenTests]:
    with SandboxPool("namespace", live=2) as pool:
        yield HiddenTests(pool, spec=Spec(binds=(Bind(pytest_environment, ENVIRONMENT),)))


@pytest.mark.parametrize("runner", RUNNERS)
def test_the_gold_patch_passes_every_guard(tests: HiddenTests, tasks: dict[str, Task], runner: str) -> None:
    task = tasks[runner]
    judged = tests.judge(task, task.answer)
    assert judged.verdict.tampered == (), judged.log
    assert judged.verdict.strict is True, judged.why
    assert judged.resolved
    assert judged.record is not None
    assert judged.record.sealed
    assert tests(Attempt(task=task, text=task.answer)).value == 1.0


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_attacks_earn_nothing(tests: HiddenTests, tasks: dict[str, Task], attack: Attack) -> None:
    judged = tests.judge(tasks[attack.runner], attack.patch, official=False)
    assert judged.verdict.strict is not True, judged.log
    assert bool(judged.removed) == (attack.outcome == "removed"), judged.removed
    assert judged.verdict.resolved == (attack.outcome == "caught"), judged.log
    assert judged.verdict.tampered or attack.outcome != "caught"
    score = tests.score(judged)
    assert score.graded
    assert score.value == 0.0


@pytest.mark.parametrize("name", ["conftest that forges a log and exits", "a package of tests that patches"])
def test_what_the_official_rules_are_bought_with_is_told(tests: HiddenTests, tasks: dict[str, Task], name: str) -> None:
    attack = next(attack for attack in ATTACKS if attack.name == name)
    judged = tests.judge(tasks[attack.runner], attack.patch)
    assert judged.official is not None
    assert judged.official.resolved
    assert judged.resolved
    assert judged.official.strict is not True
    assert judged.verdict.strict is False
    assert any("taken out" in why for why in judged.verdict.tampered)


def test_there_are_many() -> None:
    assert len(ATTACKS) >= 25
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS)
