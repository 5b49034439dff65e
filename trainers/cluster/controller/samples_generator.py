"""A step's samples, where OpenRLHF generates its own."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from openrlhf.trainer.ppo_utils.samples_generator import SamplesGenerator

from stepgym.trainers.cluster.controller.dispatch import Engines
from stepgym.trainers.cluster.controller.scoring import Scorers
from stepgym.trainers.cluster.controller.solver_engines import give_solver
from stepgym.trainers.cluster.controller.source import Cluster, ClusterSource, setting_of
from stepgym.trainers.cluster.controller.stream import Batch, Gathered, TaskStream
from stepgym.trainers.cluster.controller.turns import Turns
from stepgym.trainers.cluster.job import Job
from stepgym.trainers.cluster.learning.experience import blank, to_experience
from stepgym.trainers.source import check_lengths


class RecipeSamples(SamplesGenerator):
    """The recipe's `gather`, once a step."""

    def __init__(
        self,
        *,
        strategy: Any,
        stream: TaskStream,
        tokenizer: Any,
        engines: Sequence[Any],
        scorers: Scorers,
        turns: Turns,
    ) -> None:
        """With the job in ``strategy.args.stepgym``. Starts the frozen solver if the run has one."""
        super().__init__(strategy, stream, None, tokenizer, engines)
        self.job: Job = strategy.args.stepgym
        self.recipe = self.job.recipe
        self.setting = setting_of(self.job, tokenizer)
        self.cluster = Cluster(engines_of(strategy.args, engines), scorers, turns)
        self.solver = give_solver(strategy.args, engines)

    def generate_samples(self, **_: Any) -> tuple[Sequence[Any], None, int, bool]:
        """The next step's `Batch`, None for a rate that OpenRLHF would log, 1 step, and whether it was the last."""
        stream: TaskStream = self.prompts_dataloader
        if stream.exhausted or self.cluster.turns.ended:
            return [], None, 0, True
        stream.step += 1
        started, waited = time.perf_counter(), self._waited
        source = ClusterSource(self.cluster, self.setting, stream.step)
        self.cluster.engines.wake()
        material = self.recipe.gather(source)
        self.cluster.engines.sleep()
        samples = [*material.samples, *source.rehearse()] if material.samples else []
        check_lengths(samples, self.setting.reading.context)
        experiences = padded([to_experience(sample) for sample in samples], ranks_of(self.args))
        seconds = time.perf_counter() - started
        gathered = Gathered(
            step=stream.step,
            measures=material.measures,
            ungraded_why=source.ungraded_why,
            sampled_tokens=source.sampled_tokens,
            trained_tokens=sum(sample.trained_count for sample in samples),
            seconds=seconds,
            own_seconds=seconds - (self._waited - waited),
        )
        return Batch(experiences, gathered), None, 1, stream.exhausted

    @property
    def _waited(self) -> float:
        return self.cluster.waited.seconds + self.cluster.engines.waited.seconds


def engines_of(args: Any, actors: Sequence[Any]) -> Engines:
    """OpenRLHF's rollout actors, with what its arguments say of them."""
    return Engines(actors, episodes=args.stepgym.config.cluster.episodes, sleeps=args.vllm.enable_sleep)


def ranks_of(args: Any) -> int:
    """Into how many parts the policy's processes split a step."""
    processes = args.actor.num_nodes * args.actor.num_gpus_per_node
    return int(processes // args.ds.ring_attn_size // args.ds.tensor_parallel_size)


def padded(experiences: list[Any], ranks: int) -> list[Any]:
    """With rows that weigh nothing at the end, so that each of `ranks` gets as many."""
    missing = -len(experiences) % ranks
    return [*experiences, *(blank(experiences[0]) for _ in range(missing))]
