"""What a cluster run keeps of its steps: the files of a `TrainingFolder`, and its numbers in OpenRLHF's own logs."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from stepgym.codec import encode
from stepgym.store import JsonLines, write_whole
from stepgym.trainers.cluster.controller.experience_maker import RecipeExperienceMaker
from stepgym.trainers.cluster.controller.held_out import HeldOutTasks
from stepgym.trainers.cluster.controller.samples_generator import engines_of
from stepgym.trainers.cluster.controller.stream import Batch, Gathered
from stepgym.trainers.cluster.controller.turns import Turns
from stepgym.trainers.cluster.job import Job
from stepgym.trainers.cluster.learning.policy_loss import PREFIX
from stepgym.trainers.learner import Update
from stepgym.trainers.metrics import HeldOut, StepRecord, read_metrics
from stepgym.trainers.training_folder import TrainingFolder

METRIC = "eval_held_out_pass1"
"""What OpenRLHF's best checkpoint is the best by."""
EXTRA = ("vllm_kl", "critic_loss")
"""Measures of OpenRLHF's that go into a `StepRecord` besides the recipe's."""


class Recording:
    """Goes before one of OpenRLHF's trainers in the list of bases.

    A step without anything to learn from is a step: counted, recorded, evaluated and saved as the others are.
    """

    def set_up(self: Any, turns: Turns) -> None:
        """After OpenRLHF's own ``__init__``."""
        self.job: Job = self.args.stepgym
        self.turns = turns
        self.folder = TrainingFolder(self.job.config.folder)
        engines = engines_of(self.args, self.vllm_engines)
        self.held_out = HeldOutTasks(self.job, self.job.task_table().held_out, engines, self.folder)
        self.passes = self.job.recipe.epochs
        self.last = self.job.config.steps
        """The step that ends the run: earlier once the target is reached."""
        self.own_seconds = 0.0
        """What recording the step before took."""
        self.record: StepRecord | None = None
        """Of the step that was just done."""
        self.experience_maker = RecipeExperienceMaker(
            self.actor_model_group,
            self.critic_model_group,
            self.reward_model_group,
            self.reference_model_group,
            self.kl_ctl,
            self.strategy,
            self.tokenizer,
        )

    def init_checkpoint_states(self: Any) -> dict[str, Any]:
        """Where the run stands. What was recorded of later steps is dropped: they are done again."""
        states: dict[str, Any] = super().init_checkpoint_states()  # type: ignore[misc]
        if not states:  # killed while it wrote its first checkpoint
            states = {"episode": 0, "global_step": 0, "total_consumed_prompts": 0, "data_loader_state_dict": {}}
        step = states["global_step"]
        done = kept_until(self.folder, step)
        self.metrics = JsonLines(self.folder.metrics)
        if not done:
            done = [StepRecord(step=0, held_out=self.evaluated_now(0))]
            self.metrics.append(done[0])
        for record in done:
            self.look_for_end(record)
        return states

    def train_step(self: Any, rollout_samples: Batch, global_step: int) -> tuple[dict[str, Any], int]:
        """One step, logged with what stepgym has to say of it; OpenRLHF's counter follows ours."""
        gathered = rollout_samples.gathered
        if gathered.step > self.last:  # gathered before the target was reached
            return {}, global_step
        self.record, logs = record_of(gathered), log_of(gathered)
        if not len(rollout_samples):
            return logs, gathered.step
        started = time.perf_counter()
        status, _ = super().train_step(rollout_samples, global_step)  # type: ignore[misc]
        seconds = gathered.seconds + time.perf_counter() - started
        status |= {PREFIX + "share": (gathered.own_seconds + self.own_seconds) / seconds}
        update = update_of(status, gathered.trained_tokens, self.passes)
        self.record = replace(self.record, update=update, learn_seconds=status["timing/ppo_train"])
        return status | logs, gathered.step

    def ppo_train(self: Any, global_steps: int) -> Any:
        """While nobody else asks the models."""
        with self.turns.taken():
            return super().ppo_train(global_steps)  # type: ignore[misc]

    def save_logs_and_checkpoints(
        self: Any, global_step: int, logs_dict: Any = None, client_states: Any = None
    ) -> None:
        """Evaluate where it is time to, record the step, log it, save where it is time to, and look for the end."""
        if self.record is None:  # a step that nobody wanted any more
            return
        config, record, self.record = self.job.config, self.record, None
        held_out = self.evaluated_now(global_step) if self.due(global_step, config.evaluate_every) else None
        started = time.perf_counter()
        record = replace(record, held_out=held_out)
        self.metrics.append(record)
        self.look_for_end(record)
        self.own_seconds = time.perf_counter() - started
        better = held_out is not None and held_out.reward > self.best_eval_metric_value
        best = better and self.best_eval_metric_key != "none"
        # OpenRLHF saves where this divides the step.
        self.args.ckpt.save_steps = 1 if best or self.due(global_step, config.checkpoint_every) else math.inf
        # It would delete the checkpoint with the lowest number of these first, which may be the latest.
        self._latest_eval_metric_value = None
        with self.turns.taken():
            super().save_logs_and_checkpoints(global_step, logs_dict, client_states)  # type: ignore[misc]
            if best and held_out is not None:
                self.save_best_checkpoint({METRIC: held_out.reward}, global_step, client_states)

    def due(self: Any, step: int, every: int) -> bool:
        """Whether it is time for what is done every so many steps, and after the last."""
        return bool(step % every == 0 or step >= self.last)

    def evaluated_now(self: Any, step: int) -> HeldOut:
        """An evaluation, logged."""
        with self.engines_held():
            held_out: HeldOut = self.held_out.evaluate(step)
        logs = {METRIC: held_out.reward, "eval_held_out_ungraded": held_out.ungraded}
        for tracker in filter(None, (self.wandb_logger, self.tensorboard_logger)):
            tracker.log_eval(step, logs)
        return held_out

    @contextmanager
    def engines_held(self) -> Iterator[None]:
        """Nobody changes their weights meanwhile."""
        yield

    def look_for_end(self: Any, record: StepRecord) -> None:
        """The first evaluation that reaches the target ends the run."""
        target, held_out = self.job.config.target, record.held_out
        if target is not None and held_out is not None and held_out.reward >= target:
            self.last = min(self.last, record.step)
            self.turns.end()

    def _compute_rollout_stats(self, experiences: list[Any]) -> Any:
        """Without the rows that only fill up."""
        trained = [experience for experience in experiences if experience.action_mask.any()]
        return super()._compute_rollout_stats(trained)  # type: ignore[misc]


def kept_until(folder: TrainingFolder, step: int) -> list[StepRecord]:
    """The records up to `step`; the file has no others any more."""
    records = read_metrics(folder.metrics)
    kept = [record for record in records if record.step <= step]
    if len(kept) < len(records):
        write_whole(folder.metrics, "".join(json.dumps(encode(record)) + "\n" for record in kept))
    return kept


def record_of(gathered: Gathered) -> StepRecord:
    """What is kept of a step that nothing has been learned from yet."""
    return StepRecord(
        step=gathered.step,
        measures=gathered.measures,
        ungraded_why=gathered.ungraded_why,
        sampled_tokens=gathered.sampled_tokens,
        gather_seconds=gathered.seconds,
    )


def update_of(status: Mapping[str, Any], tokens: int, passes: int) -> Update:
    """What OpenRLHF says of a step's optimiser updates."""
    ours = {name.removeprefix(PREFIX): float(value) for name, value in status.items() if name.startswith(PREFIX)}
    return Update(
        loss=float(status.get("policy_loss", math.nan)),
        gradient=float(status.get("actor_grad_norm", math.nan)),
        updates=int(ours.pop("updates", 0)),
        skipped=0,
        tokens=tokens,
        passes=passes,
        measures=ours | {name: float(status[name]) for name in EXTRA if name in status},
    )


def log_of(gathered: Gathered) -> dict[str, float]:
    """What a step's gathering adds to OpenRLHF's log: the recipe's measures, and shares made of them."""
    measures = gathered.measures
    groups = measures.get("groups", 0)
    shares: dict[str, float] = {}
    if groups:
        shares["filter_rate"] = measures["useful_groups"] / groups
        helped = [measures[name] for name in ("failed_groups", "hard_groups") if name in measures]
        shares |= {"helped_groups": sum(helped) / groups} if helped else {}
    tokens = {"sampled_tokens": gathered.sampled_tokens, "gather_seconds": gathered.seconds}
    logs = {**measures, **shares, **tokens}
    return {PREFIX + name: float(value) for name, value in logs.items() if math.isfinite(value)}
