"""Which parts a run has, and on which GPUs OpenRLHF puts them."""

from __future__ import annotations

from dataclasses import dataclass

from stepgym.trainers.config import TrainConfig
from stepgym.trainers.planning import takes_solver
from stepgym.trainers.recipe import CriticRecipe, Recipe

POLICY, REFERENCE, CRITIC, ENGINES, SOLVER = "policy", "reference", "critic", "engines", "solver engines"
"""Names of parts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Processes of one kind."""

    name: str
    processes: int
    gpus_each: int
    """GPUs of one process."""
    shared: bool = False
    """Whether it stands on the GPUs of the policy, and adds none."""

    @property
    def gpus(self) -> int:
        """What it adds to the GPUs of a run."""
        return 0 if self.shared else self.processes * self.gpus_each


def place_parts(config: TrainConfig, recipe: Recipe) -> tuple[Part, ...]:
    """The parts of a run, the policy first. Each stands on GPUs of its own unless they are colocated."""
    cluster = config.cluster
    ranks, together = cluster.nodes * cluster.gpus, cluster.colocate
    parts = [Part(name=POLICY, processes=ranks, gpus_each=1)]
    if getattr(recipe, "kl", 0.0) > 0:
        parts.append(Part(name=REFERENCE, processes=ranks, gpus_each=1, shared=together))
    if isinstance(recipe, CriticRecipe):
        parts.append(Part(name=CRITIC, processes=ranks, gpus_each=1, shared=together))
    engine = cluster.tensor_parallel
    parts.append(Part(name=ENGINES, processes=cluster.engines, gpus_each=engine, shared=together))
    if takes_solver(config, recipe) and not cluster.solver_url:
        parts.append(Part(name=SOLVER, processes=cluster.solver_engines, gpus_each=engine))
    return tuple(parts)
