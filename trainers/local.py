"""The local engine: everything in one process, on a CPU or one GPU.

Each step gathers samples (`Recipe.gather`) and learns from them (`Learner.learn`). All chance is drawn from the seed
and the step's number, never from a stream that runs along: so a run that was killed needs only the weights, the
optimiser and the step to go on exactly as if it had not been.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cached_property
from itertools import chain

import torch

from stepgym.progress import Progress
from stepgym.records import Task
from stepgym.store import JsonLines
from stepgym.tasks import load
from stepgym.trainers.backbone import Backbone, RunState, TokenPolicy
from stepgym.trainers.config import TrainConfig
from stepgym.trainers.engine import Training
from stepgym.trainers.learner import Learner
from stepgym.trainers.metrics import HeldOut, StepRecord, note, read_metrics
from stepgym.trainers.openings import Openings
from stepgym.trainers.outcome import outcome
from stepgym.trainers.playing import Table
from stepgym.trainers.recipe import Recipe
from stepgym.trainers.sft import check_demonstration
from stepgym.trainers.source import Reading, Setting, StepSource, check_lengths
from stepgym.trainers.stage import check_stages, evaluation_stage, training_stage
from stepgym.trainers.starting import first_backbone, load_backbone, saved_run
from stepgym.trainers.stopping import Stopping
from stepgym.trainers.tensorboard import event_log
from stepgym.trainers.training_folder import TrainingFolder


class LocalEngine:
    """A run of `recipe`, from its folder's last checkpoint or from the start."""

    def __init__(self, config: TrainConfig, recipe: Recipe) -> None:
        """Loads tasks and model. Nothing is written before `run`."""
        torch.set_num_threads(config.threads)
        self.config, self.recipe = config, recipe
        self.folder = TrainingFolder(config.folder)
        self.training, self.evaluation = training_stage(config, recipe), evaluation_stage(config, recipe)
        self.tasks = [part for task in load_all(config.tasks) for part in instances(recipe, task)]
        self.held_out = load_all(config.held_out)
        self.rehearsal = load_all(config.rehearse)
        for task in self.rehearsal:
            check_demonstration(task)
        check_stages(config, recipe, self.tasks, self.held_out)
        saved = saved_run(config)
        self.backbone, self.step = saved.backbone, saved.state.step
        self.last = config.steps
        """The step that ends the run: earlier once the target is reached."""
        self.learner = Learner(self.backbone.model, recipe, config)
        if self.learner.critic is not None and saved.state.critic is not None:
            self.learner.critic.load_state_dict(saved.state.critic)
        if saved.state.optimiser is not None:
            self.learner.optimiser.load_state_dict(saved.state.optimiser)
        self.policy = self.backbone.policy(config.recipe, config)
        self.table = Table(config, self.policy, self._solver())
        self.setting = Setting(
            config=config,
            tasks=self.tasks,
            rehearsal=self.rehearsal,
            training=self.training,
            evaluation=self.evaluation,
            reading=Reading(
                self.policy.encode, self.backbone.encode, end=self.backbone.end, context=self.backbone.context
            ),
            openings=Openings(config.system, self.policy.encode),
        )

    @cached_property
    def first_backbone(self) -> Backbone:
        """The model that the run started from; loaded if somebody asks for it."""
        return first_backbone(self.config)

    def _solver(self) -> TokenPolicy:
        """The frozen solver of environments that need one."""
        config = self.config
        if not (self.training.takes("solver") or self.evaluation.takes("solver")):
            return self.policy
        frozen = self.first_backbone if config.solver is None else load_backbone(config.solver, config.device)
        return frozen.policy("solver", config)

    def run(self) -> Training:
        """Train up to `TrainConfig.steps`. See `stepgym.trainers.engine.train`."""
        config, folder = self.config, self.folder
        folder.claim(config, self.recipe)
        with JsonLines(folder.metrics) as metrics, Stopping() as stopping:
            done = [record for record in read_metrics(folder.metrics) if record.step <= self.step]
            if not done:
                done = [StepRecord(step=0, held_out=self.evaluate())]
                metrics.append(done[0])
            for record in done:
                self._look_for_end(record)
            with (
                event_log(folder.events, done) as events,
                Progress(f"train {config.recipe}", self.last, done=self.step) as progress,
            ):
                while self.step < self.last:
                    record = self.advance()
                    metrics.append(record)
                    events.append(record)
                    progress.advance(note(record))
                    self._look_for_end(record)
                    if stopping.asked or self._due(config.checkpoint_every):
                        self.save()
                    if stopping.asked and self.step < self.last:
                        raise KeyboardInterrupt
            if not folder.checkpoint.exists():  # the target was reached before the first step
                self.save()
        return self.finish()

    def advance(self) -> StepRecord:
        """Do the next step."""
        self.step += 1
        started = time.perf_counter()
        source = StepSource(self, self.step)
        material = self.recipe.gather(source)
        samples = [*material.samples, *source.rehearse()] if material.samples else []
        check_lengths(samples, self.backbone.context)
        gathered = time.perf_counter()
        update = self.learner.learn(samples, self.step, last=self.last) if samples else None
        learned = time.perf_counter()
        return StepRecord(
            step=self.step,
            measures=material.measures,
            update=update,
            ungraded_why=source.ungraded_why,
            sampled_tokens=source.sampled_tokens,
            gather_seconds=gathered - started,
            learn_seconds=learned - gathered,
            held_out=self.evaluate() if self._due(self.config.evaluate_every) else None,
        )

    def evaluate(self) -> HeldOut:
        """One greedy attempt at each held-out task. The attempts replace those of the evaluation before."""
        groups = self.table.play(self.held_out, 1, self.evaluation, seed=f"{self.config.seed}/held out", temperature=0)
        trajectories = [trajectory for group in groups for trajectory in group.trajectories]
        self.folder.write_trajectories(trajectories)
        return HeldOut.of(trajectories)

    def save(self) -> None:
        """Write the checkpoint that the run goes on from."""
        optimiser, critic = self.learner.optimiser.state_dict(), self.learner.critic
        state = critic.state_dict() if critic is not None else None
        self.backbone.save(self.folder.path, RunState(step=self.step, optimiser=optimiser, critic=state))

    def finish(self) -> Training:
        """Draw the curve, write the report."""
        return outcome(self.config, self.recipe)

    def _look_for_end(self, record: StepRecord) -> None:
        target, held_out = self.config.target, record.held_out
        if target is not None and held_out is not None and held_out.reward >= target:
            self.last = min(self.last, record.step + self.config.cooldown)

    def _due(self, every: int) -> bool:
        return self.step % every == 0 or self.step >= self.last


def load_all(sources: Sequence[str]) -> list[Task]:
    """The tasks of all sources. Raises `TaskError`, `ConfigError` or `UnknownNameError`."""
    return list(chain.from_iterable(load(source) for source in sources))


def instances(recipe: Recipe, task: Task) -> Sequence[Task]:
    """What a run draws from in place of `task`. Raises `TaskError` if nothing can be learned from it."""
    recipe.check(task)
    return recipe.instances(task)
