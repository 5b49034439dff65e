"""`stepgym annotate`: has a policy write hints, sub-questions or steps for a whole task set.

What is finished stands in the output file at once, a task a line, and beside it a ``.settings.json`` says what it was
made from. So work can be killed at any moment, and the same call goes on; the file can be loaded as tasks throughout.
When all is done its tasks are put into the order of the source.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from stepgym.agents.annotation_file import AnnotationFile
from stepgym.agents.making import PolicyConfig, make_policy
from stepgym.agents.policy import Policy, Sampling
from stepgym.agents.running import run_to_end
from stepgym.agents.writing import Writer, Written, annotate_task
from stepgym.errors import ConfigError, PolicyError
from stepgym.progress import Progress
from stepgym.records import Task, Usage
from stepgym.store import JsonLines


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation(PolicyConfig):
    """Settings of writing material for the tasks of a source."""

    tasks: Positional[str]
    """A task set's name, a family with its settings, or a file; see `stepgym tasks list`."""
    out: Path
    """The .jsonl file to write; the same command with the same file goes on where it stopped."""
    limit: int | None = None
    """Only the first so many tasks."""
    replace: bool = False
    """Write the material for tasks that have it already, too; they are kept as they are otherwise."""
    tries: int = 3
    """How often a task is tried before it is given up."""
    feedback: bool = True
    """Tell the model why its reply was rejected. Switch it off for a model that knows one form of prompt only."""
    temperature: float = 1.0
    """0 is greedy."""
    top_p: float = 1.0
    """Sample from the likeliest tokens that make up this much probability."""
    max_tokens: int = 4096
    """Most tokens of one reply, thoughts included; one that is cut off is rejected."""
    seed: int = 0
    """Of the sampling."""
    concurrency: int = 32
    """Tasks under way at a time."""
    patience: int = 10
    """Stop when so many tasks in a row have failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What an output file holds, and what is missing."""

    kept: int
    """Tasks that had the material."""
    written: int
    rejected: Mapping[str, int]
    """Tasks given up, by the reason of the last rejection. They are in the file, without the material."""
    failed: int
    """Tasks the policy could not be asked about. They are not in the file; the same command tries them again."""
    failure: str
    """One of the errors, or ""."""
    usage: Usage
    """Of this call alone."""


def annotate(config: Annotation, writer: Writer) -> Summary:
    """Write what is missing. Raises what tasks, policy and store raise, and `PolicyError` when patience ends."""
    from stepgym.tasks import load

    sampling = Sampling(temperature=config.temperature, top_p=config.top_p, max_tokens=config.max_tokens)
    for name in ("tries", "concurrency", "patience"):
        if getattr(config, name) < 1:
            raise ConfigError(f"{name} must be at least 1, got {getattr(config, name)}")
    tasks = load(config.tasks, limit=config.limit)
    output = AnnotationFile(config.out, writer.field)
    output.check(config, tasks)
    policy = make_policy(config, tasks=tasks)  # what is wrong with it is found before a file is made
    kept = {task.id: task for task in tasks if writer.has(task) and not config.replace}
    with JsonLines(output.path) as file:
        output.claim(config, tasks)
        done = kept | output.read(tasks)
        missing = [task for task in tasks if task.id not in done]
        with Progress(f"annotate {writer.field}", len(tasks), done=len(tasks) - len(missing)) as progress:
            recorder = _Recorder(output, file, progress, done, config.patience)
            run_to_end(_write(policy, writer, missing, recorder, config, sampling))
        output.sort(tasks, done)
    rest = [task for task in done.values() if task.id not in kept]
    rejected = Counter(why for task in rest if (why := output.rejection(task)))
    return Summary(
        kept=len(kept),
        written=len(rest) - rejected.total(),
        rejected=rejected,
        failed=recorder.failed,
        failure=recorder.failure,
        usage=recorder.usage,
    )


async def _write(
    policy: Policy,
    writer: Writer,
    tasks: Collection[Task],
    recorder: _Recorder,
    config: Annotation,
    sampling: Sampling,
) -> None:
    todo = iter(tasks)

    async def work() -> None:
        for task in todo:
            try:
                written = await annotate_task(
                    policy,
                    writer,
                    task,
                    sampling=sampling,
                    tries=config.tries,
                    feedback=config.feedback,
                    seed=config.seed,
                )
            except PolicyError as error:
                recorder.fail(error)
            else:
                recorder.record(written)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(config.concurrency, len(tasks))):
                group.create_task(work())
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    finally:
        await policy.close()


class _Recorder:
    """Stores what is finished, shows how it goes, and notices when nothing goes any more."""

    def __init__(
        self, output: AnnotationFile, file: JsonLines, progress: Progress, done: dict[str, Task], patience: int
    ) -> None:
        self.output, self.file, self.progress, self.done, self.patience = output, file, progress, done, patience
        self.written = self.rejected = self.failed = self.in_a_row = 0
        self.failure = ""
        self.usage = Usage()

    def record(self, written: Written) -> None:
        why = written.rejection.why if written.rejection else ""
        task = self.output.marked(written.task, why)
        self.file.append(task)
        self.done[task.id] = task
        self.usage += written.usage
        self.rejected += bool(why)
        self.written += not why
        self.in_a_row = 0
        self._show()

    def fail(self, error: PolicyError) -> None:
        self.failed += 1
        self.in_a_row += 1
        self.failure = str(error)
        if self.in_a_row >= self.patience:
            raise PolicyError(f"stopped after {self.in_a_row} failures in a row; the last: {error}")
        self._show()

    def _show(self) -> None:
        self.progress.advance(f"{self.written} written, {self.rejected} rejected, {self.failed} failed")
