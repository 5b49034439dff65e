"""The local engine: it learns, repeats itself bit for bit, survives kill -9 and Ctrl-C, and says what is wrong."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from stepgym.codec import encode
from stepgym.errors import ConfigError, StepgymError, StoreError, TaskError, UnknownNameError
from stepgym.records import Reply, Score, Step, Stop, Task, Trajectory
from stepgym.trainers import (
    Checkpoint,
    Group,
    ModelConfig,
    Sample,
    TrainConfig,
    Training,
    load_checkpoint,
    save_checkpoint,
    train,
)
from stepgym.trainers.grpo import GRPO
from stepgym.trainers.learner import Learner
from stepgym.trainers.making import make_recipe, settings_of
from stepgym.trainers.metrics import StepRecord, read_metrics
from stepgym.trainers.model import Transformer
from stepgym.trainers.planning import make_plan
from stepgym.trainers.samples import Term, demonstration
from stepgym.trainers.tokenizer import CharTokenizer

SMALL = ModelConfig(width=32, layers=2, heads=2, context=32)


@pytest.fixture
def sums(tmp_path: Path) -> str:
    """Twenty tasks that can be learned in seconds."""
    path = tmp_path / "sums.jsonl"
    tasks = [Task(id=f"{i}", prompt=f"{i}+1=", answer=f"{i + 1}", steps=(f"\\boxed{{{i + 1}}}",)) for i in range(20)]
    path.write_text("".join(task.to_json() + "\n" for task in tasks))
    return str(path)


def config(recipe: str, tasks: str, out: Path, **settings: object) -> TrainConfig:
    usual: dict[str, object] = {"model": SMALL, "max_tokens": 8, "tasks": (tasks,), "held_out": (tasks,)}
    return TrainConfig(recipe=recipe, out=out, **usual | settings)  # type: ignore[arg-type]


def numbers(records: Sequence[StepRecord]) -> list[StepRecord]:
    return [replace(record, gather_seconds=0.0, learn_seconds=0.0) for record in records]


def same(first: Training, second: Training) -> None:
    """Both runs measured the same numbers and ended with the same weights, to the last bit."""
    mine, other = (read_metrics(run.folder / "metrics.jsonl") for run in (first, second))
    assert repr(numbers(mine)) == repr(numbers(other))  # repr, because NaN is not equal to itself
    a, b = (load_checkpoint(run.checkpoint) for run in (first, second))
    assert a.step == b.step
    for name, weights in a.model.state_dict().items():
        assert torch.equal(weights, b.model.state_dict()[name]), name


def test_reward_rises(tmp_path: Path) -> None:
    """Imitation leaves the model undecided between four answers; the verdicts then tell it which is right."""
    shown, asked = tmp_path / "shown.jsonl", tmp_path / "asked.jsonl"
    tasks = [Task(id=f"{i}", prompt=f"{i}+1=", answer=f"{i + 1}") for i in range(9)]
    asked.write_text("".join(task.to_json() + "\n" for task in tasks))
    shown.write_text(
        "".join(
            replace(task, id=f"{i}/{guess}", steps=(f"\\boxed{{{guess}}}",)).to_json() + "\n"
            for i, task in enumerate(tasks)
            for guess in range(i, i + 4)
        )
    )
    small: dict[str, object] = {"max_tokens": 6, "held_out": (str(asked),)}
    warm = train(config("sft", str(shown), tmp_path / "warm", settings=("tasks=36",), steps=80, **small))
    settings = ("tasks=9", "group=8", "epochs=2", "learning_rate=1e-3")
    more = {"start": warm.checkpoint, "settings": settings, "steps": 40}
    learned = train(config("grpo", str(asked), tmp_path / "grpo", **small, **more))
    rewards = [record.measures["reward"] for record in read_metrics(learned.folder / "metrics.jsonl")[1:]]
    assert sum(rewards[-5:]) / 5 > sum(rewards[:5]) / 5 + 0.15
    assert learned.after.reward > learned.before.reward == warm.after.reward
    page = learned.report.read_text()
    assert "data:image/png;base64," in page
    assert "://" not in page
    assert learned.curve.read_bytes().startswith(b"\x89PNG")


@pytest.fixture
def started(sums: str, tmp_path: Path) -> Path:
    return train(config("sft", sums, tmp_path / "warm", steps=40, settings=("tasks=20",))).checkpoint


def test_a_seed_repeats_bit_for_bit(sums: str, started: Path, tmp_path: Path) -> None:
    settings = {"start": started, "steps": 3, "settings": ("tasks=4", "epochs=2", "minibatches=2", "rounds=2")}
    first, second, other = (
        train(config("grpo", sums, tmp_path / name, seed=seed, **settings))
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    same(first, second)
    with pytest.raises(AssertionError):
        same(first, other)


def command(settings: TrainConfig) -> list[str]:
    """`settings` on the command line."""
    words = [sys.executable, "-m", "stepgym.cli", "train", settings.recipe, "--out", str(settings.out)]
    words += ["--tasks", *settings.tasks, "--held-out", *settings.held_out, "--steps", str(settings.steps)]
    words += ["--checkpoint-every", str(settings.checkpoint_every), "--max-tokens", str(settings.max_tokens)]
    words += ["--settings", *settings.settings, "--start", str(settings.start)]
    words += [f"--model.{name}={value}" for name, value in encode(settings.model).items()]
    return words


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_was_stopped_goes_on_exactly(sums: str, started: Path, tmp_path: Path, sent: signal.Signals) -> None:
    settings = {"start": started, "settings": ("tasks=4",), "steps": 60, "checkpoint_every": 7}
    whole = train(config("grpo", sums, tmp_path / "whole", **settings))
    stopped = config("grpo", sums, tmp_path / "stopped", **settings)
    process = subprocess.Popen(command(stopped), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    metrics, checkpoint = tmp_path / "stopped" / "metrics.jsonl", tmp_path / "stopped" / "checkpoint.pt"
    deadline = time.monotonic() + 60
    while not (checkpoint.exists() and len(read_metrics(metrics)) > 9):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, sent)
    process.communicate()
    assert process.returncode == (130 if sent is signal.SIGINT else -signal.SIGKILL)
    reached = load_checkpoint(checkpoint).step
    assert 0 < reached < 60, "it was stopped too late for this test to mean anything"
    resumed = train(stopped)
    same(whole, resumed)


def test_a_finished_run_is_not_run_again(sums: str, tmp_path: Path) -> None:
    settings = config("sft", sums, tmp_path / "run", steps=3)
    first = train(settings)
    before = first.checkpoint.stat().st_mtime_ns
    assert train(settings).after == first.after
    assert first.checkpoint.stat().st_mtime_ns == before


def test_a_folder_belongs_to_one_run(sums: str, tmp_path: Path) -> None:
    train(config("sft", sums, tmp_path / "run", steps=2))
    with pytest.raises(StoreError, match=r"another settings, seed;"):
        train(config("sft", sums, tmp_path / "run", steps=2, seed=1, settings=("tasks=3",)))


def test_a_checkpoint_that_cannot_be_written_is_named() -> None:
    tokenizer = CharTokenizer()
    checkpoint = Checkpoint(Transformer.seeded(len(tokenizer), SMALL, 0), tokenizer)
    with pytest.raises(StoreError, match="cannot be written"):
        save_checkpoint(Path("/proc/checkpoint.pt"), checkpoint)


@pytest.mark.parametrize("text", ["[]", "{"])
def test_a_damaged_configuration_is_named(sums: str, tmp_path: Path, text: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(text)
    with pytest.raises(StoreError, match=r"config\.json: .*choose another folder with --out"):
        train(config("sft", sums, tmp_path / "run", steps=1))


def test_steps_without_anything_to_learn_from_are_counted(sums: str, tmp_path: Path) -> None:
    training = train(config("grpo", sums, tmp_path / "run", steps=2, settings=("tasks=2", "group=2")))
    assert training.idle_steps == 2  # a model with random weights solves nothing
    assert "In 2 steps there was nothing to learn from" in training.report.read_text()
    records = read_metrics(training.folder / "metrics.jsonl")
    assert [record.update for record in records] == [None] * 3
    assert records[-1].measures["useful_groups"] == 0


class Recorded:
    """A `Source` whose episodes have been played already."""

    def __init__(self, *rewards: tuple[float, ...]) -> None:
        self.rewards = list(rewards)

    def draw(self, count: int) -> list[Task]:
        return [Task(id=f"{i}", prompt="?", answer="1") for i in range(count)]

    def play(self, tasks: Sequence[Task], copies: int) -> list[Group]:
        return [
            Group(task, tuple(self.episode(task, reward, i) for i, reward in enumerate(self.rewards.pop(0))))
            for task in tasks
        ]

    def demonstrate(self, task: Task) -> Sample:
        return demonstration((2,), (3, 1))

    def episode(self, task: Task, reward: float, index: int) -> Trajectory:
        reply = Reply(text="", prompt=(2,), tokens=(3 + index,), logprobs=(-1.0,))
        score = Score.ungraded("broken") if math.isnan(reward) else Score(reward)
        stop = Stop.UNGRADED if math.isnan(reward) else Stop.ANSWERED
        return Trajectory(task=task, steps=(Step(observation="?", reply=reply, score=score),), stop=stop)


def test_what_was_not_graded_trains_nothing_and_is_no_failure() -> None:
    material = GRPO(tasks=1, group=4).gather(Recorded((1.0, math.nan, 0.0, 0.0)))
    assert [sample.tokens for sample in material.samples] == [(3,), (5,), (6,)]
    assert [sample.advantages[0] for sample in material.samples] == pytest.approx(
        [1.1547, -0.57735, -0.57735], abs=1e-4
    )
    assert material.measures["reward"] == pytest.approx(1 / 3)
    assert material.measures["ungraded"] == 1


def test_groups_that_teach_nothing_are_left_out_and_replaced() -> None:
    nothing = ((0.0, 0.0), (math.nan, 1.0))
    once = GRPO(tasks=2, group=2).gather(Recorded(*nothing))
    assert once.samples == ()
    again = GRPO(tasks=2, group=2, rounds=3).gather(Recorded(*nothing, (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)))
    assert len(again.samples) == 4
    assert (again.measures["groups"], again.measures["useful_groups"]) == (5, 2)
    nobody = GRPO(tasks=1, group=2).gather(Recorded((math.nan, math.nan)))
    assert nobody.samples == ()
    assert math.isnan(nobody.measures["reward"])


def test_an_update_with_a_gradient_that_is_not_finite_is_skipped() -> None:
    recipe, model = GRPO(), Transformer.seeded(12, SMALL, 0)
    learner = Learner(model, recipe, TrainConfig(recipe="grpo"))
    before = [parameter.clone() for parameter in model.parameters()]
    update = learner.learn([replace(demonstration((2,), (3,)), advantages=(math.inf,), term=Term.POLICY)], 1, last=1)
    assert update.skipped == 1
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_learning_rate_rises_and_falls() -> None:
    settings = TrainConfig(recipe="sft", steps=100, warmup=10, cooldown=4)
    learner = Learner(Transformer.seeded(12, SMALL, 0), GRPO(learning_rate=1.0), settings)
    rates = [learner.rate(step, 100) for step in (1, 5, 10, 96, 97, 98, 100)]
    assert rates == pytest.approx([0.1, 0.5, 1.0, 1.0, 0.8, 0.6, 0.2])


def test_a_run_cools_down_and_ends_after_its_target(sums: str, tmp_path: Path) -> None:
    settings = {"target": 0.0, "cooldown": 3, "evaluate_every": 2}
    training = train(config("sft", sums, tmp_path / "run", **settings))
    assert training.steps == 3  # reached before the first step
    assert [record.step for record in read_metrics(training.folder / "metrics.jsonl") if record.held_out] == [0, 2, 3]
    assert load_checkpoint(training.checkpoint).step == 3
    assert train(config("sft", sums, tmp_path / "run", **settings)).steps == 3


def test_a_run_that_has_nothing_to_do_leaves_its_model(sums: str, tmp_path: Path) -> None:
    training = train(config("sft", sums, tmp_path / "run", target=0.0))
    assert training.steps == 0
    assert load_checkpoint(training.checkpoint).step == 0
    assert train(config("sft", sums, tmp_path / "run", target=0.0)).steps == 0


def test_the_plan_counts_right(sums: str, tmp_path: Path) -> None:
    settings = config("grpo", sums, tmp_path, steps=45)
    plan = make_plan(settings, GRPO(), SMALL)
    model = Transformer.seeded(len(CharTokenizer()), SMALL, 0)
    assert plan.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert (plan.rollouts, plan.evaluation_rollouts) == (45 * 32 * 8, 4 * 20)  # steps 0, 20, 40, 45
    assert plan.weights_bytes == 16 * plan.parameters
    assert plan.critic_bytes == plan.frozen_bytes == 0


def test_the_plan_counts_every_model(sums: str, started: Path, tmp_path: Path) -> None:
    settings = config("grpo", sums, tmp_path, steps=1, max_batch=10_000)
    plain, critic = (make_plan(settings, make_recipe(name), SMALL) for name in ("grpo", "ppo"))
    assert critic.critic_bytes == plain.weights_bytes == critic.weights_bytes
    reference = make_plan(settings, make_recipe("grpo", ("kl=0.1",)), SMALL)
    assert reference.frozen_bytes == 4 * plain.parameters
    larger = ModelConfig(width=64, layers=3, heads=4)
    solved = make_plan(replace(settings, solver=started), make_recipe("a2d-decomposer", ("kl=0.1",)), larger)
    assert solved.frozen_bytes == 4 * (solved.parameters + plain.parameters)
    shown = make_plan(replace(settings, evaluated_in="stepgym/Decompose-v0"), make_recipe("grpo"), SMALL)
    assert shown.frozen_bytes == 4 * plain.parameters
    assert make_plan(settings, make_recipe("a2d-decomposer"), SMALL).frozen_bytes == 4 * plain.parameters
    halved = make_plan(replace(settings, precision="bfloat16"), GRPO(), SMALL)
    assert halved.weights_bytes == plain.weights_bytes + 2 * plain.parameters


def test_guided_recipes_are_planned_to_play_twice(tmp_path: Path) -> None:
    path = tmp_path / "helped.jsonl"
    path.write_text(Task(id="a", prompt="1+1=", answer="2", hint="two", subquestions=("1+1=",)).to_json() + "\n")
    settings = config("grpo", str(path), tmp_path, steps=1)
    plain = make_plan(settings, make_recipe("grpo"), SMALL).rollouts
    for name in ("guide-grpo", "guide-ppo", "a2d-reasoner"):
        assert make_plan(settings, make_recipe(name), SMALL).rollouts == 2 * plain


def test_a_demonstration_that_the_model_cannot_read_is_named(sums: str, tmp_path: Path) -> None:
    cramped = ModelConfig(width=32, layers=1, heads=2, context=5)
    with pytest.raises(TaskError, match=r"task '\d+': problem and solution have 8 tokens .* context of 5"):
        train(config("sft", sums, tmp_path / "run", model=cramped))


def test_settings_go_both_ways() -> None:
    recipe = make_recipe("grpo", ("group=16", "clip-high=0.3", "scale=false", "normalise=sequence"))
    assert recipe == GRPO(group=16, clip_high=0.3, scale=False, normalise=recipe.normalise)
    assert make_recipe("grpo", [f"{name}={value}" for name, value in settings_of(recipe).items()]) == recipe


@pytest.mark.parametrize("name", ["weight_decay", "rehearsal", "max_gradient", "target"])
def test_numbers_must_be_finite(name: str) -> None:
    with pytest.raises(ConfigError, match="finite"):
        TrainConfig(recipe="grpo", **{name: math.nan})


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({"recipe": "gpro"}, UnknownNameError, "did you mean 'grpo'"),
        ({"engine": "openrlhf"}, StepgymError, "the engine openrlhf"),
        ({"engine": "locale"}, UnknownNameError, "did you mean 'local'"),
        ({"settings": ("gruop=4",)}, ConfigError, "did you mean 'group'"),
        ({"settings": ("group=many",)}, ConfigError, "settings of grpo.group: expected a whole number"),
        ({"settings": ("group",)}, ConfigError, "name=value"),
        ({"settings": ("group=1",)}, ConfigError, "at least 2"),
        ({"held_out": ("additoin",)}, StepgymError, "did you mean 'addition'"),
        ({"start": Path("nowhere")}, StoreError, "no checkpoint at"),
        ({"env_settings": ("walk=true",)}, ConfigError, "stepgym/Math-v0 has no setting 'walk'"),
        ({"recipe": "holistic", "env_settings": ("think=no",)}, ConfigError, "think must be bool, not 'no'"),
        ({"recipe": "a2d-decomposer", "env_settings": ("tries=four",)}, ConfigError, "tries must be int, not 'four'"),
        ({"env_settings": ("reward=maths",)}, UnknownNameError, "did you mean 'math'"),
        ({"recipe": "a2d-decomposer", "env_settings": ("tries=2", "k=3")}, ConfigError, "k must lie between 1 and"),
        ({"recipe": "a2d-decomposer", "instructions": "Think."}, ConfigError, "instructions means nothing in"),
        ({"solver": Path("nowhere")}, ConfigError, "solver means nothing in stepgym/Math-v0"),
        ({"recipe": "a2d-decomposer", "solver": Path("nowhere")}, StoreError, "no checkpoint at"),
        ({"device": "cuda:99"}, ConfigError, "device 'cuda:99' cannot be used"),
    ],
)
def test_bad_settings_are_named(
    settings: dict[str, object], error: type[Exception], says: str, sums: str, tmp_path: Path
) -> None:
    recipe = str(settings.pop("recipe", "grpo"))
    with pytest.raises(error, match=says):
        train(config(recipe, sums, tmp_path / "run", **settings))
    assert not (tmp_path / "run").exists()


def test_tasks_that_a_recipe_cannot_learn_from_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "tasks.jsonl"
    path.write_text(Task(id="bare", prompt="1+1=", answer="2").to_json() + "\n")
    with pytest.raises(TaskError, match="'bare' has no expert steps"):
        train(config("sft", str(path), tmp_path / "run"))


def test_the_command_plans_without_starting(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "stepgym.cli", "train", "grpo", "--plan", "--out", str(tmp_path / "run")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "25,600 to learn from" in done.stdout
    assert not (tmp_path / "run").exists()


def test_the_demo_runs(tmp_path: Path) -> None:
    demo = Path(__file__).parents[1] / "examples" / "demo.py"
    words = [sys.executable, str(demo), "--smoke", "--out", str(tmp_path / "demo")]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    named = [line.split()[-1] for line in done.stdout.split("Made in")[1].splitlines()[2:]]
    assert len(named) == 5
    assert all(Path(name).stat().st_size > 0 for name in named)
