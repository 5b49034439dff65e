"""OpenRLHF's trainer on a machine without a GPU: its modules are changed as they are imported, and none is copied.

What it assumes of GPUs is little: that torch has a current CUDA device, that flash-attn is installed, that DeepSpeed's
device mesh is on CUDA, and that weights reach vLLM by NCCL. `install` goes first into every process of a run; Ray does
that for its workers with ``runtime_env={"worker_process_setup_hook": HOOK}``. For tests and first steps: a run on GPUs
goes without.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from stepgym.errors import MissingDependencyError

HOOK = "stepgym.trainers.cluster.cpu.shim.install"
"""The name of `install`, as Ray wants it."""

ENVIRONMENT = {
    "DS_ACCELERATOR": "cpu",
    "OMP_NUM_THREADS": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TOKENIZERS_PARALLELISM": "false",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
}
"""Environment variables of every process of such a run.

vLLM's cache of keys and values gets 1 GiB, and its engine works in the process that schedules, not in another one.
"""

WORKER = "stepgym.trainers.cluster.cpu.worker.CpuWorkerWrap"
"""What vLLM's worker gets in place of OpenRLHF's ``WorkerWrap``."""


class CpuDevice(str):
    """What ``torch.cuda.current_device()`` answers: a device's name, ``cpu``, that is ``0`` in ``f"cuda:{device}"``."""

    __slots__ = ()

    def __format__(self, spec: str) -> str:
        return "0"


def install() -> None:
    """Change what is imported from here on, and torch at once if it is there. Again is harmless."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, _Finder())
    for name, change in _AFTER.items():
        if name in sys.modules:
            change(sys.modules[name])


def _torch(torch: Any) -> None:
    device = CpuDevice("cpu")
    torch.cuda.current_device = lambda: device
    for name in ("set_device", "synchronize", "empty_cache", "current_stream"):
        setattr(torch.cuda, name, lambda *_args, **_kwargs: None)  # one each: torch's compiler tells them apart


def _distributed_util(module: Any) -> None:
    from stepgym.trainers.cluster.cpu.weights import weights_group

    module.stateless_init_process_group = weights_group


def _deepspeed(module: Any) -> None:
    mesh = module.init_device_mesh

    def on_cpu(device_type: str, *args: Any, **kwargs: Any) -> Any:
        return mesh("cpu" if device_type == "cuda" else device_type, *args, **kwargs)

    module.init_device_mesh = on_cpu


def _vllm_engine(module: Any) -> None:
    # Not a subclass: ray.remote copies inherited methods by value, and a zero-argument super() in them would name
    # another copy of the class.
    import ray

    actor = module.RolloutRayActor.__ray_metadata__.modified_class.__ray_actor_class__
    init = actor.__init__

    async def on_cpu(self: Any, *args: Any, **kwargs: Any) -> None:
        # Prompts in one piece: where a step reads a part of one, vLLM takes its seeded generator a step back, and
        # torch's generators on a CPU do not go back.
        await init(self, *args, **(kwargs | {"worker_extension_cls": WORKER, "enable_chunked_prefill": False}))

    actor.__init__ = on_cpu
    module.RolloutRayActor = ray.remote(actor)


@contextmanager
def _flash_attention() -> Iterator[None]:
    """Modules in the place of flash-attn, only while one module is imported that cannot do without."""
    for name in ("transformers", "peft", "deepspeed"):  # they look for flash-attn themselves, and must not find these
        importlib.import_module(name)

    def missing(*_args: object, **_kwargs: object) -> None:
        raise MissingDependencyError("packed samples and ring attention need flash-attn, which needs a GPU")

    stubs: dict[str, Any] = {
        name: ModuleType(name)
        for name in ("flash_attn", "flash_attn.bert_padding", "flash_attn.utils", "flash_attn.utils.distributed")
    }
    for name in ("flash_attn", "flash_attn.utils"):
        stubs[name].__path__ = []
    for name in ("index_first_axis", "pad_input", "unpad_input", "rearrange"):
        setattr(stubs["flash_attn.bert_padding"], name, missing)
    stubs["flash_attn.utils.distributed"].all_gather = missing
    sys.modules.update(stubs)
    try:
        yield
    finally:
        for name in stubs:
            sys.modules.pop(name, None)


_DURING: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "openrlhf.models.ring_attn_utils": _flash_attention,
}
_AFTER: dict[str, Callable[[Any], None]] = {
    "torch": _torch,
    "openrlhf.utils.distributed_util": _distributed_util,
    "openrlhf.utils.deepspeed.deepspeed": _deepspeed,
    "openrlhf.trainer.ray.vllm_engine": _vllm_engine,
}


class _Finder:
    """Finds those modules where Python does, with a loader that changes them."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in _DURING and name not in _AFTER:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return None
        loader: Any = spec.loader  # made for this spec alone, so that its method can be replaced
        load = loader.exec_module

        def load_changed(module: ModuleType) -> None:
            with _DURING.get(name, nullcontext)():
                load(module)
            if name in _AFTER:
                _AFTER[name](module)

        loader.exec_module = load_changed
        return spec
