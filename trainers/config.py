"""What a training run is told. Without torch, so that a command line is built from it at once."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from tyro.conf import Positional

from stepgym.errors import ConfigError
from stepgym.trainers.cluster.config import ClusterConfig

Precision: TypeAlias = Literal["float32", "bfloat16"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Sizes of a model that is trained from scratch. The defaults make 154,000 parameters."""

    width: int = 64
    """Size of a token's vector."""
    layers: int = 3
    """Number of blocks."""
    heads: int = 4
    """Attention heads; the width must be a multiple of twice as many."""
    context: int = 256
    """Most tokens of prompt and reply together."""

    def __post_init__(self) -> None:
        if min(self.width, self.layers, self.heads, self.context) < 1 or self.width % (2 * self.heads):
            raise ConfigError(f"model: sizes must be positive and width a multiple of twice the heads, not {self}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """A training run. The same settings in the same folder go on with it."""

    recipe: Positional[str]
    """How to learn: sft, grpo, ppo, srl, holistic, guide-grpo, guide-ppo, a2d-decomposer, a2d-reasoner."""
    engine: str = "local"
    """Where: local, one process on a CPU or a GPU; openrlhf, a Ray cluster with vLLM and DeepSpeed."""
    settings: tuple[str, ...] = ()
    """Settings of the recipe, as name=value; --plan lists them."""
    tasks: tuple[str, ...] = ("addition?level=2&count=2000&split=train",)
    """What to learn from: task sets, families or files, drawn from all together."""
    held_out: tuple[str, ...] = ("addition?level=2&count=100&split=test",)
    """What to evaluate on, greedily, before, during and after."""
    start: Path | None = None
    """Model to start from: a checkpoint or a run's folder, a folder with a HuggingFace model, or hf:owner/name for one
    on the hub; a small one with random weights if there is none."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """Sizes of that model."""
    out: Path | None = None
    """Folder of the run; runs/RECIPE by default."""
    steps: int = 100
    """How often to gather samples and learn from them."""
    target: float | None = None
    """Stop earlier: when an evaluation's mean reward reaches this."""
    evaluate_every: int = 20
    """Steps between evaluations."""
    checkpoint_every: int = 10
    """Steps between checkpoints: what a kill can cost."""
    env: str | None = None
    """The environment that tasks are played in; the recipe's own by default."""
    env_settings: tuple[str, ...] = ()
    """Its settings, as name=value."""
    evaluated_in: str | None = None
    """The environment of the held-out tasks; the recipe's own by default."""
    max_steps: int = 1
    """Most actions in an episode."""
    instructions: str = ""
    """What the environment tells the agent besides the problem."""
    system: str = ""
    """The agent's system prompt."""
    max_tokens: int = 128
    """Most tokens of a reply."""
    stop: tuple[str, ...] = ()
    """Strings that end a reply while learning, and stay in its text; evaluations do without."""
    solver: Path | None = None
    """Checkpoint of the frozen solver in stepgym/Decompose-v0; the one the run starts from by default."""
    rehearse: tuple[str, ...] = ()
    """Task sets whose expert steps are imitated besides, in every step that learns, so that they are not forgotten."""
    rehearsal: float = 0.3
    """Weight of that imitation in the loss."""
    rehearsed: int = 24
    """Tasks of it in a step."""
    warmup: int = 10
    """Steps over which the learning rate rises to its full value."""
    cooldown: int = 0
    """Steps over which it falls again, towards 0 after the last; once the target is reached, so many steps follow."""
    weight_decay: float = 0.0
    """AdamW's weight decay."""
    max_gradient: float = 1.0
    """Gradients are scaled down to this norm."""
    batch_tokens: int = 16_384
    """Most padded tokens in one forward and backward pass; more are accumulated."""
    max_batch: int = 256
    """Most replies sampled at a time."""
    precision: Precision = "float32"
    """Of matrix products. bfloat16 pays on GPUs, and on CPUs that have its instructions for models wider than some
    hundred; smaller ones lose. Weights, the optimiser and sums stay in float32. HuggingFace models are sampled in it
    too, by other kernels than they are trained with, so that log-probabilities differ in the third digit before
    anything was learned. The old ones are not computed again: a token is weighed by what it was sampled with. The
    engine openrlhf is always in bfloat16, with the optimiser in float32."""
    seed: int = 0
    """Seeds everything; on a CPU the run repeats bit for bit."""
    device: str = "cpu"
    """Where the model is: cpu, cuda, cuda:1."""
    threads: int = 1
    """CPU threads. A small model gains little from more, and loses much where other programs keep the cores busy."""
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    """The parts of a run with the engine openrlhf, and where they are."""
    plan: bool = False
    """Print what would run, and stop."""

    def __post_init__(self) -> None:
        counts = (
            "steps",
            "evaluate_every",
            "checkpoint_every",
            "max_steps",
            "max_tokens",
            "batch_tokens",
            "max_batch",
            "rehearsed",
            "threads",
        )
        for name in counts:
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("tasks", "held_out"):
            if not getattr(self, name):
                raise ConfigError(f"{name} is empty; name a task set, a family or a file")
        least = min(self.warmup, self.cooldown, self.weight_decay, self.rehearsal)
        finite = map(math.isfinite, (self.weight_decay, self.rehearsal, self.max_gradient, self.target or 0.0))
        if not all(finite):
            raise ConfigError("weight_decay, rehearsal, max_gradient and target must be finite numbers")
        if least < 0 or self.max_gradient <= 0:
            raise ConfigError(
                "warmup, cooldown, weight_decay, rehearsal must not be negative, and max_gradient must be positive"
            )

    @property
    def folder(self) -> Path:
        """Where the run is kept."""
        return self.out or Path("runs") / self.recipe
