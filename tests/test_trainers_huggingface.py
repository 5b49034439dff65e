"""The local engine with HuggingFace models: exact log-probabilities, checkpoints, kill -9, bfloat16."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from stepgym.agents.policy import Sampling
from stepgym.codec import encode
from stepgym.errors import ConfigError, PolicyError, StoreError
from stepgym.evals.maths import MathEval, evaluate_math
from stepgym.records import Message, Reply, Role, Score, Step, Stop, Task, Trajectory
from stepgym.trainers import ModelConfig, TrainConfig, Training, load_checkpoint, train
from stepgym.trainers import batches as batches_module
from stepgym.trainers.batches import make_batches
from stepgym.trainers.critic import Critic
from stepgym.trainers.grpo import GRPO
from stepgym.trainers.huggingface import CausalModel, load_huggingface
from stepgym.trainers.learner import Learner
from stepgym.trainers.losses import Normalise
from stepgym.trainers.making import make_recipe
from stepgym.trainers.metrics import read_metrics
from stepgym.trainers.model import Transformer
from stepgym.trainers.planning import make_plan
from stepgym.trainers.precision import casting
from stepgym.trainers.samples import Sample, demonstration, to_samples
from stepgym.trainers.sizes import sizes_of

ANSWERS = [f"\\boxed{{{digit}}}" for digit in range(6)]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random Llama, for which an answer is one token: it solves a task by chance now and then."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("answering")
    vocabulary = {piece: i for i, piece in enumerate(["<unk>", "</s>", *ANSWERS, *"0123456789+="])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\\boxed\{\d\}|."), "isolated")
    tokenizer.decoder = decoders.Fuse()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="</s>").save_pretrained(folder)
    torch.manual_seed(0)
    made = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(vocabulary),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=32,
            eos_token_id=1,
        )
    )
    made.generation_config.update(temperature=0.5, top_k=7, do_sample=True)
    made.save_pretrained(folder)
    return folder


@pytest.fixture
def sums(tmp_path: Path) -> str:
    path = tmp_path / "sums.jsonl"
    tasks = [Task(id=f"{i}", prompt=f"{i}+1=", answer=f"{i + 1}", steps=(ANSWERS[i + 1],)) for i in range(5)]
    path.write_text("".join(task.to_json() + "\n" for task in tasks))
    return str(path)


def config(recipe: str, tasks: str, start: Path, out: Path, **settings: Any) -> TrainConfig:
    usual: dict[str, Any] = {"max_tokens": 4, "tasks": (tasks,), "held_out": (tasks,), "start": start, "out": out}
    return TrainConfig(recipe=recipe, **usual | settings)


def numbers(run: Training) -> str:
    records = read_metrics(run.folder / "metrics.jsonl")
    return repr([replace(record, gather_seconds=0.0, learn_seconds=0.0) for record in records])


def weights(run: Training) -> dict[str, torch.Tensor]:
    return load_huggingface(str(run.checkpoint), "cpu").model.state_dict()


def sampled(policy: Any, texts: list[str]) -> list[Sample]:
    chats = [[Message(Role.USER, text)] for text in texts]
    replies = policy.sample_batch(chats, Sampling(max_tokens=12), list(range(len(texts))))
    return [sample for reply in replies for sample in to_samples(attempt(reply))]


def attempt(reply: Reply) -> Trajectory:
    step = Step(observation="", reply=reply, score=Score(0.0))
    return Trajectory(task=Task(id="", prompt=""), steps=(step,), stop=Stop.ANSWERED)


TEXTS = ["a", "what is this thing?", "abc", "q?"]


@pytest.mark.parametrize(("precision", "within"), [("float32", 1e-4), ("bfloat16", 0.3)])
def test_logprobs_agree_while_sampling_and_training(tiny_llama: Path, precision: Any, within: float) -> None:
    backbone = load_huggingface(str(tiny_llama), "cpu")
    settings = TrainConfig(recipe="grpo", precision=precision)
    samples = sampled(backbone.policy("tiny", settings), TEXTS)
    assert len({len(sample.context) for sample in samples}) > 2
    trained = Learner(backbone.model, GRPO(), settings).logprobs(samples, backbone.model)
    away = [abs(a - b) for s, row in zip(samples, trained, strict=True) for a, b in zip(s.logprobs, row, strict=True)]
    assert len(away) > 20
    assert max(away) < within
    assert precision == "float32" or max(away) > 1e-4  # products were rounded


def small(kind: str, **more: Any) -> Any:
    import transformers

    usual = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    more = {"num_key_value_heads": 1, "intermediate_size": 24, "max_position_embeddings": 64, **more}
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    torch.manual_seed(0)
    made = getattr(transformers, f"{kind}Config")(**usual | special | more)
    suffix = "LMHeadModel" if kind in ("GPT2", "Bert") else "ForCausalLM"
    return getattr(transformers, kind + suffix)(made)


ARCHITECTURES = {
    "Llama": {},
    "Qwen3": {"head_dim": 8, "tie_word_embeddings": True},
    "Mistral": {"sliding_window": 4},
    "Gemma2": {"head_dim": 8, "final_logit_softcapping": 0.5, "sliding_window": 4},
    "Granite": {"logits_scaling": 7.0},
    "Cohere": {"logit_scale": 0.3},
    "GPT2": {"n_embd": 16, "n_layer": 2, "n_head": 2},
    "OPT": {"ffn_dim": 24, "word_embed_proj_dim": 8},
    "Bloom": {"n_layer": 2, "n_head": 2},
    "Mixtral": {"num_local_experts": 2, "num_experts_per_tok": 1},
    "Mamba": {"state_size": 4, "intermediate_size": 32},
}


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_logits_of_right_padded_rows_are_those_of_the_whole_model(kind: str) -> None:
    causal = small(kind, **ARCHITECTURES[kind]).eval()
    model = CausalModel(causal)
    rows = [demonstration((5, 6), (7, 8, 9)), demonstration((3,) * 7, tuple(range(10, 20))), demonstration((4,), (5,))]
    (batch,) = make_batches(rows, Normalise.TOKEN, max_tokens=1000)
    with torch.no_grad():
        expected = []
        for i in batch.samples:
            ids = torch.tensor([[*rows[i].context, *rows[i].tokens]])
            logprobs = causal(ids).logits[0].log_softmax(-1)
            start = len(rows[i].context) - 1
            expected += [float(logprobs[start + t, token]) for t, token in enumerate(rows[i].tokens)]
    assert batch.logprobs(model).tolist() == pytest.approx(expected, abs=1e-4)
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in causal.parameters())
    assert Critic(model).values(batch).tolist() == [0.0] * len(expected)


def test_logits_in_parts_have_the_same_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    model = CausalModel(small("Llama")).double()
    (batch,) = make_batches([demonstration((5, 6), tuple(range(7, 30)))], Normalise.TOKEN, max_tokens=1000)
    whole = torch.autograd.grad(batch.logprobs(model).sum(), list(model.parameters()))
    monkeypatch.setattr(batches_module, "LOGITS", 40 * 6)
    parts = torch.autograd.grad(batch.logprobs(model).sum(), list(model.parameters()))
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(whole, parts, strict=True))


@pytest.mark.parametrize("logits", [40 * 6, 2**26])
@pytest.mark.parametrize("make", [lambda: small("Llama"), None])
def test_bfloat16_gives_every_weight_its_gradient(make: Any, logits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches_module, "LOGITS", logits)
    model = CausalModel(make()) if make else Transformer.seeded(40, ModelConfig(width=16, layers=2, heads=2), 0)
    (batch,) = make_batches([demonstration((5, 6), tuple(range(7, 30)))], Normalise.TOKEN, max_tokens=1000)
    names = [name for name, _ in model.named_parameters()]
    exact = torch.autograd.grad(batch.logprobs(model).sum(), list(model.parameters()))
    with casting("cpu", "bfloat16"):
        logprobs = batch.logprobs(model)
    assert logprobs.dtype == torch.float32
    rough = torch.autograd.grad(logprobs.sum(), list(model.parameters()))
    for name, a, b in zip(names, exact, rough, strict=True):
        assert 0 < (a - b).norm() < 0.05 * a.norm(), name


def test_a_model_that_looks_ahead_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"BertLMHeadModel cannot be trained here"):
        CausalModel(small("Bert"))


@pytest.fixture(scope="module")
def learned(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Training:
    folder = tmp_path_factory.mktemp("learned")
    tasks = folder / "sums.jsonl"
    made = [Task(id=f"{i}", prompt=f"{i}+1=", answer=f"{i + 1}") for i in range(5)]
    tasks.write_text("".join(task.to_json() + "\n" for task in made))
    settings = ("tasks=5", "group=16", "learning_rate=0.01")
    return train(config("grpo", str(tasks), model, folder / "run", steps=30, warmup=0, settings=settings))


def test_reward_rises(learned: Training) -> None:
    rewards = [record.measures["reward"] for record in read_metrics(learned.folder / "metrics.jsonl")[1:]]
    assert sum(rewards[:3]) / 3 < 0.35
    assert sum(rewards[-3:]) / 3 > 0.55
    assert learned.after.reward > 0.5 > learned.before.reward


def test_a_checkpoint_is_a_model_for_everybody(learned: Training, model: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    assert learned.checkpoint == learned.folder / "checkpoint"
    assert [path.name for path in learned.folder.glob("*checkpoint-*")] == ["checkpoint-30"]
    other = AutoModelForCausalLM.from_pretrained(learned.checkpoint)
    assert AutoTokenizer.from_pretrained(learned.checkpoint).eos_token == "</s>"
    mine, theirs = weights(learned), other.state_dict()
    assert all(torch.equal(mine[f"causal.{name}"], weight) for name, weight in theirs.items())
    assert other.generation_config.top_k == 7  # its own settings go with it
    tasks = json.loads((learned.folder / "config.json").read_text())["held_out"][0]
    settings: dict[str, Any] = {"prompt": "plain", "temperature": 0.0, "max_tokens": 4, "device": "cpu", "tasks": tasks}
    checked = MathEval(policy="transformers", model=str(learned.checkpoint), out=tmp_path / "evaluation", **settings)
    report = evaluate_math(checked)
    assert report.average is not None
    assert report.average.value == pytest.approx(learned.after.reward)
    with pytest.raises(StoreError, match=r"--policy transformers --model .*checkpoint"):
        load_checkpoint(learned.folder)


def test_a_run_starts_from_a_run(learned: Training, sums: str, tmp_path: Path) -> None:
    further = train(config("sft", sums, learned.folder, tmp_path / "further", steps=1))
    assert further.before == learned.after
    assert weights(further).keys() == weights(learned).keys()


def killed(stage: TrainConfig, event: str, name: str) -> None:
    script = Path(__file__).with_name("killed_training.py")
    words = [sys.executable, str(script), event, name, "1", json.dumps(encode(stage))]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr or "it was not killed"


def interrupted(tasks: str, start: Path, out: Path) -> TrainConfig:
    settings = ("tasks=4", "group=4", "kl=0.1", "learning_rate=0.003")
    return config("ppo", tasks, start, out, steps=6, checkpoint_every=2, settings=settings)


def test_a_run_killed_while_it_writes_goes_on_exactly(model: Path, sums: str, tmp_path: Path) -> None:
    whole = train(interrupted(sums, model, tmp_path / "whole"))
    stopped = interrupted(sums, model, tmp_path / "stopped")
    for event, name in (
        ("open", ".checkpoint-4.partial/generation_config.json"),  # some files of the new one are written
        ("os.symlink", "checkpoint-4"),  # all are, and the link is still the old one's
        ("shutil.rmtree", "checkpoint-2"),  # the link is the new one's, and the old one is there
    ):
        killed(stopped, event, name)
        load_huggingface(str(stopped.folder / "checkpoint"), "cpu")
    resumed = train(stopped)
    assert numbers(whole) == numbers(resumed)
    mine, other = weights(whole), weights(resumed)
    assert all(torch.equal(weight, other[name]) for name, weight in mine.items())
    assert [path.name for path in resumed.folder.glob("*checkpoint-*")] == ["checkpoint-6"]


def test_bfloat16_keeps_its_weights_in_float32(learned: Training, model: Path, sums: str, tmp_path: Path) -> None:
    settings = ("tasks=5", "group=16", "learning_rate=0.01")
    more: dict[str, Any] = {"steps": 5, "warmup": 0, "settings": settings, "precision": "bfloat16"}
    training = train(config("grpo", sums, model, tmp_path / "run", **more))
    assert {weight.dtype for weight in weights(training).values()} == {torch.float32}
    records, exact = (read_metrics(run.folder / "metrics.jsonl")[1:] for run in (training, learned))
    mine, other = records[0].update, exact[0].update
    assert mine is not None
    assert other is not None
    assert mine.gradient == pytest.approx(other.gradient, rel=0.1)
    assert mine.gradient != other.gradient
    assert records[-1].measures["reward"] > records[0].measures["reward"]


def test_the_plan_needs_no_weights(model: Path, sums: str, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    shutil.copytree(model, empty)
    (empty / "model.safetensors").unlink()
    settings = config("ppo", sums, empty, tmp_path / "run", settings=("kl=0.1",))
    whole = load_huggingface(str(model), "cpu").model
    count = sum(parameter.numel() for parameter in whole.parameters())
    plan = make_plan(settings, make_recipe("ppo", settings.settings), sizes_of(settings))
    assert plan.parameters == count
    assert plan.weights_bytes == plan.critic_bytes == 16 * count
    assert plan.frozen_bytes == 4 * count
    # 256 rows of 4 + 4 tokens; 2 layers, keys and values of 2 heads of 8 numbers
    assert plan.cache_bytes == 256 * 8 * 2 * 2 * 16 * 4
    assert plan.rollouts == 100 * 32 * 8


def test_models_that_cannot_be_used_are_named(model: Path, sums: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(model, broken)
    (broken / "model.safetensors").unlink()
    with pytest.raises(PolicyError, match="cannot load the model"):
        train(config("sft", sums, broken, tmp_path / "run"))
    assert not (tmp_path / "run").exists()
