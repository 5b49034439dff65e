"""Runs that are killed go on exactly: whatever a recipe keeps besides the policy, and curricula."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from stepgym.codec import encode
from stepgym.errors import ConfigError, StoreError, TaskError
from stepgym.records import Task
from stepgym.trainers import ModelConfig, TrainConfig, Training, train
from stepgym.trainers.commands import CurriculumConfig, curriculum
from stepgym.trainers.curriculum import read_curriculum, run_curriculum
from stepgym.trainers.metrics import read_metrics

SMALL = ModelConfig(width=32, layers=2, heads=2, context=96)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Tasks with all that a recipe may want."""
    path = tmp_path_factory.mktemp("tasks") / "tasks.jsonl"
    made = [
        Task(id=f"{i}", prompt=f"{i}+1=", answer=f"{i + 1}", steps=("add", f"\\boxed{{{i + 1}}}"), hint="add one")
        for i in range(9)
    ]
    path.write_text("".join(task.to_json() + "\n" for task in made))
    return str(path)


@pytest.fixture(scope="module")
def started(tasks: str, tmp_path_factory: pytest.TempPathFactory) -> Training:
    """Succeeds now and then."""
    out = tmp_path_factory.mktemp("started") / "warm"
    return train(config("sft", tasks, out, steps=30, settings=("tasks=9",), model=SMALL))


def config(recipe: str, tasks: str, out: Path, **settings: Any) -> TrainConfig:
    usual: dict[str, Any] = {"max_tokens": 12, "tasks": (tasks,), "held_out": (tasks,), "checkpoint_every": 2}
    return TrainConfig(recipe=recipe, out=out, **usual | settings)


def killed(stages: list[TrainConfig], event: str, name: str, count: int) -> None:
    script = Path(__file__).with_name("killed_training.py")
    words = [sys.executable, str(script), event, name, str(count), *(json.dumps(encode(stage)) for stage in stages)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr or "it was not killed"


def numbers(run: Training) -> str:
    records = read_metrics(run.folder / "metrics.jsonl")
    return repr([replace(record, gather_seconds=0.0, learn_seconds=0.0) for record in records])


def same(first: Training, second: Training) -> None:
    """The same numbers, and everything in the checkpoint the same to the last bit."""
    assert numbers(first) == numbers(second)
    a, b = (torch.load(run.checkpoint, weights_only=True) for run in (first, second))
    assert a.keys() == b.keys()
    assert equal(a, b)


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(value, b[key]) for key, value in a.items())
    if isinstance(a, list):
        return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


@pytest.mark.parametrize(
    ("recipe", "settings"),
    [("ppo", ("kl=0.2", "epochs=2", "minibatches=2")), ("guide-ppo", ("kl=0.2", "rounds=2"))],
)
def test_critic_reference_and_rehearsal_survive_a_kill(
    recipe: str, settings: tuple[str, ...], tasks: str, started: Training, tmp_path: Path
) -> None:
    more: dict[str, Any] = {"start": started.folder, "steps": 6, "rehearse": (tasks,), "rehearsed": 3}
    more["settings"] = ("tasks=6", "group=4", "learning_rate=1e-3", *settings)
    whole = train(config(recipe, tasks, tmp_path / "whole", **more))
    assert whole.idle_steps == 0
    stopped = config(recipe, tasks, tmp_path / "stopped", **more)
    killed([stopped], "open", "/stopped/.checkpoint.pt", 2)  # at the end of step 4, whose checkpoint is begun
    assert len(read_metrics(stopped.folder / "metrics.jsonl")) == 5
    assert torch.load(stopped.folder / "checkpoint.pt", weights_only=True)["step"] == 2
    resumed = train(stopped)
    same(whole, resumed)
    events = EventAccumulator(str(stopped.folder / "tensorboard"))
    events.Reload()
    points = [(event.step, event.value) for event in events.Scalars("update/loss")]
    records = read_metrics(resumed.folder / "metrics.jsonl")
    assert points == [(r.step, pytest.approx(r.update.loss)) for r in records if r.update is not None]


def write(path: Path, tasks: str, start: Training, more: str = "") -> Path:
    path.write_text(
        f"""
        [common]
        tasks = ["{tasks}"]
        held_out = ["{tasks}"]
        start = "{start.folder}"
        max-tokens = 12
        checkpoint_every = 2
        settings = ["tasks=6", "group=4", "min_std=-1", "learning_rate=1e-3"]

        [[stage]]
        recipe = "srl"
        steps = 3
        {more}

        [[stage]]
        recipe = "grpo"
        steps = 5
        """
    )
    return path


def test_a_curriculum_goes_on_where_it_was_killed(
    tasks: str, started: Training, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "curriculum.toml", tasks, started)
    whole = run_curriculum(read_curriculum(file, tmp_path / "whole"), tmp_path / "whole")
    with pytest.raises(StoreError, match="is the folder of a training run"):  # its report would be overwritten
        run_curriculum(read_curriculum(file, whole[0].folder), whole[0].folder)
    assert [run.folder.name for run in whole] == ["1-srl", "2-grpo"]
    assert whole[1].before == whole[0].after
    page = (tmp_path / "whole" / "report.html").read_text()
    assert "srl → grpo" in page
    assert "data:image/png;base64," in page
    stages = read_curriculum(file, tmp_path / "stopped")
    killed(stages, "open", "/2-grpo/.checkpoint.pt", 2)
    first = (tmp_path / "stopped" / "1-srl" / "checkpoint.pt").stat().st_mtime_ns
    curriculum(CurriculumConfig(file=file, out=tmp_path / "stopped"))
    assert capsys.readouterr().out.count("held-out reward") == 2
    assert (tmp_path / "stopped" / "1-srl" / "checkpoint.pt").stat().st_mtime_ns == first
    resumed = run_curriculum(stages, tmp_path / "stopped")
    assert numbers(whole[0]) == numbers(resumed[0])
    assert numbers(whole[1]) == numbers(resumed[1])
    mine, other = (torch.load(run.checkpoint, weights_only=True) for run in (whole[1], resumed[1]))
    assert equal(mine, other)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ('start = "elsewhere"', None),  # the first stage may
        ("stepz = 3", "stage 1: no field named 'stepz'"),
        ('out = "elsewhere"', "stage 1: out is set by the curriculum"),
        ("steps = true", "expected"),
        ("[unknown]", "not unknown"),
    ],
)
def test_bad_curricula_are_named(more: str, says: str | None, tasks: str, started: Training, tmp_path: Path) -> None:
    file = write(tmp_path / "curriculum.toml", tasks, started, more)
    if "steps" in more:
        file.write_text(file.read_text().replace("steps = 3", ""))
    if says is None:
        assert read_curriculum(file, tmp_path)[0].start == Path("elsewhere")
        return
    with pytest.raises(ConfigError, match=says):
        read_curriculum(file, tmp_path)


def test_a_stage_that_cannot_work_is_refused_before_the_first_is_trained(started: Training, tmp_path: Path) -> None:
    bare = tmp_path / "bare.jsonl"
    bare.write_text(Task(id="bare", prompt="1+1=", answer="2").to_json() + "\n")
    file = tmp_path / "curriculum.toml"
    common = f'[common]\nstart = "{started.folder}"\ntasks = ["{bare}"]\nsteps = 2\n'
    file.write_text(common + '[[stage]]\nrecipe = "grpo"\n[[stage]]\nrecipe = "srl"\n')
    with pytest.raises(TaskError, match="'bare' has no expert steps"):
        run_curriculum(read_curriculum(file, tmp_path / "run"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
