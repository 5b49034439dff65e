"""A run as OpenRLHF's flags, and what watches over it; without OpenRLHF."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stepgym.errors import ConfigError, StoreError
from stepgym.records import Task
from stepgym.store import JsonLines
from stepgym.trainers import TrainConfig
from stepgym.trainers.cluster.config import ClusterConfig
from stepgym.trainers.cluster.failure import Failure, read_failure
from stepgym.trainers.cluster.flags import openrlhf_flags
from stepgym.trainers.cluster.following import Following
from stepgym.trainers.cluster.job import TaskTable
from stepgym.trainers.cluster.order import Order
from stepgym.trainers.cluster.scratch import Scratch
from stepgym.trainers.cluster.session import end_session, members
from stepgym.trainers.making import make_recipe
from stepgym.trainers.metrics import StepRecord
from stepgym.trainers.training_folder import TrainingFolder

TASK = Task(id="1", prompt="1+1=", answer="2", hint="Count.", meta={"level": 1})


def order(recipe: str = "grpo", *settings: str, cluster: dict[str, Any] | None = None, **more: Any) -> Order:
    given: dict[str, Any] = {"device": "cuda", "out": Path("/runs/one"), "steps": 50}
    config = TrainConfig(
        recipe=recipe, settings=settings, engine="openrlhf", cluster=ClusterConfig(**cluster or {}), **given | more
    )
    return Order(
        config=config,
        model="/models/some",
        solver="",
        context=4096,
        tasks=TaskTable(training=(TASK,), held_out=(TASK,), rehearsal=()),
    )


def flags(given: Order) -> dict[str, list[str]]:
    """Values by name."""
    found: dict[str, list[str]] = {}
    for word in openrlhf_flags(given):
        if word.startswith("--"):
            name = word.removeprefix("--")
            assert name not in found, name
            found[name] = []
        else:
            found[name].append(word)
    return found


def test_settings_become_flags() -> None:
    given = flags(
        order(
            "grpo",
            "tasks=32",
            "group=8",
            "rounds=1",
            "learning_rate=5e-7",
            "epochs=2",
            "minibatches=4",
            warmup=5,
            weight_decay=0.1,
            max_gradient=0.5,
            max_tokens=1024,
            batch_tokens=30_000,
            evaluate_every=7,
            checkpoint_every=3,
            seed=11,
            cluster={"nodes": 2, "gpus": 4, "engines": 3, "tensor_parallel": 2, "zero": 3, "checkpointing": True},
        )
    )
    assert given["actor.model_name_or_path"] == ["/models/some"]
    assert (given["actor.num_nodes"], given["actor.num_gpus_per_node"]) == (["2"], ["4"])
    assert (given["vllm.num_engines"], given["vllm.tensor_parallel_size"]) == (["3"], ["2"])
    assert float(given["actor.adam.lr"][0]) == 5e-7
    assert given["actor.lr_scheduler"] == ["constant_with_warmup"]
    assert float(given["actor.lr_warmup_ratio"][0]) == 5 / 50
    assert (given["actor.adam.weight_decay"], given["actor.max_norm"]) == (["0.1"], ["0.5"])
    assert (given["ds.zero_stage"], given["actor.gradient_checkpointing_enable"]) == (["3"], [])
    assert given["train.max_tokens_per_gpu"] == ["30000"]
    assert (given["eval.steps"], given["ckpt.save_steps"], given["train.seed"]) == (["7"], ["3"], ["11"])
    assert (given["data.max_len"], given["rollout.max_new_tokens"]) == (["4096"], ["1024"])
    assert given["train.batch_size"] == ["256"]
    assert given["algo.advantage.estimator"] == ["reinforce"]
    assert "critic.adam.lr" not in given
    assert given["ckpt.path"] == ["/runs/one/openrlhf/checkpoints"]
    assert Path(given["train.agent_func_path"][0]).name == "agent.py"


def test_batches_are_a_multiple_of_the_processes() -> None:
    """DeepSpeed refuses others."""
    given = flags(order("grpo", "tasks=5", "group=2", "rounds=1", cluster={"nodes": 1, "gpus": 4}))
    assert given["train.batch_size"] == given["rollout.batch_size"] == ["12"]
    assert flags(order("sft", cluster={"gpus": 8}))["train.batch_size"] == ["8"]


def test_a_critic_and_a_reference_are_made_where_the_recipe_has_them() -> None:
    with_critic = flags(order("ppo", "critic_learning_rate=9e-6"))
    assert with_critic["algo.advantage.estimator"] == ["gae"]
    assert with_critic["critic.adam.lr"] == ["9e-06"]
    assert flags(order("grpo"))["algo.kl.init_coef"] == ["0.0"]
    assert flags(order("grpo", "kl=0.01"))["algo.kl.init_coef"] == ["0.01"]
    assert "algo.kl.use_loss" not in flags(order("grpo", "kl=0.01"))  # the recipe adds it


def test_colocated_parts_sleep_and_asynchronous_ones_do_not() -> None:
    together = flags(order(cluster={"colocate": True}))
    assert {"train.colocate_all", "vllm.enable_sleep", "ds.enable_sleep"} <= together.keys()
    apart = flags(order(cluster={"asynchronous": True, "partial": True, "queue": 2}))
    assert {"train.async_enable", "train.partial_rollout_enable"} <= apart.keys()
    assert apart["train.async_queue_size"] == ["2"]
    assert not {"train.colocate_all", "vllm.enable_sleep", "ds.enable_sleep"} & apart.keys()


def test_without_gpus_nothing_needs_cuda() -> None:
    given = flags(order(device="cpu", cluster={"colocate": True}))
    assert given["vllm.sync_backend"] == ["gloo"]
    assert "vllm.enforce_eager" in given
    assert not {"vllm.enable_sleep", "ds.enable_sleep"} & given.keys()


def test_a_persons_flags_win() -> None:
    said = ("ds.packing_samples=false", "actor.adam.betas=0.9 0.95", "ckpt.max_num=7", "ds.lora.rank=8")
    given = flags(order(cluster={"flags": (*said, "logger.wandb.run_name='two words'")}))
    assert "ds.packing_samples" not in given
    assert given["actor.adam.betas"] == ["0.9", "0.95"]
    assert given["ckpt.max_num"] == ["7"]
    assert given["ds.lora.rank"] == ["8"]
    assert given["logger.wandb.run_name"] == ["two words"]
    with pytest.raises(ConfigError, match="expected name=value"):
        flags(order(cluster={"flags": ("ds.zero_stage",)}))


def test_an_order_is_read_as_it_was_written(tmp_path: Path) -> None:
    given = order("guide-grpo", "kl=0.01", cluster={"flags": ("a=b",), "python": Path("/usr/bin/python3")})
    given.write(tmp_path / "order.json")
    assert Order.read(tmp_path / "order.json") == given


def test_what_may_change_between_starts(tmp_path: Path) -> None:
    first = replace(order(out=tmp_path).config)
    folder, recipe = TrainingFolder(tmp_path), make_recipe("grpo", ())
    folder.claim(first, recipe)
    folder.claim(replace(first, cluster=ClusterConfig(engines=2, episodes=3, restarts=9, address="auto")), recipe)
    for other in (ClusterConfig(gpus=2), ClusterConfig(flags=("actor.adam.lr=1",)), ClusterConfig(asynchronous=True)):
        with pytest.raises(StoreError, match="a run with another cluster"):
            folder.claim(replace(first, cluster=other), recipe)
    with pytest.raises(StoreError, match="a run with another engine"):
        folder.claim(replace(first, engine="local"), recipe)


@pytest.mark.parametrize(
    ("said", "code", "cause", "final"),
    [
        (
            "\x1b[36m(RolloutActor pid=5)\x1b[0m noise\nTraceback (most recent call last):\n"
            "ray.exceptions.RayTaskError(OutOfMemoryError): \x1b[36mray::RecipePolicyActor.fit()\x1b[39m\n"
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB.\nmore noise\n",
            1,
            "OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB",
            False,
        ),
        (
            "stepgym.errors.TaskError: task '7': problem and solution have 900 tokens together\n",
            1,
            "task '7': problem and solution have 900 tokens together",
            True,
        ),
        (
            "ray.exceptions.ActorDiedError: The actor died unexpectedly before finishing this task.\n"
            "\tclass_name: RolloutActor\n\tpid: 7\n",
            1,
            "RolloutActor: The actor died unexpectedly before finishing this task",
            False,
        ),
        ("\x1b[36m(pid=3)\x1b[0m so far so good\n", -9, "the process that ran OpenRLHF was killed by SIGKILL", False),
        ("train_ppo_ray: error: what\n\n", 2, "OpenRLHF ended with 2: train_ppo_ray: error: what", False),
        ("", 1, "OpenRLHF ended with 1: it said nothing", False),
    ],
)
def test_the_cause_is_found_in_the_log(said: str, code: int, cause: str, final: bool, tmp_path: Path) -> None:
    log = tmp_path / "log"
    before = "ValueError: of the start before\n"
    log.write_text(before + said)
    assert read_failure(log, len(before), code) == Failure(cause, final)


def test_steps_are_followed_as_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    following = Following(path)
    assert list(following.records()) == []
    with JsonLines(path) as lines:
        lines.append(StepRecord(step=0))
        lines.append(StepRecord(step=1))
        assert [record.step for record in following.records()] == [0, 1]
        assert list(following.records()) == []
        with path.open("ab") as file:
            file.write(b'{"step": 2')
        assert list(following.records()) == []
        with path.open("ab") as file:
            file.write(b"}\n")
        assert [record.step for record in following.records()] == [2]
    anew = tmp_path / "anew"
    anew.write_text(json.dumps({"step": 0}) + "\n")
    anew.replace(path)
    assert [record.step for record in following.records()] == [0]


def test_a_session_ends_with_all_that_it_started() -> None:
    """Those too that do not heed a polite request."""
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(600)"
    leader = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {stubborn!r}]).wait()"
    process = subprocess.Popen(
        [sys.executable, "-c", leader], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    assert len(members(process.pid)) == 2
    started = time.monotonic()
    end_session(process)
    assert time.monotonic() - started < 10
    assert members(process.pid) == []
    process.stdout.close()


@pytest.mark.parametrize("length", [22, 23, 80])
def test_a_start_has_a_folder_whose_sockets_have_short_enough_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    """Wherever temporary files go; it is removed, but for what Ray logged."""
    place = Path("/tmp") / f"{os.getpid():x}".ljust(length - len("/tmp/"), "-")
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    try:
        with Scratch() as scratch:
            session = scratch.path / "ray" / "session_2026-11-21_12-39-34_782935_4194304"
            assert len(f"{session}/sockets/plasma_store") <= 107
            assert (scratch.path.parent == place) == (length <= 22)
            for said in ("first", "last"):
                (session / "logs").mkdir(parents=True)
                (session / "logs" / "raylet.out").write_text(said)
                scratch.keep_logs(tmp_path / "ray")
        assert not scratch.path.exists()
    finally:
        place.rmdir()
    assert (tmp_path / "ray" / "raylet.out").read_text() == "last"
