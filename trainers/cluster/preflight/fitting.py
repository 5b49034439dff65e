"""Whether a run can work on the GPUs that it is given, told before anything is started."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stepgym.errors import ConfigError
from stepgym.trainers.cluster.preflight.gpu_memory import (
    GIB,
    Sharding,
    Tenant,
    Turn,
    cached_tokens,
    engine,
    learner,
    scorer,
)
from stepgym.trainers.cluster.preflight.placement import CRITIC, ENGINES, POLICY, REFERENCE, SOLVER, Part, place_parts
from stepgym.trainers.config import TrainConfig
from stepgym.trainers.recipe import Recipe
from stepgym.trainers.sizes import Sizes

MAX_LEN = "data.max_len"
"""OpenRLHF's flag for the most tokens of an episode."""
REMEDIES = {
    "learning": "cluster.checkpointing, a smaller batch_tokens, a higher cluster.zero or more cluster.gpus",
    "updating": "cluster.zero, cluster.offload or more cluster.gpus",
    "scoring": "a smaller batch_tokens, or cluster.zero=3",
    "sampling": "a smaller cluster.engine_memory",
}
"""What makes room in each turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpus:
    """GPUs that all hold the same."""

    parts: tuple[Part, ...]
    """Which take turns on them, if there are several."""
    turns: tuple[Turn, ...]
    """What is on each, one after the other."""

    @property
    def count(self) -> int:
        """How many they are."""
        return sum(part.gpus for part in self.parts)

    @property
    def fullest(self) -> Turn:
        """The turn that needs most."""
        return max(self.turns, key=lambda turn: turn.total)


def gpus_of(config: TrainConfig, recipe: Recipe, sizes: Sizes, solver: Sizes, row: int) -> tuple[Gpus, ...]:
    """All GPUs of a run whose longest sample has `row` tokens, the policy's first."""
    parts = place_parts(config, recipe)
    tenants = {part.name: _tenant(part, config, solver if part.name == SOLVER else sizes, row) for part in parts}
    together = tuple(part for part in parts if part.name == POLICY or part.shared)
    shared = Gpus(parts=together, turns=_in_turns({part.name: tenants[part.name] for part in together}))
    alone = [part for part in parts if part not in together]
    return shared, *(Gpus(parts=(part,), turns=tenants[part.name].turns) for part in alone)


def check_fit(config: TrainConfig, recipe: Recipe, sizes: Sizes, solver: Sizes, row: int) -> None:
    """Raises `ConfigError` with the numbers, and what to change."""
    cluster, context = config.cluster, context_of(config, sizes)
    ranks = cluster.nodes * cluster.gpus
    if config.max_tokens >= context:
        raise ConfigError(
            f"max_tokens is {config.max_tokens}, which leaves a context of {context} no room for a prompt"
        )
    for model in {sizes, solver}:
        _check_split(cluster.tensor_parallel, model)
    if cluster.colocate and cluster.engines * cluster.tensor_parallel != ranks:
        raise ConfigError(
            f"cluster: colocated engines need as many GPUs as the policy has, and {cluster.engines} engines of "
            f"{cluster.tensor_parallel} are not {cluster.nodes} × {cluster.gpus}; change engines or tensor_parallel"
        )
    if recipe.rollouts and recipe.rollouts < ranks * recipe.minibatches:
        raise ConfigError(
            f"the at most {recipe.rollouts} rollouts of a step are fewer than one for each of {ranks} GPUs in each of "
            f"{recipe.minibatches} minibatches; ask for more tasks or a larger group, or for fewer GPUs or minibatches"
        )
    for gpus in gpus_of(config, recipe, sizes, solver, row):
        _check_memory(gpus, cluster.gpu_gb)
    _check_cache(config, sizes, context)


def context_of(config: TrainConfig, sizes: Sizes) -> int:
    """Most tokens of an episode: the model's context, unless ``cluster.flags`` ask for less. Raises `ConfigError`."""
    given = [flag.partition("=")[2] for flag in config.cluster.flags if flag.startswith(f"{MAX_LEN}=")]
    if not given:
        return sizes.context
    if not given[-1].isdigit() or not 0 < int(given[-1]) <= sizes.context:
        raise ConfigError(
            f"cluster.flags: {MAX_LEN}={given[-1]} is not between 1 and the model's context of {sizes.context} tokens"
        )
    return int(given[-1])


def row_of(config: TrainConfig, context: int, prompt: int) -> int:
    """Most tokens of a sample, if prompts have up to `prompt`: several turns may fill the context."""
    return context if config.max_steps > 1 else min(context, prompt + config.max_tokens)


def cache_of(config: TrainConfig, sizes: Sizes) -> int:
    """How many tokens' keys and values an engine holds."""
    cluster = config.cluster
    held = _engine(config, sizes).turns[0].held
    return cached_tokens(sizes, cluster.tensor_parallel, held["keys and values"])


def _tenant(part: Part, config: TrainConfig, sizes: Sizes, row: int) -> Tenant:
    cluster, tokens = config.cluster, max(config.batch_tokens, row)
    sharding = Sharding(
        ranks=part.processes, zero=cluster.zero, offload=cluster.offload, checkpointing=cluster.checkpointing
    )
    if part.name == REFERENCE:
        return scorer(sizes, sharding, tokens)
    if part.name in (ENGINES, SOLVER):
        return _engine(config, sizes)
    return learner(sizes, sharding, tokens, critic=part.name == CRITIC)


def _engine(config: TrainConfig, sizes: Sizes) -> Tenant:
    cluster = config.cluster
    return engine(sizes, cluster.tensor_parallel, int(cluster.engine_memory * cluster.gpu_gb * GIB))


def _in_turns(tenants: dict[str, Tenant]) -> tuple[Turn, ...]:
    """Each tenant's turns, while all others sleep."""
    turns = []
    for name, tenant in tenants.items():
        others = {f"{other} asleep": held.asleep for other, held in tenants.items() if other != name}
        turns += [Turn(turn.name, {**turn.held, **others}) for turn in tenant.turns]
    return tuple(turns)


def _check_split(parts: int, sizes: Sizes) -> None:
    heads, cached = sizes.heads, sizes.cached_heads
    if heads % parts or (cached % parts and parts % cached) or sizes.feed_width % (2 * parts):
        raise ConfigError(
            f"cluster: tensor_parallel {parts} does not divide the model, which has {heads} attention heads, {cached} "
            f"with keys of their own, and {sizes.feed_width // 2} feed-forward units; take a divisor of all, such as 1"
        )


def _check_memory(gpus: Gpus, gpu_gb: int) -> None:
    turn = gpus.fullest
    if turn.total <= gpu_gb * GIB:
        return
    names = " and ".join(part.name for part in gpus.parts)
    raise ConfigError(
        f"a GPU of {names} would need {turn.total / GIB:.1f} GiB while {turn.name} and has {gpu_gb}: "
        f"{said(turn)}; {REMEDIES[turn.name]} makes room"
    )


def _check_cache(config: TrainConfig, sizes: Sizes, context: int) -> None:
    tokens = cache_of(config, sizes)
    if tokens < context:
        raise ConfigError(
            f"an engine that takes {config.cluster.engine_memory:g} of {config.cluster.tensor_parallel} × "
            f"{config.cluster.gpu_gb} GiB has room for the keys of {tokens:,} tokens, fewer than an episode's "
            f"context of {context:,}; raise cluster.engine_memory or cluster.tensor_parallel, or set "
            f"--cluster.flags {MAX_LEN}=TOKENS"
        )


def said(turn: Turn) -> str:
    """The parts of a turn, the largest first."""
    parts: Sequence[tuple[str, int]] = sorted(turn.held.items(), key=lambda part: -part[1])
    return ", ".join(f"{held / GIB:.1f} {name}" for name, held in parts if held)
