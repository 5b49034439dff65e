"""The base of environments on a repository: each episode has a sandbox of its own, and ends with a patch."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, Self, TypeAlias

from stepgym.envs.task_set import TaskSource
from stepgym.envs.text import Outcome, TextEnv
from stepgym.errors import SandboxError
from stepgym.records import Score
from stepgym.rewards import Reward
from stepgym.sandboxes import Capability, Sandbox, SandboxPool, Spec, make
from stepgym.tasks.swe import Instance, instance_of

SandboxSource: TypeAlias = str | SandboxPool
"""A back end's name, for a sandbox of one's own, or a pool that one is taken from."""


class RepositoryEnv(TextEnv):
    """A `TextEnv` with the repository of ``self.task`` in a sandbox, from `reset` to the end of the episode.

    The sandbox holds the base without its future: no later commits, no hidden tests. It is closed when the episode
    ends, by a further `reset`, and by `close`; an environment that is thrown away in mid-episode must be closed.

    What breaks in the sandbox or in grading is not the agent's doing: `reset` raises `SandboxError`, and a step is
    truncated with a NaN reward and ``info["ungraded"]``. In the last step, ``info["patch"]`` is the diff that was
    judged; it stays in `patch` until the next `reset`.

    A deep copy in mid-episode is a fork with the same files (a background process is not copied, and ends in the
    original too). A pickled episode holds the actions so far; its copy takes them again in a sandbox of its own, when
    it is first stepped.
    """

    def __init__(
        self,
        tasks: TaskSource,
        *,
        sandbox: SandboxSource,
        spec: Spec | None,
        reward: Reward | str,
        max_steps: int,
        max_characters: int,
    ) -> None:
        """As `TextEnv`. The reward ``"swe-tests"`` runs the hidden tests in the same kind of sandbox, a fresh one."""
        given = spec or Spec()
        self.sandbox, self.sandbox_spec = sandbox, replace(given, env=dict(given.env))  # a dict, for it can be pickled
        if reward == "swe-tests":
            from stepgym.rewards.swe.hidden_tests import HiddenTests

            reward = HiddenTests(sandbox, spec=self.sandbox_spec)
        super().__init__(tasks, reward=reward, max_steps=max_steps, max_characters=max_characters)
        self.patch = ""
        """The diff of the episode that was last submitted."""
        self._held = ExitStack()
        self._box: Sandbox | None = None
        self._base = ""
        """The commit that changes are told from."""
        self._taken: list[str] = []
        """Actions of this episode that changed what is in the sandbox."""

    @abstractmethod
    def take_again(self, action: str) -> None:
        """Do in the sandbox what `action` did when it was taken."""

    @property
    def instance(self) -> Instance:
        """What the current task is graded by. Raises `TaskError`."""
        return instance_of(self.task)

    @property
    def box(self) -> Sandbox:
        """The episode's sandbox. Raises `SandboxError`."""
        if self._box is None:
            self._open()
            for action in self._taken:
                self.take_again(action)
        assert self._box is not None
        return self._box

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """As `TextEnv`. Raises `SandboxError` where no sandbox can be had."""
        self._close()
        self.patch = ""
        try:
            return super().reset(seed=seed, options=options)
        except BaseException:
            self._close()
            raise

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """As `TextEnv`, with ``info["patch"]`` at the end."""
        observation, reward, terminated, truncated, info = super().step(action)
        if terminated or truncated:
            self._close()
            info["patch"] = self.patch
        return observation, reward, terminated, truncated, info

    def close(self) -> None:
        """End the episode, and its sandbox."""
        super().close()
        self._close()

    def submitted(self) -> Score:
        """The verdict on the changes in the sandbox, which is closed: what is judged can change no more."""
        from stepgym.rewards.swe.repository import diff

        box = self.box
        self.patch = diff(box, self.instance, self._base)
        self._close()
        return self.judge(self.patch)

    def broken(self, error: SandboxError, observation: str) -> Outcome:
        """The outcome of an action during which the sandbox failed."""
        return Outcome(observation, Score.ungraded(f"sandbox: {error}"))

    def _open(self) -> None:
        from stepgym.rewards.swe.repository import prepare, spec_for

        instance = self.instance
        spec = spec_for(instance, self.sandbox_spec)
        with ExitStack() as stack:
            if isinstance(self.sandbox, str):
                box = stack.enter_context(make(self.sandbox, spec))
            else:
                box = stack.enter_context(self.sandbox.take(spec))
            self._base = prepare(box, instance)
            self._held, self._box = stack.pop_all(), box

    def _close(self) -> None:
        held, self._held, self._box = self._held, ExitStack(), None
        held.close()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        memo |= {id(shared): shared for shared in (self.sandbox, self.sandbox_spec)}
        held, box = self._held, self._box
        self._held, self._box = ExitStack(), None
        try:
            copied = super().__deepcopy__(memo)
        finally:
            self._held, self._box = held, box
        if box is not None and Capability.SNAPSHOTS in box.capabilities:
            copied._box = copied._held.enter_context(box.fork(box.snapshot()))
        return copied

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_held", "_box")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _held=ExitStack(), _box=None)
