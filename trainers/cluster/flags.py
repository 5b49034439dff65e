"""A stepgym run in the flags of OpenRLHF's ``train_ppo_ray``.

What the recipe decides (advantages, losses, minibatches, which samples are kept) is not among them: our subclasses ask
the recipe. Where OpenRLHF wants a number all the same, it gets one that passes its own checks.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TypeAlias

from stepgym.errors import ConfigError
from stepgym.trainers.cluster.order import Order
from stepgym.trainers.config import TrainConfig
from stepgym.trainers.making import make_recipe
from stepgym.trainers.recipe import CriticRecipe, Recipe
from stepgym.trainers.training_folder import TrainingFolder

Value: TypeAlias = str | int | float | bool | Sequence[float] | Path
"""False leaves a switch out; a sequence is several words."""


def openrlhf_flags(order: Order) -> list[str]:
    """Words for its command line. Those of ``cluster.flags`` win. Raises `ConfigError`."""
    config = order.config
    recipe = make_recipe(config.recipe, config.settings)
    flags: dict[str, Value] = {
        **_models(order, recipe),
        **_learning(config, recipe),
        **_playing(order, recipe),
        **_files(config),
        **(_without_gpus(config) if config.device == "cpu" else {}),
    }
    given = dict(map(_given, config.cluster.flags))
    ours = [_words(name, value) for name, value in flags.items() if name not in given]
    return [*chain.from_iterable(ours), *chain.from_iterable(_text_words(*pair) for pair in given.items())]


def world_size(config: TrainConfig) -> int:
    """Processes that train the policy."""
    return config.cluster.nodes * config.cluster.gpus


def _models(order: Order, recipe: Recipe) -> Mapping[str, Value]:
    cluster = order.config.cluster
    critic = isinstance(recipe, CriticRecipe)
    group = {"num_nodes": cluster.nodes, "num_gpus_per_node": cluster.gpus}
    return {
        "actor.model_name_or_path": order.model,
        **{f"{model}.{name}": value for model in ("actor", "critic", "ref") for name, value in group.items()},
        "algo.advantage.estimator": "gae" if critic else "reinforce",  # gae makes a critic
        "algo.kl.init_coef": getattr(recipe, "kl", 0.0),  # more than 0 makes a reference model; the loss adds the term
        "actor.gradient_checkpointing_enable": cluster.checkpointing,
        "ds.zero_stage": cluster.zero,
        "ds.adam_offload": cluster.offload,
        "ds.param_dtype": "bf16",
        "ds.packing_samples": True,
        "train.colocate_all": cluster.colocate,
        "ds.enable_sleep": cluster.colocate,
    }


def _learning(config: TrainConfig, recipe: Recipe) -> Mapping[str, Value]:
    rates = {"actor": recipe.learning_rate}
    if isinstance(recipe, CriticRecipe):
        rates["critic"] = recipe.critic_learning_rate
    world = world_size(config)
    rows = -(-max(recipe.rollouts, 1) // world) * world  # DeepSpeed wants a multiple; ours decides by itself
    optimiser: dict[str, Value] = {}
    for model, rate in rates.items():
        optimiser |= {
            f"{model}.adam.lr": rate,
            f"{model}.adam.weight_decay": config.weight_decay,
            f"{model}.lr_scheduler": "constant_with_warmup",
            f"{model}.lr_warmup_ratio": config.warmup / config.steps,
            f"{model}.max_norm": config.max_gradient,
        }
    return {
        **optimiser,
        "train.seed": config.seed,
        "train.num_episodes": 1,
        "train.max_epochs": recipe.epochs,
        "train.batch_size": rows,
        "train.micro_batch_size": 1,
        "train.dynamic_batch_enable": True,
        "train.max_tokens_per_gpu": config.batch_tokens,
    }


def _playing(order: Order, recipe: Recipe) -> Mapping[str, Value]:
    config, cluster = order.config, order.config.cluster
    rows = -(-max(recipe.rollouts, 1) // world_size(config)) * world_size(config)
    return {
        "vllm.num_engines": cluster.engines,
        "vllm.tensor_parallel_size": cluster.tensor_parallel,
        "vllm.gpu_memory_utilization": cluster.engine_memory,
        "vllm.enable_prefix_caching": True,
        "vllm.enable_sleep": cluster.colocate,
        "train.async_enable": cluster.asynchronous,
        "train.async_queue_size": cluster.queue,
        "train.partial_rollout_enable": cluster.partial,
        "train.agent_func_path": Path(__file__).parent / "rollouts/agent.py",
        "algo.advantage.is_correction_level": "token",  # log-probabilities as they were sampled
        "data.max_len": order.context,
        "rollout.max_new_tokens": config.max_tokens,
        "rollout.batch_size": rows,
        "rollout.n_samples_per_prompt": 1,
        "rollout.micro_batch_size": 1,
        "rollout.temperature": 1.0,
        "eval.steps": config.evaluate_every,
        "eval.temperature": 0.0,
        "eval.n_samples_per_prompt": 1,
    }


def _files(config: TrainConfig) -> Mapping[str, Value]:
    folder = TrainingFolder(config.folder)
    return {
        "ckpt.path": folder.cluster_checkpoints,
        "ckpt.output_dir": folder.cluster_model,
        "ckpt.save_steps": config.checkpoint_every,
        "ckpt.load_enable": True,
        "ckpt.max_num": 2,  # the one before goes before the next is written
        "logger.tensorboard_dir": folder.events,
        "logger.wandb.run_name": folder.path.name,
    }


def _without_gpus(config: TrainConfig) -> Mapping[str, Value]:
    """vLLM's compiled kernels, NCCL and sleeping need a GPU; what memory an engine takes says its environment."""
    return {
        "vllm.enforce_eager": True,
        "vllm.sync_backend": "gloo",
        "vllm.gpu_memory_utilization": min(config.cluster.engine_memory, 0.1),
        "vllm.enable_sleep": False,
        "ds.enable_sleep": False,
    }


def _words(name: str, value: Value) -> list[str]:
    if isinstance(value, bool):
        return [f"--{name}"] if value else []
    if isinstance(value, (str, int, float, Path)):
        return [f"--{name}", str(value)]
    return [f"--{name}", *map(str, value)]


def _given(flag: str) -> tuple[str, str]:
    name, equals, value = flag.partition("=")
    if not equals or not name:
        raise ConfigError(f"cluster.flags: expected name=value, got {flag!r}")
    return name.removeprefix("--"), value


def _text_words(name: str, value: str) -> list[str]:
    """The value is read as a shell reads words; true and false turn switches on and off."""
    if value in ("true", "false"):
        return _words(name, value == "true")
    try:
        return [f"--{name}", *shlex.split(value)]
    except ValueError as error:
        raise ConfigError(f"cluster.flags: {name}: {error}") from error
