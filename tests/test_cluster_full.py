"""The cluster engine, whole: OpenRLHF's own command with Ray, DeepSpeed and vLLM, on CPUs, for every recipe."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip(
    "openrlhf", reason="needs OpenRLHF, DeepSpeed and vLLM; `make test-cluster` runs this in an environment of its own"
)

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from stepgym.trainers import TrainConfig, Training, TransformersPolicy, train
from stepgym.trainers.cluster.config import ClusterConfig
from stepgym.trainers.cluster.scratch import Scratch
from stepgym.trainers.cluster.session import members
from stepgym.trainers.curriculum import read_curriculum, run_curriculum
from stepgym.trainers.metrics import StepRecord, read_metrics
from stepgym.trainers.samples import Term
from tests.cluster_rows import LearnedRow, learned_rows
from tests.cluster_world import World, make_world
from tests.tiny_qwen import make_tiny_qwen

USUAL = ("tasks=6", "group=4", "rounds=1", "learning_rate=5e-4")
HINT = "template={prompt}|{hint}\n"
SPIES = Path(__file__).parent / "spying"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("world"))


HEAD = """
import sys, ray
from stepgym.trainers.cluster.cpu import shim
shim.install()
ray.init(address="local", num_gpus=4, num_cpus=24, include_dashboard=False, object_store_memory=500_000_000)
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def shared() -> Iterator[ClusterConfig]:
    """A Ray cluster that runs already. Jobs that join it leave nothing in it."""
    with Scratch() as scratch:
        yield from joined(os.environ | scratch.variables)


def joined(environment: Mapping[str, str]) -> Iterator[ClusterConfig]:
    head = subprocess.Popen(
        [sys.executable, "-P", "-c", HEAD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    assert head.stdout is not None
    assert head.stdin is not None
    yield ClusterConfig(address=head.stdout.readline().strip(), gpus=1, engines=1)
    deadline = time.monotonic() + 30
    while (left := of_a_job(head.pid)) and time.monotonic() < deadline:
        time.sleep(0.2)
    head.stdin.close()
    head.wait(60)
    head.stdout.close()
    nothing_is_left(head.pid)
    assert left == []


@pytest.fixture
def spied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the rows that reach the loss are written down."""
    folder = tmp_path / "rows"
    folder.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(SPIES))
    monkeypatch.setenv("STEPGYM_SPIED", str(folder))
    return folder


def config(world: World, recipe: str, out: Path, *settings: str, steps: int = 3, **more: Any) -> TrainConfig:
    usual: dict[str, Any] = {
        "engine": "openrlhf",
        "start": world.model,
        "tasks": (str(world.asked),),
        "held_out": (str(world.asked),),
        "max_tokens": 18,
        "warmup": 0,
        "evaluate_every": steps,
        "checkpoint_every": steps,
        "cluster": ClusterConfig(gpus=1, engines=1),
    }
    return TrainConfig(recipe=recipe, out=out, settings=settings, steps=steps, **usual | more)


def records_of(training: Training) -> list[StepRecord]:
    """Without that of the model before training."""
    return read_metrics(training.folder / "metrics.jsonl")[1:]


def log_of(training: Training) -> str:
    return (training.folder / "openrlhf.log").read_text(errors="replace")


def nothing_is_left(pid: int) -> None:
    deadline = time.monotonic() + 20
    while members(pid) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert members(pid) == []


class Reader:
    """The model that a run started from, and its tokenizer."""

    def __init__(self, model: Path) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(model)
        self.model = AutoModelForCausalLM.from_pretrained(model)

    def text(self, tokens: tuple[int, ...]) -> str:
        text: str = self.tokenizer.decode(tokens)
        return text

    def asked(self, row: LearnedRow) -> str:
        """What the policy was told."""
        return self.text(row.context).partition("user\n")[2].partition("<|im_end|>")[0]

    def prompt(self, said: str) -> tuple[int, ...]:
        chat = [{"role": "user", "content": said}]
        text = self.tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        return tuple(self.tokenizer(text, add_special_tokens=False).input_ids)

    @torch.no_grad()
    def apart(self, row: LearnedRow, context: tuple[int, ...]) -> float:
        """Largest difference between the row's old log-probabilities and the model's in `context`."""
        tokens = torch.tensor([context + row.reply])
        logprobs = self.model(tokens).logits[0, len(context) - 1 : -1].float().log_softmax(-1)
        new = logprobs.gather(1, tokens[0, len(context) :, None])[:, 0]
        return float((new - torch.tensor(row.old_logprobs)).abs().max())


def test_reward_rises(world: World, tmp_path: Path) -> None:
    """Imitation left the model undecided; the verdicts tell it what is right. Everything a run leaves is there."""
    given = config(
        world, "grpo", tmp_path / "run", "tasks=6", "group=8", "rounds=1", "learning_rate=1e-3", "kl=0.001", steps=12
    )
    training = train(given)
    records = records_of(training)
    rewards = [record.measures["reward"] for record in records]
    assert sum(rewards[:2]) / 2 < 0.6 < 0.8 < sum(rewards[-4:]) / 4
    assert training.before.reward < 0.5 < 0.8 < training.after.reward
    assert training.steps == len(records) == 12
    for record in records:  # the engine samples with the weights that the trainer has
        if record.update is not None:
            assert abs(record.update.measures["vllm_kl"]) < 0.01
    assert (training.checkpoint / "config.json").exists()
    assert training.curve.exists()
    assert training.report.exists()
    assert {path.name for path in (training.folder / "evaluations").iterdir()} == {"step-0", "step-12"}
    assert list((training.folder / "tensorboard").rglob("events.*"))
    assert "stepgym/filter_rate" in log_of(training)
    TransformersPolicy(str(training.checkpoint), device="cpu", dtype="float32", max_batch=1)
    started = time.monotonic()
    again = train(given)
    assert time.monotonic() - started < 20
    assert (again.steps, again.after) == (training.steps, training.after)


def test_guide_learns_without_the_hint_what_it_sampled_with_it(world: World, tmp_path: Path, spied: Path) -> None:
    training = train(config(world, "guide-grpo", tmp_path / "run", *USUAL, "kl=0.001", HINT))
    records = records_of(training)
    assert sum(record.measures["guided_groups"] for record in records) > 0
    assert "stepgym/helped_groups" in log_of(training)
    reader, rows = Reader(world.model), learned_rows(spied)
    helped = [row for row in rows if row.off_policy]
    assert helped
    assert len(helped) < len(rows)
    assert {reader.asked(row) for row in rows} <= {f"{i}+1=" for i in range(9)}
    in_first_step = [row for row in helped if row.batch == 0]
    assert in_first_step
    for row in in_first_step:
        asked = reader.asked(row)
        hinted = reader.prompt(f"{asked}|1. {int(asked[0]) + 1}\n")
        assert reader.prompt(asked) == row.context
        assert reader.apart(row, hinted) < 0.05 < 0.2 < reader.apart(row, row.context)


def test_a2d_reasoner_imitates_its_successes_in_another_prompt(world: World, tmp_path: Path, spied: Path) -> None:
    settings = ("template={prompt}|{subquestions}\n", "diversity={prompt}!")
    training = train(config(world, "a2d-reasoner", tmp_path / "run", *USUAL, *settings))
    records = records_of(training)
    distilled = sum(record.measures["distilled"] for record in records)
    assert distilled > 0
    reader, rows = Reader(world.model), learned_rows(spied)
    imitated = [row for row in rows if row.term is Term.DISTILLATION]
    assert len(imitated) == distilled
    for row in imitated:
        asked = reader.asked(row)
        assert asked.endswith("=!")
        assert reader.text(row.reply) == f"\\boxed{{{int(asked[0]) + 1}}}<|im_end|>"
    assert any(record.update.measures["distillation"] > 0 for record in records if record.update is not None)


def test_a2d_decomposer_asks_frozen_solvers(world: World, tmp_path: Path, shared: ClusterConfig) -> None:
    stage = ("template=D{prompt}", "helped_template={prompt}|{subquestions}\n", "tries=2")
    training = train(config(world, "a2d-decomposer", tmp_path / "run", *USUAL, env_settings=stage, cluster=shared))
    records = records_of(training)
    assert any(record.update is not None for record in records)
    assert any(record.measures["reward"] > 0 for record in records)
    assert training.ungraded == ""


@pytest.mark.parametrize("recipe", ["srl", "holistic"])
def test_groups_of_equal_similarity_are_dropped(
    world: World, tmp_path: Path, shared: ClusterConfig, recipe: str
) -> None:
    """Trained by two processes."""
    settings = ("tasks=6", "group=4", "rounds=2", "learning_rate=5e-4")
    stage = {"env_settings": ("think=false",), "cluster": replace(shared, gpus=2)}
    training = train(config(world, recipe, tmp_path / "run", *settings, **stage))
    records = records_of(training)
    assert any(record.update is not None for record in records)
    assert sum(record.measures["useful_groups"] for record in records) < sum(r.measures["groups"] for r in records)
    assert "stepgym/filter_rate" in log_of(training)


@pytest.mark.parametrize("recipe", ["ppo", "guide-ppo"])
def test_a_critic_is_trained_beside_the_policy(
    world: World, tmp_path: Path, shared: ClusterConfig, recipe: str
) -> None:
    more = (HINT,) if recipe == "guide-ppo" else ()
    settings = (*USUAL, "epochs=2", "minibatches=2", *more)
    training = train(config(world, recipe, tmp_path / "run", *settings, cluster=shared))
    for record in records_of(training):
        assert record.update is not None
        assert record.update.updates == 4
        assert record.update.measures["value_loss"] > 0
    assert "critic_grad_norm" in log_of(training)
    if more:
        assert sum(record.measures["guided_groups"] for record in records_of(training)) > 0


def test_curriculum_whose_second_stage_plays_ahead(world: World, tmp_path: Path, shared: ClusterConfig) -> None:
    """Imitation, and then GRPO, asynchronous and with replies that weights change in the middle of."""
    file = tmp_path / "curriculum.toml"
    file.write_text(
        f"""
        [common]
        engine = "openrlhf"
        tasks = ["{world.asked}"]
        held_out = ["{world.asked}"]
        start = "{world.model}"
        max_tokens = 18
        warmup = 0
        evaluate_every = 3
        [[stage]]
        recipe = "sft"
        steps = 2
        settings = ["tasks=6", "learning_rate=5e-4"]
        [stage.cluster]
        address = "{shared.address}"
        gpus = 1
        engines = 1
        [[stage]]
        recipe = "grpo"
        steps = 6
        settings = ["tasks=6", "group=4", "rounds=1", "learning_rate=5e-4"]
        [stage.cluster]
        address = "{shared.address}"
        gpus = 1
        engines = 1
        asynchronous = true
        partial = true
        """
    )
    imitated, played = run_curriculum(read_curriculum(file, tmp_path / "out"), tmp_path / "out")
    assert [record.update is not None for record in records_of(imitated)] == [True, True]
    assert played.steps == 6
    assert len(records_of(played)) == 6
    assert sum(record.update is not None for record in records_of(played)) >= 3
    assert (tmp_path / "out" / "report.html").exists()


def test_sandboxes_that_are_killed_cost_their_own_episodes_alone(tmp_path: Path, shared: ClusterConfig) -> None:
    over, killed = threading.Event(), list[int]()
    killer = threading.Thread(target=kill_sandboxes, args=(over, killed))
    killer.start()
    try:
        training = train(
            TrainConfig(
                recipe="grpo",
                engine="openrlhf",
                settings=("tasks=2", "group=4", "rounds=1", "min_std=-1"),
                start=make_tiny_qwen(tmp_path / "model", context=4096),
                tasks=("swe-small",),
                held_out=("addition?level=1&count=2&split=test",),
                env="stepgym/SWE-v0",
                env_settings=("sandbox=namespace",),
                max_steps=3,
                max_tokens=32,
                steps=3,
                out=tmp_path / "run",
                cluster=shared,
            )
        )
    finally:
        over.set()
        killer.join()
    records = records_of(training)
    assert [record.step for record in records] == [1, 2, 3]
    assert killed
    assert 1 <= sum(record.measures["ungraded"] for record in records) <= len(killed)
    assert "SandboxError" in next(record.ungraded_why for record in records if record.ungraded_why)
    assert all(record.update is not None for record in records)  # of what else was played
    assert "going on from the last checkpoint" not in log_of(training)


def kill_sandboxes(over: threading.Event, killed: list[int], most: int = 3) -> None:
    """The first process of a few sandboxes that rollout actors opened, as soon as each is seen."""
    while len(killed) < most and not over.wait(0.02):
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and command_of(int(entry.name)).rstrip().endswith("/_launcher"):
                with suppress(OSError):
                    parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                    if command_of(parent).startswith("ray::RolloutActor") and int(entry.name) not in killed:
                        os.kill(int(entry.name), signal.SIGKILL)
                        killed.append(int(entry.name))
                        break


WAITING = """
import ray, time
from stepgym.trainers.cluster.watching import Watch

@ray.remote
class Engine:
    def ready(self):
        return True

ray.init(address="local", num_cpus=2, include_dashboard=False, object_store_memory=100_000_000)
engine = Engine.remote()
ray.get(engine.ready.remote())
with Watch(every=0.2, grace=0.5):
    time.sleep(1)
    ray.kill(engine)
    time.sleep(600)
"""


def test_who_waits_for_a_dead_actor_is_ended() -> None:
    with Scratch() as scratch:
        command, environment = [sys.executable, "-P", "-c", WAITING], os.environ | scratch.variables
        waited = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert waited.returncode == 1
    assert "ActorDiedError: Engine has died, and the others wait for it" in waited.stderr


STEPS = 30


def test_what_is_killed_goes_on(world: World, tmp_path: Path) -> None:
    """A rollout actor in the middle of a step, the job, and by Ctrl-C or the hard way what watches over it."""
    out = tmp_path / "run"
    words = [sys.executable, "-m", "stepgym.cli", "train", "grpo", "--engine", "openrlhf", "--out", str(out)]
    words += ["--start", str(world.model), "--tasks", str(world.asked), "--held-out", str(world.asked)]
    words += ["--max-tokens", "18", "--warmup", "0", "--evaluate-every", str(STEPS), "--checkpoint-every", "1"]
    words += ["--cluster.gpus", "1", "--cluster.engines", "1", "--steps", str(STEPS)]
    words += ["--settings", *USUAL, "min_std=-1"]
    run = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    until(lambda: done(out) >= 2, run)
    first = job_of(run.pid)
    kill(first, "ray::RolloutActor")
    until(lambda: done(out) >= 4 and job_of(run.pid) != first, run)
    second = job_of(run.pid)
    nothing_is_left(first)
    assert "RolloutActor" in "".join(log.read_text(errors="replace") for log in (out / "openrlhf" / "ray").glob("*.*"))
    os.kill(second, signal.SIGKILL)
    until(lambda: done(out) >= 6 and job_of(run.pid) not in (0, second), run)
    nothing_is_left(second)
    third = job_of(run.pid)
    run.send_signal(signal.SIGINT)
    _, said = run.communicate(timeout=60)
    assert run.returncode == 130
    assert "the same command goes on from the last checkpoint" in said
    assert "SIGKILL" in said
    nothing_is_left(third)
    assert done(out) < STEPS
    orphaning = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    until(lambda: len(members(job_of(orphaning.pid) or -1)) > 6, orphaning)
    orphan = job_of(orphaning.pid)
    orphaning.kill()
    orphaning.communicate()
    nothing_is_left(orphan)
    finished = subprocess.run(words, capture_output=True, text=True, check=True)
    assert f"after {STEPS} steps" in finished.stdout
    lines = [record.step for record in read_metrics(out / "metrics.jsonl")]
    assert lines == list(range(STEPS + 1))
    assert len((out / "metrics.jsonl").read_text().splitlines()) == STEPS + 1
    assert each_start_goes_on_after_its_checkpoint((out / "openrlhf.log").read_text(errors="replace")) >= 4


def each_start_goes_on_after_its_checkpoint(log: str) -> int:
    """How many starts there were; none trained on a step that the weights it began with had seen."""
    starts = log.split("Started a local Ray instance")[1:]
    for start in starts:
        found = re.search(r"checkpoint_states: .*?'global_step': (\d+)", start)
        begun = int(found[1]) if found else 0
        steps = [int(step) for step in re.findall(r"Global step (\d+):", start)]
        assert steps == list(range(begun + 1, begun + 1 + len(steps)))
    return len(starts)


def until(reached: Callable[[], bool], run: subprocess.Popen[str], seconds: float = 400) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert run.poll() is None, run.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def done(out: Path) -> int:
    """The last step that is recorded."""
    records = read_metrics(out / "metrics.jsonl")
    return records[-1].step if records else -1


def job_of(parent: int) -> int:
    """The process that runs OpenRLHF; 0 while there is none."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    launched = [int(pid) for pid in children if "cluster.launch" in command_of(int(pid))]
    return launched[0] if launched else 0


def of_a_job(session: int) -> list[str]:
    """Actors and engines among those processes."""
    commands = map(command_of, members(session))
    return [command for command in commands if re.match("VLLM|ray::(Recipe|Rollout|Reference)", command)]


def kill(session: int, name: str) -> None:
    (pid,) = (pid for pid in members(session) if command_of(pid).startswith(name))
    os.kill(pid, signal.SIGKILL)


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""
