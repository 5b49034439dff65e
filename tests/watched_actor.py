"""A rollout actor with a real engine, whose event loop is watched, for the tests and the benchmark of episodes."""

from __future__ import annotations

import asyncio
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TICK = 0.01
"""Seconds that a watch sleeps; what it oversleeps is how late its event loop is."""


@contextmanager
def watched_actor(model: Path, *, context: int, environment: Mapping[str, str] | None = None) -> Iterator[Any]:
    """The handle of a `RolloutActor`, made as OpenRLHF makes them, in a Ray of its own. In float32, to be compared."""
    import ray

    from stepgym.trainers.cluster.cpu.shim import HOOK, install
    from stepgym.trainers.cluster.launch import PRIORITY

    install()
    os.environ.setdefault(*PRIORITY)
    folder = tempfile.mkdtemp(prefix="ray-")  # a short path: Ray's sockets are below it
    ray.init(
        num_cpus=4,
        num_gpus=1,
        include_dashboard=False,
        object_store_memory=200 << 20,
        _temp_dir=folder,
        log_to_driver=False,
        runtime_env={"worker_process_setup_hook": HOOK, "env_vars": {"TMPDIR": folder, **(environment or {})}},
    )
    try:
        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import the tests
        yield (
            ray.remote(_watched_class())
            .options(num_cpus=1, num_gpus=1)
            .remote(
                model=str(model),
                dtype="float32",
                max_model_len=context,
                enforce_eager=True,
                enable_prefix_caching=True,
                gpu_memory_utilization=0.1,
                seed=0,
                logprobs_mode="processed_logprobs",
                worker_extension_cls="openrlhf.trainer.ray.vllm_worker_wrap.WorkerWrap",
                tensor_parallel_size=1,
                distributed_executor_backend="uni",
                bundle_indices=None,
                num_gpus=1,
            )
        )
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def _watched_class() -> type:
    from stepgym.trainers.cluster.rollouts.rollout_actor import RolloutActor

    class WatchedActor(RolloutActor):  # type: ignore[misc]
        async def watch(self) -> None:
            self._late: list[float] = []
            self._watch = asyncio.create_task(self._tick())

        async def unwatch(self) -> list[float]:
            self._watch.cancel()
            return self._late

        async def execute_plain(self, label: str, sampling_params: Any, max_length: int) -> dict[str, Any]:
            """An episode as plain OpenRLHF plays it, with our agent loaded from its file."""
            from openrlhf.trainer.ray.vllm_engine import _load_agent_executor

            from stepgym.trainers.cluster.rollouts import agent

            return await _load_agent_executor(agent.__file__).execute(
                prompt="",
                label=label,
                sampling_params=sampling_params,
                max_length=max_length,
                hf_tokenizer=self.llm.get_tokenizer(),
                llm_engine=self,
            )

        async def _tick(self) -> None:
            while True:
                begun = time.perf_counter()
                await asyncio.sleep(TICK)
                self._late.append(time.perf_counter() - begun - TICK)

    return WatchedActor


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """Groups that were all asked for at once, and what that did to the event loop."""

    trajectories: list[Any]
    seconds: float
    late: list[float]
    """Seconds, of each tick."""
    idle: list[float]
    """The same at the same time in a process that does nothing else: how late this machine is anyway."""


def percentile(late: Sequence[float], hundredth: int) -> float:
    """The percentile of that number."""
    return statistics.quantiles(late, n=100)[hundredth - 1]


def play_watched(actor: Any, requests: Sequence[Any]) -> Played:
    """Play the groups of `requests`."""
    import ray

    ray.get(actor.watch.remote())
    idle = _IdleLoop()
    begun = time.perf_counter()
    asked = [
        actor.generate_responses.remote("", request.to_json(), num_samples=len(request.seeds)) for request in requests
    ]
    trajectories = [answer["trajectory"] for answers in ray.get(asked) for answer in answers]
    seconds = time.perf_counter() - begun
    late: list[float] = ray.get(actor.unwatch.remote())
    return Played(trajectories=trajectories, seconds=seconds, late=late, idle=idle.end())


class _IdleLoop:
    CODE = f"""
import asyncio, sys, threading, time
late = []
async def tick():
    while True:
        begun = time.perf_counter()
        await asyncio.sleep({TICK})
        late.append(time.perf_counter() - begun - {TICK})
threading.Thread(target=lambda: asyncio.run(tick()), daemon=True).start()
sys.stdin.read()
print(*late, flush=True)
import os
os._exit(0)
"""

    def __init__(self) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen([sys.executable, "-c", self.CODE], stdin=pipe, stdout=pipe, text=True)

    def end(self) -> list[float]:
        said, _ = self._process.communicate()
        return [float(one) for one in said.split()]
