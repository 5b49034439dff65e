"""What the cluster engine gives a recipe in one step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from stepgym.agents.chat_prompt import prompt_ids
from stepgym.errors import ConfigError
from stepgym.records import Task
from stepgym.trainers.cluster.controller.stopwatch import Stopwatch
from stepgym.trainers.cluster.controller.turns import Turns
from stepgym.trainers.cluster.rollouts.request import EpisodeRequest
from stepgym.trainers.config import TrainConfig
from stepgym.trainers.openings import Openings
from stepgym.trainers.recipe import Group
from stepgym.trainers.samples import Sample
from stepgym.trainers.source import Reading, SeededSource, Setting, seeds_of
from stepgym.trainers.stage import Stage

if TYPE_CHECKING:
    from stepgym.trainers.cluster.controller.dispatch import Engines
    from stepgym.trainers.cluster.controller.scoring import Scorers
    from stepgym.trainers.cluster.job import Job


@dataclass(slots=True)
class Cluster:
    """The processes that a source asks."""

    engines: Engines
    scorers: Scorers
    turns: Turns
    waited: Stopwatch = field(default_factory=Stopwatch)
    """For what models say of samples, and for environments opened in this process."""

    def scored(
        self, ask: Callable[[Sequence[Sample]], list[tuple[float, ...]]], samples: Sequence[Sample]
    ) -> list[tuple[float, ...]]:
        """While the engines sleep, where they share GPUs with the models."""
        self.engines.sleep()
        with self.waited.running(), self.turns.taken():
            return ask(samples)


class ClusterSource(SeededSource):
    """Episodes are played by the rollout actors; what models say of samples, the processes that hold them say."""

    def __init__(self, cluster: Cluster, setting: Setting, step: int) -> None:
        super().__init__(setting, step)
        self.cluster = cluster

    def play_groups(self, tasks: Sequence[Task], copies: int, *, seed: str) -> list[Group]:
        """By whichever engine is free."""
        self.cluster.engines.wake()
        requests = requests_for(self.setting.config, self.setting.training, tasks, copies, seed=seed)
        played = self.cluster.engines.play(requests)
        return [Group(task, trajectories) for task, trajectories in zip(tasks, played, strict=True)]

    def context(self, task: Task) -> tuple[int, ...]:
        """The tokens of the first observation. That opens an episode in this process: an environment's own time."""
        with self.cluster.waited.running():
            return super().context(task)

    def logprobs(self, samples: Sequence[Sample]) -> list[tuple[float, ...]]:
        """Under the model as it is."""
        return self.cluster.scored(self.cluster.scorers.logprobs, samples)

    def reference_logprobs(self, samples: Sequence[Sample]) -> list[tuple[float, ...]]:
        """Under the model that the run started from."""
        return self.cluster.scored(self.cluster.scorers.reference_logprobs, samples)

    def values(self, samples: Sequence[Sample]) -> list[tuple[float, ...]]:
        """What the critic expects."""
        return self.cluster.scored(self.cluster.scorers.values, samples)


def requests_for(
    config: TrainConfig, stage: Stage, tasks: Sequence[Task], copies: int, *, seed: str, temperature: float = 1.0
) -> list[EpisodeRequest]:
    """`copies` episodes of each task, with seeds that `seed` decides."""
    seeds = seeds_of(seed, len(tasks) * copies)
    return [
        EpisodeRequest(
            task=task,
            env=stage.env,
            settings=stage.settings,
            system=config.system,
            stop=stage.stop,
            max_tokens=config.max_tokens,
            temperature=temperature,
            seeds=tuple(seeds[start : start + copies]),
        )
        for task, start in zip(tasks, range(0, len(seeds), copies), strict=True)
    ]


def setting_of(job: Job, tokenizer: Any) -> Setting:
    """What the steps of `job` have in common. Fetches its tasks."""
    table, reading = job.task_table(), reading_of(job.model, tokenizer)
    return Setting(
        config=job.config,
        tasks=table.training,
        rehearsal=table.rehearsal,
        training=job.training,
        evaluation=job.evaluation,
        reading=reading,
        openings=Openings(job.config.system, reading.chat),
    )


def reading_of(model: str, tokenizer: Any) -> Reading:
    """Of a HuggingFace model that is not loaded here. Raises `ConfigError` if nothing ends its replies."""
    from transformers import AutoConfig, GenerationConfig

    described = AutoConfig.from_pretrained(model).get_text_config()
    try:
        declared = GenerationConfig.from_pretrained(model).eos_token_id
    except OSError:  # it has none of its own
        declared = described.eos_token_id
    ends = declared if isinstance(declared, list) else [declared]
    end = next((token for token in (tokenizer.eos_token_id, *ends) if token is not None), None)
    if end is None:
        raise ConfigError(f"{model}: neither the model nor its tokenizer names a token that ends a reply")

    def text_ids(text: str) -> list[int]:
        ids: list[int] = tokenizer(text, add_special_tokens=False).input_ids
        return ids

    context = getattr(described, "max_position_embeddings", None) or 2**31
    return Reading(partial(prompt_ids, tokenizer), text_ids, end=end, context=context)
