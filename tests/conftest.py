"""What all tests share: the data folder, and the promise that nothing outlives them."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stepgym.errors import SandboxError
from stepgym.sandboxes import SANDBOXES, make
from tests.docker_engine import docker_engine  # noqa: F401, a fixture
from tests.ray_nodes import ray_cluster  # noqa: F401, a fixture
from tests.swebench_process import oracle  # noqa: F401, a fixture

MARK = "STEPGYM_TEST_RUN"
STAYS = ("ray-", "torchinductor_", "vllm_dist_")
"""What daemons of a test's own Ray write when they are ended already, what torch has compiled for all runs, and the
small file that each engine of vLLM's forgets."""
BESIDE_CHECKOUT = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_configure() -> None:
    """Name the data folder to the loaders, and to the processes that tests start, in the way users do.

    What tests leave behind shows in a temporary folder of their own; pytest's is where it always is.
    """
    os.environ[MARK] = str(os.getpid())
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    os.environ["TMPDIR"] = tempfile.tempdir = tempfile.mkdtemp(prefix="t-")  # short: sockets are below it
    if BESIDE_CHECKOUT.is_dir():
        os.environ.setdefault("STEPGYM_DATA", str(BESIDE_CHECKOUT))


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of benchmark data (it holds ``math/``); the test is skipped where there is none."""
    folder = Path(os.environ.get("STEPGYM_DATA", BESIDE_CHECKOUT))
    if not (folder / "math").is_dir():
        pytest.skip(f"no benchmark data: {folder} has no folder math/ (set STEPGYM_DATA)")
    return folder


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random Llama over single characters; its own generation settings would change what is sampled."""
    import torch
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("model")
    vocabulary = {piece: i for i, piece in enumerate(["<unk>", "<s>", "</s>", *"abcdefghijklmnopqrstuvwxyz ?"])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer.decoder = decoders.Fuse()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="</s>").save_pretrained(folder)
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(vocabulary),
            hidden_size=128,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=64,
            initializer_range=0.2,
            eos_token_id=2,
        )
    )
    model.generation_config.update(repetition_penalty=1.5, top_k=3, temperature=0.1, do_sample=True)
    model.save_pretrained(folder)
    return folder


ENGINES = {"docker": "docker_engine", "ray": "ray_cluster"}
"""Fixtures that sandboxes of a back end need."""


@pytest.fixture(scope="module", params=SANDBOXES)
def backend(request: pytest.FixtureRequest) -> str:
    """The name of every back end; the test is skipped, in its own words, where it cannot run here."""
    name: str = request.param
    if name in ENGINES:
        request.getfixturevalue(ENGINES[name])
    try:
        with make(name):
            return name
    except SandboxError as error:
        pytest.skip(f"{name}: {error}")


@pytest.fixture(scope="session")
def namespaces() -> None:
    """Tests that ask for this are skipped where no embedded sandbox can be had, in its own words."""
    try:
        make("namespace").start().close()
    except SandboxError as error:
        pytest.skip(f"no sandbox here: {error}")


@pytest.fixture(scope="session", autouse=True)
def nothing_outlives_the_tests() -> Iterator[None]:
    """After the last test no file is left and no process that they started, neither a child nor an orphan of one."""
    yield
    from stepgym.sandboxes import shared_pool

    shared_pool().close()
    deadline = time.monotonic() + 10
    while (left := processes_of_ours()) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert left == []
    place = Path(tempfile.gettempdir())
    assert sorted(path.name for path in place.iterdir() if not path.name.startswith(STAYS)) == []
    shutil.rmtree(place)


def processes_of_ours() -> list[str]:
    """Command lines of running processes that were started below this one, known by the mark in their environment."""
    mark = f"{MARK}={os.getpid()}\0".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            marked = mark in (entry / "environ").read_bytes()
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue  # ended meanwhile, or not ours to look at
        if marked and command and "multiprocessing.resource_tracker" not in command:
            found.append(command)
    return found
