"""What the cluster engine is told. Light: the command line is built from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stepgym.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterConfig:
    """Where a run with the engine openrlhf has its parts, and how many of each."""

    address: str = ""
    """Address of a running Ray cluster, auto for the one of this machine; empty starts one here for the run."""
    nodes: int = 1
    """Machines that hold the trained model, and each of the models beside it."""
    gpus: int = 8
    """GPUs of each of them."""
    gpu_gb: int = 80
    """Memory of a GPU, in GiB: what a plan must fit in."""
    engines: int = 8
    """vLLM engines that play the episodes."""
    tensor_parallel: int = 1
    """GPUs of one engine."""
    colocate: bool = False
    """Put all models and the engines on the same GPUs, which then take turns."""
    solver_engines: int = 1
    """vLLM engines of the frozen solver, where the environment asks for one."""
    solver_url: str = ""
    """OpenAI-compatible address of a solver that is served elsewhere, in place of engines of our own."""
    zero: int = 2
    """DeepSpeed's ZeRO stage, 0 to 3."""
    offload: bool = False
    """Keep the optimiser's state in the machines' memory."""
    checkpointing: bool = False
    """Make activations again in the backward pass instead of keeping them."""
    engine_memory: float = 0.85
    """Share of a GPU's memory that an engine takes."""
    asynchronous: bool = False
    """Play the next step's episodes while this one's are learned from."""
    queue: int = 1
    """Most steps that playing runs ahead, if asynchronous."""
    partial: bool = False
    """If asynchronous, weights change in the middle of replies instead of waiting for their end."""
    episodes: int = 256
    """Most episodes at a time in the process of one engine, however many its engine samples for."""
    restarts: int = 3
    """How often a run that broke (a machine, an actor, an engine) goes on from its last checkpoint by itself."""
    flags: tuple[str, ...] = ()
    """Flags handed to OpenRLHF, as name=value, such as ds.packing_samples=true or actor.adam.betas="0.9 0.95"; they win
    over what is set here."""
    python: Path | None = None
    """The interpreter that has OpenRLHF, vLLM and DeepSpeed; this one by default."""

    def __post_init__(self) -> None:
        for name in ("nodes", "gpus", "gpu_gb", "engines", "tensor_parallel", "solver_engines", "queue", "episodes"):
            if getattr(self, name) < 1:
                raise ConfigError(f"cluster: {name} must be at least 1, not {getattr(self, name)}")
        if not 0 <= self.zero <= 3:
            raise ConfigError(f"cluster: zero must be 0, 1, 2 or 3, not {self.zero}")
        if not 0 < self.engine_memory <= 1:
            raise ConfigError(f"cluster: engine_memory must lie above 0 and up to 1, not {self.engine_memory:g}")
        if self.restarts < 0:
            raise ConfigError(f"cluster: restarts must not be negative, not {self.restarts}")
        if self.partial and not self.asynchronous:
            raise ConfigError("cluster: partial needs asynchronous")
        if self.colocate and self.asynchronous:
            raise ConfigError("cluster: what is colocated takes turns, so it cannot be asynchronous")
