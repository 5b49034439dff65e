"""OpenRLHF's trainers with ours on top, on a real DeepSpeed engine, without Ray and vLLM; in one process or several.

    python openrlhf_trainers.py CASES ANSWERS

is one of several processes (RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT), which learn from each of the pickled cases.
"""

from __future__ import annotations

import os
import pickle
import runpy
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from stepgym.trainers.cluster.cpu.shim import install
from stepgym.trainers.cluster.job import Job
from stepgym.trainers.config import TrainConfig
from stepgym.trainers.samples import Sample


@dataclass(frozen=True, kw_only=True)
class Case:
    """Something to learn from."""

    config: TrainConfig
    model: str
    samples: Sequence[Sample]
    critic: dict[str, torch.Tensor] | None = None
    """Weights of the critic; without them the policy learns."""
    stage: int = 2
    precision: str = "fp32"
    learning_rate: float = 1e-3
    ranks: int = 1

    @property
    def job(self) -> Job:
        """As it travels in OpenRLHF's arguments."""
        return Job(config=self.config, model=self.model, solver="", tasks=None)


@dataclass(kw_only=True)
class Answer:
    """What came of it."""

    status: dict[str, float] = field(default_factory=dict)
    gradients: list[dict[str, torch.Tensor]] = field(default_factory=list)
    """Of each update, before it was made, in the policy's names."""
    weights: dict[str, torch.Tensor] = field(default_factory=dict)
    """Afterwards."""
    micro_batches: list[int] = field(default_factory=list)
    """Rows of each."""


def learn(case: Case) -> Answer:
    """Through OpenRLHF's replay buffer, data loader, training step and DeepSpeed's optimiser."""
    trainer = trainer_for(case)
    append(trainer, case)
    answer = Answer()
    model = trainer.actor.model if case.critic is None else trainer.critic
    with recorded(trainer.strategy, model.module, answer.gradients):
        answer.status = trainer.ppo_train(0.0) if case.critic is None else trainer.ppo_train()
    answer.weights = weights_of(model.module, case.stage)
    answer.micro_batches = [len(part.rows) for part in trainer.replay_buffer.micro_batches]
    return answer


def weights_of(module: Any, stage: int) -> dict[str, torch.Tensor]:
    """All of them, wherever ZeRO keeps their parts."""
    import deepspeed

    with deepspeed.zero.GatheredParameters(list(module.parameters()), enabled=stage == 3):
        return {name: weight.detach().float().clone() for name, weight in module.named_parameters()}


def append(trainer: Any, case: Case) -> None:
    """This process's share of the samples, as OpenRLHF's controller deals them."""
    from openrlhf.trainer.ppo_utils.experience import balance_experiences

    from stepgym.trainers.cluster.learning.experience import blank, to_experience

    rows = [to_experience(sample) for sample in case.samples]
    rows += [blank(rows[0])] * (-len(rows) % case.ranks)
    trainer.replay_buffer.append(balance_experiences(rows, trainer.args)[int(os.environ["RANK"])])


def trainer_for(case: Case) -> Any:
    """A policy's, or a critic's."""
    args = arguments(case)
    from openrlhf.utils import get_strategy

    alone()
    strategy = get_strategy(args)
    strategy.setup_distributed()
    return policy_trainer(case, strategy) if case.critic is None else critic_trainer(case, strategy)


def policy_trainer(case: Case, strategy: Any) -> Any:
    """On a model whose weights stay in float32 if they are to."""
    from openrlhf.models import Actor
    from openrlhf.trainer.ray.ppo_actor import ActorPPOTrainer

    from stepgym.trainers.cluster.learning.policy_actor import RecipePolicyTrainer

    actor = Actor(pretrained(case))
    actor.packing_samples = False
    actor, optimiser, scheduler = strategy.prepare((actor, optimisation(strategy.args.actor)))
    trainer = ActorPPOTrainer(
        strategy, actor, None, optimiser, scheduler, vllm_engines=None, dataloader_pin_memory=False
    )
    return RecipePolicyTrainer.of(trainer, case.job)


def critic_trainer(case: Case, strategy: Any) -> Any:
    """With the weights of the case."""
    from openrlhf.models import get_llm_for_sequence_regression
    from openrlhf.trainer.ray.ppo_critic import CriticPPOTrainer

    from stepgym.trainers.cluster.learning.critic_actor import RecipeCriticTrainer

    critic = get_llm_for_sequence_regression(case.model, "critic", attn_implementation="eager")
    critic = critic.float() if case.precision == "fp32" else critic
    critic.load_state_dict(case.critic)
    critic, optimiser, scheduler = strategy.prepare((critic, optimisation(strategy.args.critic)))
    trainer = CriticPPOTrainer(strategy, critic, optimiser, scheduler, dataloader_pin_memory=False)
    return RecipeCriticTrainer.of(trainer, case.job)


def pretrained(case: Case) -> Any:
    """The causal model of the case."""
    from transformers import AutoModelForCausalLM

    dtype = torch.float32 if case.precision == "fp32" else torch.bfloat16
    return AutoModelForCausalLM.from_pretrained(case.model, dtype=dtype, attn_implementation="eager")


def optimisation(of: Any) -> dict[str, Any]:
    """As OpenRLHF's actors make it of their options."""
    names = ("optim", "lr_scheduler", "lr_warmup_ratio", "min_lr_ratio", "max_norm")
    made = {name: getattr(of, name) for name in names}
    return {**made, "muon": vars(of.muon), "adam": vars(of.adam), "scheduler_steps": 10}


def arguments(case: Case) -> Any:
    """OpenRLHF's own, by its own parser, which is stopped before it checks and trains."""
    install()
    import openrlhf.utils.config as config

    given = {
        "actor.model_name_or_path": case.model,
        "actor.num_gpus_per_node": case.ranks,
        "ds.attn_implementation": "eager",
        "ds.zero_stage": case.stage,
        "train.max_tokens_per_gpu": case.config.batch_tokens,
        "vllm.num_engines": 0,
        **{
            f"{model}.{name}": value
            for model in ("actor", "critic")
            for name, value in (
                ("adam.lr", case.learning_rate),
                ("max_norm", case.config.max_gradient),
                ("lr_scheduler", "constant"),
                ("lr_warmup_ratio", 0),
            )
        },
    }
    flags = [text for name, value in given.items() for text in (f"--{name}", str(value))]
    made: list[Any] = []
    original, argv = config.hierarchize, sys.argv

    def stop(parsed: Any) -> None:
        made.append(original(parsed))
        raise KeyboardInterrupt

    config.hierarchize, sys.argv = stop, ["train", *flags, "--train.dynamic_batch_enable"]
    try:
        runpy.run_module("openrlhf.cli.train_ppo_ray", run_name="__main__", alter_sys=True)
    except KeyboardInterrupt:
        pass
    finally:
        config.hierarchize, sys.argv = original, argv
    made[0].actor.eps_clip_low_high = (0.2, 0.2)
    made[0].ds.param_dtype = case.precision  # float32 is not among the flag's choices
    made[0].ds.packing_samples = False
    made[0].stepgym = case.job
    return made[0]


def alone() -> None:
    """Be the only process, if nothing else was said."""
    if "RANK" not in os.environ:
        os.environ.update(world(0, 1, free_port()))


def world(rank: int, ranks: int, port: int) -> dict[str, str]:
    """Environment variables of one of several processes."""
    named = {"RANK": rank, "LOCAL_RANK": 0, "WORLD_SIZE": ranks, "MASTER_PORT": port}
    return {"MASTER_ADDR": "127.0.0.1", **{name: str(value) for name, value in named.items()}}


def free_port() -> int:
    """At this moment."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextmanager
def recorded(strategy: Any, module: Any, gradients: list[dict[str, torch.Tensor]]) -> Iterator[None]:
    """Keep the gradients that DeepSpeed has added up before it steps."""
    from deepspeed.utils import safe_get_full_grad

    step = strategy.optimizer_step

    def keep_and_step(*args: Any, **options: Any) -> None:
        found = {name: safe_get_full_grad(parameter) for name, parameter in module.named_parameters()}
        gradients.append({name: gradient.detach().float().clone() for name, gradient in found.items()})
        step(*args, **options)

    strategy.optimizer_step = keep_and_step
    try:
        yield
    finally:
        del strategy.optimizer_step


def learn_in_processes(cases: Sequence[Case], folder: Path, ranks: int) -> list[Answer]:
    """The first process's answer to each case."""
    asked, answers, port = folder / "cases", folder / "answers", free_port()
    asked.write_bytes(pickle.dumps([vars(case) for case in cases]))
    command = [sys.executable, __file__, str(asked), str(answers)]
    started = [
        subprocess.Popen(command, env=os.environ | world(rank, ranks, port), stderr=subprocess.STDOUT,
                         stdout=(folder / f"log{rank}").open("wb"))
        for rank in range(ranks)
    ]  # fmt: skip
    try:
        ended = [process.wait(240) for process in started]
    finally:
        for process in started:
            process.kill()
    logs = "\n".join((folder / f"log{rank}").read_text(errors="replace")[-3000:] for rank in range(ranks))
    assert ended == [0] * ranks, logs
    return [Answer(**answer) for answer in pickle.loads(answers.read_bytes())]


if __name__ == "__main__":
    learned = [vars(learn(Case(**case))) for case in pickle.loads(Path(sys.argv[1]).read_bytes())]
    if os.environ["RANK"] == "0":
        Path(sys.argv[2]).write_bytes(pickle.dumps(learned))
