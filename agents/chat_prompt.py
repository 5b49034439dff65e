"""From a chat to the tokens a model is given."""

from __future__ import annotations

from typing import Any

from stepgym.agents.batching import Chat
from stepgym.errors import PolicyError


def prompt_ids(tokenizer: Any, chat: Chat) -> tuple[int, ...]:
    """Token ids of `chat`, ready for the reply. `tokenizer` is a HuggingFace one.

    Raises `PolicyError` for a chat that the template refuses, such as one with a system turn where it knows none.

    Its chat template if it has one; else (a base model) the plain texts, a line each, with the tokenizer's own special
    tokens at the start.
    """
    text = prompt_text(tokenizer, chat)
    return tuple(tokenizer(text, add_special_tokens=not _template(tokenizer)).input_ids)  # a template has written them


def prompt_text(tokenizer: Any, chat: Chat) -> str:
    """What `prompt_ids` are the tokens of, but for the special tokens of a tokenizer without chat template."""
    if not _template(tokenizer):
        return "\n".join(message.content for message in chat)
    messages = [{"role": message.role.value, "content": message.content} for message in chat]
    from jinja2 import TemplateError

    try:
        text: str = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    except TemplateError as error:
        raise PolicyError(f"the model's chat template refuses the chat: {error}") from error
    return text


def _template(tokenizer: Any) -> bool:
    return bool(getattr(tokenizer, "chat_template", None))
