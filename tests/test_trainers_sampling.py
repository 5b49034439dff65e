"""Tokenizer, model, sampler and policy: what is sampled is what the model says, whoever shares the batch."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path

import pytest
import torch

from stepgym.agents.policy import Sampling
from stepgym.errors import PolicyError, StoreError
from stepgym.records import Message, Reply, Role
from stepgym.trainers.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from stepgym.trainers.config import ModelConfig
from stepgym.trainers.model import KeyValues, Transformer
from stepgym.trainers.policy import CheckpointPolicy, LocalPolicy
from stepgym.trainers.sampler import Completion, Request, choose, sample
from stepgym.trainers.tokenizer import CharTokenizer

TOKENIZER = CharTokenizer()
CONFIG = ModelConfig(width=32, layers=2, heads=2, context=64)


@pytest.fixture(scope="module")
def model() -> Transformer:
    # Larger weights than at the start of training: distributions far from uniform, and from one another.
    model = Transformer.seeded(len(TOKENIZER), CONFIG, 0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter *= 4
    return model


def requests(lengths: list[int]) -> list[Request]:
    generator = torch.Generator().manual_seed(7)
    return [
        Request(tuple(torch.randint(1, len(TOKENIZER), (length,), generator=generator).tolist()), seed)
        for seed, length in enumerate(lengths)
    ]


def test_tokenizer_reads_and_writes_any_text_of_its_alphabet() -> None:
    text = "1+2=3;\n\\boxed{3} \\box { ~ \\\\boxed{"
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text
    assert len(TOKENIZER.encode("\\boxed{12}")) == 4
    assert TOKENIZER.decode([*TOKENIZER.encode("1"), TOKENIZER.end]) == "1"


def test_tokenizer_names_the_character_it_does_not_know() -> None:
    with pytest.raises(PolicyError, match=r"lacks 'é' \(character 1 of 'hé'\)"):
        TOKENIZER.encode("hé")


def test_cached_logits_equal_those_of_a_full_pass(model: Transformer) -> None:
    tokens = torch.tensor([request.prompt for request in requests([20, 20, 20])])
    full = model(tokens)
    cache = KeyValues(CONFIG, 3, 20, torch.device("cpu"))
    first = torch.ones((8, 8), dtype=torch.bool).tril()
    parts = [model.logits(model.hidden(tokens[:, :8], mask=first, cache=cache))]
    parts += [model.logits(model.hidden(tokens[:, t : t + 1], cache=cache)) for t in range(8, 20)]
    torch.testing.assert_close(torch.cat(parts, dim=1), full, rtol=1e-4, atol=1e-4)


def recomputed(model: Transformer, request: Request, completion: Completion) -> list[float]:
    logprobs = model(torch.tensor([[*request.prompt, *completion.tokens]]))[0].log_softmax(-1)
    start = len(request.prompt) - 1
    return [logprobs[start + i, token].item() for i, token in enumerate(completion.tokens)]


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
def test_logprobs_are_the_models_own_at_every_temperature(model: Transformer, temperature: float) -> None:
    asked = requests([3, 9, 9, 17, 1, 5])  # padded, and some rows leave the batch early
    completions = sample(model, asked, Sampling(temperature=temperature, max_tokens=30))
    assert len({len(completion.tokens) for completion in completions}) > 1 or temperature == 0
    for request, completion in zip(asked, completions, strict=True):
        assert completion.logprobs == pytest.approx(recomputed(model, request, completion), abs=2e-4)


def test_a_reply_does_not_depend_on_its_batch(model: Transformer) -> None:
    asked = requests([3, 9, 9, 17, 1, 5])
    together = sample(model, asked, Sampling(max_tokens=40))
    for request, completion in zip(asked, together, strict=True):
        (alone,) = sample(model, [request], Sampling(max_tokens=40))
        assert alone.tokens == completion.tokens
        assert alone.finished == completion.finished


def test_the_same_batch_gives_the_same_bits(model: Transformer) -> None:
    asked = requests([3, 9, 17] * 5)
    assert sample(model, asked, Sampling(max_tokens=30)) == sample(model, asked, Sampling(max_tokens=30))
    other = [Request(request.prompt, request.seed + 100) for request in asked]
    assert sample(model, asked, Sampling(max_tokens=30)) != sample(model, other, Sampling(max_tokens=30))


def test_greedy_is_the_likeliest_token(model: Transformer) -> None:
    (request,) = requests([6])
    (completion,) = sample(model, [request], Sampling(temperature=0, max_tokens=5))
    tokens = list(request.prompt)
    for token in completion.tokens:
        assert token == int(model(torch.tensor([tokens]))[0, -1].argmax())
        tokens.append(token)


def test_sampling_follows_the_distribution() -> None:
    probabilities = torch.tensor([0.5, 0.0, 0.3, 0.15, 0.05])
    draws = 20_000
    uniforms = (torch.arange(draws) + 0.5) / draws
    logprobs = probabilities.log().expand(draws, -1)
    counts = torch.bincount(choose(logprobs, uniforms, Sampling()), minlength=5) / draws
    torch.testing.assert_close(counts, probabilities, atol=1e-3, rtol=0)
    kept = torch.bincount(choose(logprobs, uniforms, Sampling(top_p=0.7)), minlength=5) / draws
    torch.testing.assert_close(kept, torch.tensor([0.625, 0, 0.375, 0, 0]), atol=1e-3, rtol=0)
    cold = torch.bincount(choose(logprobs, uniforms, Sampling(temperature=0.5)), minlength=5) / draws
    torch.testing.assert_close(cold, probabilities.square() / probabilities.square().sum(), atol=1e-3, rtol=0)


def test_replies_end_at_the_limit_the_context_and_the_end_token(model: Transformer) -> None:
    asked = requests([3, 60])
    limited = sample(model, asked, Sampling(max_tokens=10, temperature=0))
    assert len(limited[0].tokens) <= 10
    assert len(limited[1].tokens) <= 4  # 64 in all
    for completion in sample(model, requests([4] * 200), Sampling(max_tokens=50)):
        assert completion.finished == (completion.tokens[-1] == TOKENIZER.end)
        assert TOKENIZER.end not in completion.tokens[:-1]


def replies(policy: LocalPolicy, chats: list[list[Message]], sampling: Sampling) -> list[Reply | PolicyError]:
    return policy.sample_batch(chats, sampling, list(range(len(chats))))


def test_policy_stops_at_strings_and_keeps_all_tokens(model: Transformer) -> None:
    policy = LocalPolicy(model, TOKENIZER)
    chats = [[Message(Role.USER, f"{i}+{i}=")] for i in range(30)]
    plain = replies(policy, chats, Sampling(max_tokens=40))
    stop = next(reply.text[2] for reply in plain if isinstance(reply, Reply) and len(reply.text) > 2)
    cut = replies(policy, chats, Sampling(max_tokens=40, stop=(stop,)))
    assert any(
        isinstance(a, Reply) and isinstance(b, Reply) and a.text != b.text for a, b in zip(plain, cut, strict=True)
    )
    for before, after in zip(plain, cut, strict=True):
        assert isinstance(before, Reply)
        assert isinstance(after, Reply)
        assert after.text == before.text.split(stop)[0]
        assert before.tokens[: len(after.tokens)] == after.tokens
        assert len(after.logprobs) == len(after.tokens)


def test_policy_answers_good_chats_beside_bad_ones(model: Transformer) -> None:
    chats = [[Message(Role.USER, text)] for text in ("1+1=", "x" * 64, "é", "", "2+2=")]
    answers = replies(LocalPolicy(model, TOKENIZER), chats, Sampling(max_tokens=4))
    assert [isinstance(answer, PolicyError) for answer in answers] == [False, True, True, True, False]
    assert "64 tokens" in str(answers[1])


def test_a_turn_of_the_assistant_ends_with_the_end_token(model: Transformer) -> None:
    policy = LocalPolicy(model, TOKENIZER)
    chat = [Message(Role.USER, "a"), Message(Role.ASSISTANT, "b"), Message(Role.USER, "c")]
    assert policy.encode(chat) == (*TOKENIZER.encode("ab"), TOKENIZER.end, *TOKENIZER.encode("c"))


def test_a_checkpoint_is_the_same_policy(model: Transformer, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "checkpoint.pt", Checkpoint(model, TOKENIZER, step=3))
    loaded = CheckpointPolicy(tmp_path)
    sampling = Sampling(max_tokens=20, seed=5)

    async def both() -> tuple[Reply, Reply]:
        chat = [Message(Role.USER, "12+34=")]
        original = LocalPolicy(model, TOKENIZER)
        answers = await original.sample(chat, sampling), await loaded.sample(chat, sampling)
        await original.close()
        await loaded.close()
        return answers

    first, second = asyncio.run(both())
    assert first.tokens == second.tokens
    assert first.logprobs == second.logprobs
    assert second.usage.completion_tokens == len(second.tokens)
    assert all(not math.isnan(logprob) for logprob in second.logprobs)


def test_what_is_not_a_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no checkpoint at"):
        load_checkpoint(tmp_path)
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(StoreError, match="cannot be read as a checkpoint"):
        load_checkpoint(tmp_path / "text.pt")
    torch.save({"weights": []}, tmp_path / "other.pt")
    with pytest.raises(StoreError, match="not a checkpoint that this version"):
        load_checkpoint(tmp_path / "other.pt")
