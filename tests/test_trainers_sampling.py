"""Tokenizer, model, sampler and policy: what is sampled is what the model says, whoever shares the batch."""

from __future__ import annotations

import asyncio
import math
import random
from pathlib import Path

import pytest
import torch

from stepgym.agents.policy import Sampling
from stepgym.errors import PolicyError, StoreError
from stepgym.records import Message, Reply, Role
from stepgym.trainers import _attention
from stepgym.trainers.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from stepgym.trainers.config import ModelConfig
from stepgym.trainers.decoding import Decoder
from stepgym.trainers.ending import Ending
from stepgym.trainers.model import Transformer
from stepgym.trainers.policy import CheckpointPolicy, LocalPolicy
from stepgym.trainers.sampler import Completion, Request, choose, sample
from stepgym.trainers.tokenizer import CharTokenizer

torch.set_num_threads(1)  # as the engine does: operations so small only lose by more

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


@torch.inference_mode()
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])  # compiled attention, torch's attention
@pytest.mark.parametrize(
    "config",
    [
        CONFIG,
        ModelConfig(width=48, layers=1, heads=2, context=96),
        ModelConfig(width=12, layers=2, heads=2, context=64),
        ModelConfig(width=40, layers=3, heads=1, context=40),
    ],
)
def test_decoding_gives_the_logits_of_a_full_pass(config: ModelConfig, dtype: torch.dtype) -> None:
    model = Transformer.seeded(len(TOKENIZER), config, 1).to(dtype)
    for parameter in model.parameters():
        parameter *= 2
    rows = [list(request.prompt) for request in requests([5, 1, 9, 9, 17, 2, 8, 30])]
    rows[3] = list(rows[2])
    decoder = Decoder(model, [tuple(row) for row in rows], 9)
    generator = torch.Generator().manual_seed(3)
    for step in range(9):
        for row, logits in zip(rows, decoder.logits, strict=True):
            full = model(torch.tensor([row]))[0, -1]
            torch.testing.assert_close(logits, full, rtol=1e-5, atol=1e-5 if dtype is torch.float32 else 1e-6)
        tokens = torch.randint(1, len(TOKENIZER), (len(rows),), generator=generator)
        if step in {3, 6}:
            order = decoder.keep(torch.arange(len(rows)) % 3 != 1)
            rows, tokens = [rows[i] for i in order.tolist()], tokens[order]
        decoder.read(tokens)
        for row, token in zip(rows, tokens.tolist(), strict=True):
            row.append(token)


def test_compiled_attention_is_attention_however_far_the_scores_lie_apart() -> None:
    heads, size, columns, scale = 2, 12, 37, 9.0
    generator = torch.Generator().manual_seed(0)
    first = torch.tensor([0, 8, 20], dtype=torch.int32)
    blocks = -(-columns // _attention.LANES)
    shape, padded = (len(first), heads, blocks), -(-size // _attention.LANES) * _attention.LANES
    keys = torch.full((*shape, size, _attention.LANES), math.nan)  # what is not written yet must not be read
    values = torch.full((*shape, _attention.LANES, padded), math.nan)
    seen = torch.empty(len(first), heads * size)
    unturned = torch.cat([torch.ones(size // 2), torch.zeros(size // 2)])
    every = torch.randn((columns, len(first), 3, heads, size), generator=generator) * scale
    for column in range(columns):
        buffers = (every[column], unturned, first.clamp(max=column), keys, values, seen)
        _attention.step(*(buffer.numpy() for buffer in buffers), heads, size, blocks, column)
        q, k, v = every[: column + 1].double().permute(2, 1, 3, 0, 4)
        scores = (q[:, :, -1:] @ k.transpose(-1, -2)) * size**-0.5
        scores.masked_fill_(torch.arange(column + 1) < first.clamp(max=column)[:, None, None, None], -torch.inf)
        expected = (scores.softmax(-1) @ v).flatten(1)
        torch.testing.assert_close(seen.double(), expected, rtol=1e-4, atol=1e-4)


def test_compiled_attention_refuses_buffers_of_another_size() -> None:
    heads, size, blocks, rows = 2, 4, 1, 3
    right = {
        "qkv": torch.zeros(rows * 3 * heads * size),
        "turn": torch.zeros(size),
        "first": torch.zeros(rows, dtype=torch.int32),
        "keys": torch.zeros(rows * heads * size * _attention.LANES),
        "values": torch.zeros(rows * heads * _attention.LANES * _attention.LANES),
        "seen": torch.zeros(rows * heads * size),
    }
    _attention.step(*(buffer.numpy() for buffer in right.values()), heads, size, blocks, 0)
    for name, buffer in right.items():
        wrong = {**right, name: buffer[1:]}
        with pytest.raises(ValueError, match="sizes"):
            _attention.step(*(buffer.numpy() for buffer in wrong.values()), heads, size, blocks, 0)
    for numbers in ((heads, size, blocks, _attention.LANES), (heads, size, blocks, -1), (0, size, blocks, 0)):
        with pytest.raises(ValueError, match="sizes"):
            _attention.step(*(buffer.numpy() for buffer in right.values()), *numbers)
    late = {**right, "first": torch.ones(rows, dtype=torch.int32)}
    with pytest.raises(ValueError, match="sizes"):
        _attention.step(*(buffer.numpy() for buffer in late.values()), heads, size, blocks, 0)


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
        assert completion.logprobs == pytest.approx(recomputed(model, request, completion), abs=1e-5)


def test_logprobs_are_those_of_training_to_five_digits() -> None:
    model = Transformer.seeded(len(TOKENIZER), ModelConfig(), 0)
    asked = requests([6, 6, 30, 30, 60] * 14)  # more than are sampled at once
    for request, completion in zip(asked, sample(model, asked, Sampling(max_tokens=24)), strict=True):
        assert completion.logprobs == pytest.approx(recomputed(model, request, completion), abs=1e-5)


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


@pytest.mark.parametrize("stop", [("a",), ("\n\n", "}"), ("xed",), ("{",), ("ab", "cd", "e;"), ("d{1", "oxe")])
def test_an_ending_is_decided_as_if_the_text_had_been_read(stop: tuple[str, ...]) -> None:
    ending = Ending.at(stop, TOKENIZER)
    drawn = random.Random(0)
    some = [*TOKENIZER.encode("abcde;}\n\n{1x\\boxed{"), TOKENIZER.end]
    for _ in range(300):
        reply: list[int] = []
        while len(reply) < 12:
            reply.append(drawn.choice(some))
            text = TOKENIZER.decode(reply)
            expected = reply[-1] == TOKENIZER.end or any(string in text for string in stop)
            by_token = reply[-1] in ending.tokens
            assert (by_token or (reply[-1] in ending.maybe and ending.reached(reply))) == expected
            if expected:
                break


def test_a_stop_string_of_several_tokens_ends_a_reply(model: Transformer) -> None:
    policy = LocalPolicy(model, TOKENIZER)
    chats = [[Message(Role.USER, f"{i}+{i}=")] for i in range(70)]
    plain = [reply for reply in replies(policy, chats, Sampling(max_tokens=40)) if isinstance(reply, Reply)]
    stop = next(reply.text[3:6] for reply in plain if len(reply.text) > 8)
    cut = replies(policy, chats, Sampling(max_tokens=40, stop=(stop,)))
    assert sum(stop in before.text for before in plain) > 0
    for before, after in zip(plain, cut, strict=True):
        assert isinstance(after, Reply)
        assert after.text == before.text.split(stop)[0]
        assert after.finished == (before.finished or stop in before.text)


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
