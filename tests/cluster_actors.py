"""Ray actors for the tests of the cluster's controllers: what they are asked for is done without vLLM or DeepSpeed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Player:
    """Plays what a rollout actor is asked for, with a model of HuggingFace transformers."""

    def __init__(self, model: str, limit: int = 256) -> None:
        from stepgym.trainers.cluster.rollouts.episodes import Episodes
        from stepgym.trainers.transformers_policy import TransformersPolicy

        self.policy = TransformersPolicy(model, device="cpu", dtype="float32")
        self.episodes = Episodes(limit)
        self.playing = self.most = self.groups = 0
        self.told: list[str] = []

    async def generate_responses(self, prompt: str, label: str, num_samples: int) -> list[dict[str, Any]]:
        """As a rollout actor's, with nothing but the trajectories."""
        import asyncio

        from stepgym.trainers.cluster.rollouts.request import EpisodeRequest

        request = EpisodeRequest.from_json(label)
        assert prompt == request.task.prompt
        assert num_samples == len(request.seeds)
        self.groups += 1
        self.playing += num_samples
        self.most = max(self.most, self.playing)
        played = await asyncio.gather(*(self.episodes.play(request, self.policy, seed=seed) for seed in request.seeds))
        self.playing -= num_samples
        return [{"trajectory": trajectory} for trajectory in played]

    async def wake_up(self) -> None:
        """Noted."""
        self.told.append("wake up")

    async def sleep(self) -> None:
        """Noted."""
        self.told.append("sleep")

    async def score(self) -> None:
        """As if it were another model on the same GPU."""
        self.told.append("score")

    async def heard(self) -> list[str]:
        """All that it was told since it was last asked."""
        told, self.told = self.told, []
        return told

    async def load(self) -> tuple[int, int]:
        """How many groups it has played, and the most episodes that it had at a time."""
        return self.groups, self.most


class Models:
    """The process of a policy that learns nothing: it counts what it is given, and keeps what it is to save."""

    def __init__(self, world_size: int, rank: int, *_: object) -> None:
        """As OpenRLHF's group makes it."""
        assert (world_size, rank) == (1, 0)

    def execute_batch(self, method_name: str, all_data: Mapping[str, Any], start: int, end: int) -> list[Any]:
        """As OpenRLHF's."""
        rows = [dict(zip(all_data, values, strict=True)) for values in zip(*all_data.values(), strict=True)]
        return [getattr(self, method_name)(**row) for row in rows[start:end]]

    def open(self, folder: str, breaks_at: int = 0) -> None:
        """`folder` is for its checkpoints. It dies when it learns for the `breaks_at`-th time."""
        self.folder, self.breaks_at = Path(folder), breaks_at
        self.rows: list[Any] = []
        self.rows_by_fit: list[int] = []
        self.broadcasts = 0

    def append(self, experience: Any) -> None:
        """Rows of one step."""
        self.rows.append(experience)

    def fit(self, kl_ctl: float = 0.0) -> Mapping[str, float]:
        """Count them."""
        self.rows_by_fit.append(sum(len(experience.sequences) for experience in self.rows))
        self.rows.clear()
        if len(self.rows_by_fit) == self.breaks_at:
            os._exit(1)
        return {"policy_loss": 0.5, "actor_grad_norm": 2.0, "stepgym/updates": 1.0, "stepgym/kl": 0.25}

    def fits(self) -> list[int]:
        """Rows of each step."""
        return self.rows_by_fit

    def broadcast_to_vllm(self) -> None:
        """Counted."""
        self.broadcasts += 1

    def get_checkpoint_states(self) -> Any:
        """Of the checkpoint that ``latest`` names."""
        latest = self.folder / "_actor" / "latest"
        return json.loads((latest.parent / latest.read_text() / "states.json").read_text()) if latest.exists() else {}

    def save_checkpoint(
        self, tag: str, client_states: Any = None, metric_value: float | None = None, metric_key: str | None = None
    ) -> None:
        """With the files by which OpenRLHF's are known."""
        kept = self.folder / "_actor" / tag
        kept.mkdir(parents=True, exist_ok=True)
        (kept / "states.json").write_text(json.dumps(client_states))
        (kept.parent / "latest").write_text(tag)
        (kept / "metric.json").write_text(json.dumps({"metric_key": metric_key, "metric_value": metric_value}))
