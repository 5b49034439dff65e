"""Many environments as one vector environment, stepped on threads where stepping waits for something.

``gym.make_vec("stepgym/Math-v0", num_envs=8)`` makes one of these. What comes out is what Gymnasium's `SyncVectorEnv`
gives, whichever the autoreset mode; only the waiting for graders and sandboxes overlaps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import gymnasium
import numpy as np
from gymnasium.error import ClosedEnvironmentError, ResetNeeded
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from numpy.typing import NDArray

from stepgym.envs import ENVS
from stepgym.envs.text import TextEnv
from stepgym.errors import ConfigError

if TYPE_CHECKING:
    TextVectorEnv = SyncVectorEnv[tuple[str, ...], tuple[str, ...]]
else:
    TextVectorEnv = SyncVectorEnv  # not generic in older Gymnasiums

T = TypeVar("T")

MAX_THREADS = 64
"""Most threads of one vector environment. They wait; what computes is elsewhere."""


@dataclass(frozen=True, slots=True)
class EnvStep:
    """What one environment of the batch answered to one action."""

    index: int
    """Which environment."""
    observation: str
    """After an end, with `SAME_STEP` autoreset: the first observation of the next episode."""
    reward: float
    terminated: bool
    truncated: bool
    info: dict[str, Any]
    """After an end, with `SAME_STEP` autoreset: the next episode's, plus ``final_obs`` and ``final_info``."""


class ThreadVectorEnv(TextVectorEnv):
    """`SyncVectorEnv` for text environments: those that may have to wait are reset and stepped on threads.

    Spaces, seeding, autoreset modes, ``final_obs``, ``final_info`` and the masks are `SyncVectorEnv`'s. Beyond it:

    - ``reset(options={"group_size": g})`` gives one task to each g environments in a row, for algorithms that compare
      attempts at one task (GRPO). An autoreset draws a task for its environment alone, so groups go with
      `AutoresetMode.DISABLED`. ``options={"task": …}`` gives one task to all.
    - `step_some` steps some environments and leaves the rest alone, so that nobody waits for the slowest reply.

    An exception of an environment comes out as it is, with a note that says which one raised it, after the others have
    finished their step. Threads are started when one is first needed, and end with `close`.
    """

    def __init__(
        self,
        env_fns: Sequence[Callable[[], gymnasium.Env[str, str]]],
        *,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
    ) -> None:
        """`env_fns` make the environments: `TextEnv`s, in wrappers or not. Raises `ConfigError` for none, or others."""
        # The threads come first: Gymnasium closes what it collects, however far its constructor came.
        self._threads = ThreadPoolExecutor(min(len(env_fns) or 1, MAX_THREADS), thread_name_prefix="stepgym-env")
        if not env_fns:
            raise ConfigError("num_envs must be at least 1")
        super().__init__(env_fns, copy=False, autoreset_mode=autoreset_mode)
        self._cores = [env.unwrapped for env in self.envs if isinstance(env.unwrapped, TextEnv)]
        if len(self._cores) < self.num_envs:
            raise ConfigError("a ThreadVectorEnv takes TextEnvs only; gymnasium.vector.SyncVectorEnv takes any")
        self._latest = [""] * self.num_envs
        self._ended: NDArray[np.bool_] = np.zeros(self.num_envs, dtype=np.bool_)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[tuple[str, ...], dict[str, Any]]:
        """Begin an episode in every environment, or in those of ``options["reset_mask"]``; the rest play on."""
        options = dict(options or {})
        group_size = options.pop("group_size", 1)
        if not isinstance(group_size, int) or group_size < 1 or self.num_envs % group_size:
            raise ConfigError(f"group_size must divide the {self.num_envs} environments, got {group_size!r}")
        seeds = _seeds(seed, self.num_envs)
        indices = _masked(options.pop("reset_mask", None), self.num_envs)
        leaders = {i // group_size: i for i in reversed(indices)}

        def begin(index: int) -> dict[str, Any]:
            leader = leaders[index // group_size]
            shared = {} if index == leader else {"task": self._cores[leader].task}
            return self._reset(index, seeds[index], options | shared)

        infos = self._run(list(leaders.values()), begin, self._reset_blocks)
        infos |= self._run([i for i in indices if i not in infos], begin, self._reset_blocks)
        return tuple(self._latest), self._batched(infos)

    def step(
        self, actions: Sequence[str]
    ) -> tuple[tuple[str, ...], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Step every environment, each with one of `actions`, and autoreset as the mode says."""
        steps = self.step_some(range(self.num_envs), actions)
        return (
            tuple(step.observation for step in steps),
            np.array([step.reward for step in steps], dtype=np.float64),
            np.array([step.terminated for step in steps], dtype=np.bool_),
            np.array([step.truncated for step in steps], dtype=np.bool_),
            self._batched({step.index: step.info for step in steps}),
        )

    def step_some(self, indices: Sequence[int], actions: Sequence[str]) -> list[EnvStep]:
        """Step the environments of `indices`, each once, with one of `actions`; the answers come in that order.

        May be called from several threads at a time for different environments. Raises `ValueError` if the numbers of
        indices and actions differ or an index is repeated or out of range, and `gymnasium.error.ResetNeeded` where
        autoreset is disabled and an episode is over.
        """
        if isinstance(actions, str) or len(actions) != len(indices):
            raise ValueError(f"expected one action for each of {len(indices)} environments, got {actions!r:.60}")
        for action in actions:
            if not isinstance(action, str):
                raise TypeError(f"an action is a str, got {type(action).__name__}: {action!r:.60}")
        if len(set(indices)) != len(indices) or not all(0 <= i < self.num_envs for i in indices):
            raise ValueError(f"expected different indices below {self.num_envs}, got {list(indices)}")
        chosen = dict(zip(indices, actions, strict=True))
        steps = self._run(
            indices,
            lambda i: self._step(i, chosen[i]),
            lambda i: self._reset_blocks(i) if self._ended[i] else self._cores[i].may_block(chosen[i]),
        )
        return [steps[i] for i in indices]

    def close_extras(self, **kwargs: Any) -> None:
        """End the threads, then the environments."""
        self._threads.shutdown()
        super().close_extras(**kwargs)

    def _reset(self, index: int, seed: int | None, options: dict[str, Any]) -> dict[str, Any]:
        self._latest[index], info = self.envs[index].reset(seed=seed, options=options or None)
        self._ended[index] = False
        return info

    def _step(self, index: int, action: str) -> EnvStep:
        if self._ended[index]:
            if self.autoreset_mode is AutoresetMode.DISABLED:
                raise ResetNeeded("the episode is over: reset(options={'reset_mask': …}) begins the next")
            info = self._reset(index, None, {})
            return EnvStep(index, self._latest[index], 0.0, False, False, info)
        observation, reward, terminated, truncated, info = self.envs[index].step(action)
        self._latest[index] = observation
        self._ended[index] = terminated or truncated
        if self._ended[index] and self.autoreset_mode is AutoresetMode.SAME_STEP:
            info = {"final_obs": observation, "final_info": info, **self._reset(index, None, {})}
        return EnvStep(index, self._latest[index], float(reward), terminated, truncated, info)

    def _run(self, indices: Sequence[int], call: Callable[[int], T], may_block: Callable[[int], bool]) -> dict[int, T]:
        """`call` for each index: on threads where it may block, if there are several of those; the others here."""
        if self.closed:
            raise ClosedEnvironmentError("this vector environment has been closed")
        slow = [i for i in indices if may_block(i)]
        futures = {i: self._threads.submit(call, i) for i in slow} if len(slow) > 1 else {}
        results: dict[int, T] = {}
        errors: dict[int, Exception] = {}
        for i in sorted(indices, key=futures.__contains__):  # those here first, while the threads work
            try:
                results[i] = futures[i].result() if i in futures else call(i)
            except Exception as error:
                error.add_note(f"raised by environment {i} of {self.num_envs}")
                errors[i] = error
        if errors:
            raise errors[min(errors)]
        return results

    def _batched(self, infos: Mapping[int, dict[str, Any]]) -> dict[str, Any]:
        batched: dict[str, Any] = {}
        for i in sorted(infos):
            batched = self._add_info(batched, infos[i], i)
        return batched

    def _reset_blocks(self, index: int) -> bool:
        return self._cores[index].may_block(None)


def _seeds(seed: int | list[int | None] | None, count: int) -> list[int | None]:
    if seed is None or isinstance(seed, int):
        return [None if seed is None else seed + i for i in range(count)]
    if len(seed) != count:
        raise ValueError(f"expected one seed for each of {count} environments, got {len(seed)}")
    return seed


def _masked(mask: Any, count: int) -> list[int]:
    if mask is None:
        return list(range(count))
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != (count,) or not mask.any():
        raise ValueError(f"reset_mask must be a numpy array of {count} booleans, one of them True, got {mask!r:.60}")
    return [int(i) for i in np.flatnonzero(mask)]


def _make(
    env_id: str,
    /,
    *,
    num_envs: int = 1,
    autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
    **kwargs: Any,
) -> ThreadVectorEnv:
    make = partial(gymnasium.make, env_id, **kwargs)
    return ThreadVectorEnv([make] * num_envs, autoreset_mode=autoreset_mode)


def __getattr__(name: str) -> Any:
    # Gymnasium's make_vec does not tell a vector_entry_point which environment it is for, so each id has its own, named
    # as the id is: "stepgym.envs.vector:stepgym/Math-v0".
    if name in ENVS:
        return partial(_make, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
