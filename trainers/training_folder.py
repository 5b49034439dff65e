"""The folder of a training run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from stepgym.codec import encode
from stepgym.errors import StoreError
from stepgym.records import Trajectory
from stepgym.store import write_whole
from stepgym.trainers.checkpoint import FILE, LINK
from stepgym.trainers.config import TrainConfig
from stepgym.trainers.making import settings_of
from stepgym.trainers.recipe import Recipe
from stepgym.trajectories import VERSION, StoredTrajectory

OPERATIONAL = frozenset(
    {"out", "plan", "checkpoint_every", "max_batch", "batch_tokens", "threads", "device", "cluster"}
)
"""Settings that may change from one start to the next."""
LEARNING = ("nodes", "gpus", "zero", "asynchronous", "partial", "flags")
"""What may not, of the cluster's: its checkpoints depend on it, or what is learned."""


class TrainingFolder:
    """Its files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.json"
        """What the run was told, defaults included."""
        self.metrics = path / "metrics.jsonl"
        """One `StepRecord` a step."""
        self.trajectories = path / "trajectories.jsonl"
        """The latest attempts at the held-out tasks."""
        self.events = path / "tensorboard"
        """The same as TensorBoard reads it."""
        self.curve = path / "curve.png"
        self.report = path / "report.html"
        self.cluster = path / "openrlhf"
        """What the cluster engine keeps for itself."""
        self.cluster_checkpoints = self.cluster / "checkpoints"
        """DeepSpeed's, which such a run goes on from."""
        self.cluster_model = self.cluster / "model"
        """What OpenRLHF saves at the end."""
        self.ray_logs = self.cluster / "ray"
        """What Ray logged of the last start that broke."""
        self.log = path / "openrlhf.log"
        """What OpenRLHF and all its processes say."""

    @property
    def checkpoint(self) -> Path:
        """The weights to use, and all that the run needs to go on."""
        linked = self.path / LINK
        return linked if linked.exists() else self.path / FILE

    @property
    def goes_on(self) -> bool:
        """Whether there is a checkpoint to go on from."""
        return self.checkpoint.exists() or (self.cluster_checkpoints / "_actor" / "latest").exists()

    def claim(self, config: TrainConfig, recipe: Recipe) -> None:
        """Write down what this run is. Raises `StoreError` naming what differs if the folder belongs to another one."""
        settings = {f.name: encode(getattr(config, f.name)) for f in fields(config) if f.name not in OPERATIONAL} | {
            "settings": dict(settings_of(recipe))
        }
        if config.engine != "local":
            settings["cluster"] = {name: encode(getattr(config.cluster, name)) for name in LEARNING}
        if not self.config.exists():
            write_whole(self.config, json.dumps(settings, indent=2, ensure_ascii=False) + "\n")
            return
        try:
            stored = json.loads(self.config.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise StoreError(f"{self.config}: cannot be read ({error}); choose another folder with --out") from error
        if not isinstance(stored, dict):
            raise StoreError(f"{self.config}: expected a table; choose another folder with --out")
        different = [name for name in settings if settings[name] != stored.get(name)]
        if different:
            raise StoreError(
                f"{self.path} holds a run with another {', '.join(different)}; "
                "choose another folder with --out, or use the same settings to go on with that run"
            )

    def write_trajectories(self, trajectories: Sequence[Trajectory]) -> None:
        """Replace the attempts at the held-out tasks."""
        stored = [StoredTrajectory(version=VERSION, trajectory=trajectory) for trajectory in trajectories]
        text = "".join(json.dumps(encode(line)) + "\n" for line in stored)
        write_whole(self.trajectories, text)
