"""The process that runs OpenRLHF: ``python -m stepgym.trainers.cluster.launch ORDER SCRATCH``.

It connects to Ray, or starts it, puts our classes in the place of OpenRLHF's, and runs OpenRLHF's own command
(``openrlhf.cli.train_ppo_ray``) in this process. It ends when its standard input does: then nobody watches over it.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stepgym.trainers.cluster.cpu import shim
from stepgym.trainers.cluster.flags import openrlhf_flags
from stepgym.trainers.cluster.job import Job
from stepgym.trainers.cluster.order import Order
from stepgym.trainers.cluster.preflight.placement import place_parts
from stepgym.trainers.cluster.rollouts.episodes import LIMIT
from stepgym.trainers.cluster.scratch import remove
from stepgym.trainers.cluster.session import end_rest
from stepgym.trainers.config import TrainConfig
from stepgym.trainers.making import make_recipe

COMMAND = "openrlhf.cli.train_ppo_ray"
VARIABLES = {"TOKENIZERS_PARALLELISM": "true", "NCCL_DEBUG": "WARN", "RAY_ENABLE_ZERO_COPY_TORCH_TENSORS": "1"}
"""What OpenRLHF sets in the environment of its processes where it starts Ray itself."""
PRIORITY = ("RAY_worker_niceness", "0")
"""For a Ray that is started here: its workers would step back for whatever else runs, and with them the event loop that
a vLLM engine and hundreds of episodes wait for."""

_ABANDONED = threading.Event()


def main(file: Path) -> None:
    """Run the order in `file`, wholly: OpenRLHF goes on from the last checkpoint that it finds."""
    signal.signal(signal.SIGTERM, _leave)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    order = Order.read(file)
    os.environ.setdefault(*PRIORITY)
    on_cpu = order.config.device == "cpu"
    if on_cpu:
        shim.install()
    import ray

    ray.init(**_ray(order.config))
    from stepgym.trainers.cluster.watching import Watch

    try:
        job = Job(config=order.config, model=order.model, solver=order.solver, tasks=ray.put(order.tasks))
        import openrlhf.utils as openrlhf

        from stepgym.trainers.cluster.classes import put_in_place

        put_in_place(asynchronous=order.config.cluster.asynchronous)
        openrlhf.get_strategy = _carrying(job, openrlhf.get_strategy, on_cpu=on_cpu)
        sys.argv = [COMMAND, *openrlhf_flags(order)]
        with Watch():
            runpy.run_module(COMMAND, run_name="__main__", alter_sys=True)
    finally:
        ray.shutdown()


def _ray(config: TrainConfig) -> dict[str, Any]:
    """What Ray is started or joined with."""
    variables = {name: os.environ.get(name, value) for name, value in VARIABLES.items()}
    variables[LIMIT] = str(config.cluster.episodes)
    runtime: dict[str, Any] = {"env_vars": variables}
    started: dict[str, Any] = {"address": config.cluster.address or "local", "runtime_env": runtime}
    if config.device == "cpu":
        variables |= {name: os.environ[name] for name in shim.ENVIRONMENT}
        runtime["worker_process_setup_hook"] = shim.HOOK
        if not config.cluster.address:
            gpus = _pretended(config)
            started |= {"num_gpus": gpus, "num_cpus": gpus + 16, "object_store_memory": 500_000_000}
    if not config.cluster.address:
        started["include_dashboard"] = False
    return started


def _pretended(config: TrainConfig) -> int:
    """GPUs that Ray is told of where there are none, for placement's sake."""
    return sum(part.gpus for part in place_parts(config, make_recipe(config.recipe, config.settings)))


def _carrying(job: Job, get_strategy: Callable[[Any], Any], *, on_cpu: bool) -> Callable[[Any], Any]:
    """OpenRLHF's first step after it has checked its arguments, which then hold the job for all its processes."""

    def get(args: Any) -> Any:
        args.stepgym = job
        if on_cpu:  # flash-attn is what packs
            args.ds.packing_samples, args.ds.attn_implementation = False, "eager"
        return get_strategy(args)

    return get


def _leave(_signal: int, _frame: object) -> None:
    sys.exit(128 + signal.SIGTERM)


def _end_with_parent() -> None:
    os.read(sys.stdin.fileno(), 1)  # nothing is ever written there
    _ABANDONED.set()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    order, scratch = map(Path, sys.argv[1:])
    try:
        main(order)
    finally:
        end_rest()  # a Ray that was ended while it started leaves some of its processes
        if _ABANDONED.is_set():
            remove(scratch)
