"""Token in, token out: a chat in which what was sampled keeps its tokens.

A chat template maps messages to text. Writing the whole chat anew each turn and tokenising it would give the sampled
replies other tokens than were sampled, whose log-probabilities nobody knows. So a conversation keeps its tokens, and a
turn adds only the *glue*: what the template puts between the last reply and the next.
"""

from __future__ import annotations

from typing import Any

from stepgym.agents.batching import Chat
from stepgym.agents.chat_prompt import prompt_ids, prompt_text
from stepgym.records import Message, Reply, Role

STAND_IN = "Reply"
"""Rendered in a reply's place, to see where the template puts it. A word, for a template may strip or read markup."""


class Conversation:
    """The tokens of one chat, as its model has seen and sampled them. `tokenizer` is a HuggingFace one.

    Each prompt extends the one before and its reply, wherever the template does. Where it rewrites history (Qwen3's
    drops the thoughts of earlier turns), or the chat itself was changed, the prompt is the whole chat as the template
    renders it, and `stepgym.trainers.samples.to_samples` makes another sample of what follows.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._chat: tuple[Message, ...] = ()
        self._text = ""
        """Of the last prompt, as the template renders it."""
        self._reply: Reply | None = None
        self._ended = False

    def prompt(self, chat: Chat) -> tuple[int, ...]:
        """The tokens to sample the next reply of `chat` after.

        Raises `PolicyError` for a chat that the template refuses.
        """
        text = prompt_text(self._tokenizer, chat)
        before, glue = self._reply, self._glue(chat, text)
        self._chat, self._text, self._reply = tuple(chat), text, None
        if before is None or glue is None:
            return prompt_ids(self._tokenizer, chat)
        return (*before.prompt, *before.tokens, *glue)

    def replied(self, reply: Reply, *, ended: bool) -> None:
        """What was sampled after the last prompt; `ended` where its last token is the model's end of a turn."""
        self._reply, self._ended = reply, ended

    def _glue(self, chat: Chat, text: str) -> tuple[int, ...] | None:
        """Tokens between the last reply and the next one of `chat`; None if it does not go on from there."""
        reply, known = self._reply, len(self._chat)
        if reply is None or tuple(chat[: known + 1]) != (*self._chat, Message(Role.ASSISTANT, reply.text)):
            return None
        stood_in = prompt_text(self._tokenizer, [*self._chat, Message(Role.ASSISTANT, STAND_IN), *chat[known + 1 :]])
        if not (stood_in.startswith(self._text) and text.startswith(self._text)):
            return None
        gap, found, glue = stood_in[len(self._text) :].partition(STAND_IN)
        rest = text[len(self._text) :]
        shown = rest[: len(rest) - len(glue)]
        # White space at a reply's ends is the model's own affair: templates strip it, or put some before the reply.
        if not (found and rest.endswith(glue) and not gap.strip() and shown.strip() == reply.text.strip()):
            return None
        ids = tuple(self._tokenizer(glue, add_special_tokens=False).input_ids)
        if not self._ended:
            return ids
        # The end of the turn was sampled, and must not come again. If it is not the template's own, start anew.
        return ids[1:] if ids[:1] == reply.tokens[-1:] else None
