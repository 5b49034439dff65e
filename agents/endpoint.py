"""Any endpoint that speaks OpenAI's chat completions: OpenAI, the servers of vLLM and SGLang, gateways, llama.cpp.

https://platform.openai.com/docs/api-reference/chat. An endpoint fails in every way there is: it refuses, limits the
rate, answers 500, sends a page of HTML with status 200, drips a byte a minute, or never answers. What may pass is tried
again, a bounded number of times; what does not pass becomes one `PolicyError`.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from stepgym.agents.completion import GarbageError, parse_completion
from stepgym.agents.policy import Sampling
from stepgym.agents.retrying import Backoff, TransientError, parse_retry_after
from stepgym.errors import ConfigError, MissingDependencyError, PolicyError
from stepgym.records import Message, Reply

if TYPE_CHECKING:
    import httpx

PASSING = frozenset({408, 409, 425, 429})
"""Statuses below 500 that may pass when tried again; of those from 500 on, all may."""


@dataclass(frozen=True, slots=True)
class _Session:
    """What belongs to one event loop, and cannot outlive it."""

    loop: asyncio.AbstractEventLoop
    client: httpx.AsyncClient
    places: asyncio.Semaphore


class OpenAIPolicy:
    """Samples a model behind an OpenAI-compatible endpoint. Needs the extra ``api``."""

    def __init__(
        self,
        model: str,
        *,
        base_url: str = "http://localhost:8000/v1",
        api_key_env: str = "OPENAI_API_KEY",
        timeout: float = 600.0,
        retries: int = 6,
        backoff: float = 1.0,
        concurrency: int = 1024,
        prompt_price: float = 0.0,
        completion_price: float = 0.0,
        record_tokens: bool = False,
        extra: Mapping[str, Any] | None = None,
        max_bytes: int = 16 * 2**20,
    ) -> None:
        """`timeout` (seconds) bounds one attempt, from connecting to the last byte, and `max_bytes` what it may send.

        A failed attempt is made again up to `retries` times, first after `backoff` seconds, then after twice that, and
        so on. At most `concurrency` requests are under way. The key is read from the environment variable
        `api_key_env`; none is sent if that is not set. Prices are dollars per million tokens. With `record_tokens` the
        exact token ids and log-probabilities are asked for, which vLLM's server gives. `extra` goes into every request
        as it is, and a None in it removes a field; newer OpenAI models want
        ``{"max_tokens": None, "max_completion_tokens": 4096}``.
        """
        if not base_url.startswith(("http://", "https://")):
            raise ConfigError(
                f"base_url {base_url!r} is no address of an endpoint; it looks like http://localhost:8000/v1"
            )
        if timeout <= 0 or retries < 0 or concurrency < 1:
            raise ConfigError(
                f"timeout must be positive, retries not negative and concurrency at least 1, "
                f"got {timeout:g}, {retries} and {concurrency}"
            )
        self.model, self.base_url, self.api_key_env = model, base_url.rstrip("/"), api_key_env
        self.timeout, self.backoff, self.max_bytes = timeout, Backoff(retries=retries, first=backoff), max_bytes
        self.prompt_price, self.completion_price = prompt_price, completion_price
        self.record_tokens, self.extra = record_tokens, dict(extra or {})
        self.concurrency = concurrency
        self._session: _Session | None = None
        self._reached = False

    @property
    def name(self) -> str:
        """``openai:`` and the model."""
        return f"openai:{self.model}"

    async def sample(self, messages: Sequence[Message], sampling: Sampling) -> Reply:
        """One reply to the chat so far. Raises `PolicyError` if the endpoint refuses, or the retries are used up."""
        body, session = self._body(messages, sampling), self._open()
        async with session.places:
            started = time.perf_counter()
            try:
                reply = await self.backoff.run(lambda: self._attempt(session.client, body))
            except PolicyError as error:
                raise PolicyError(f"{self.base_url} (model {self.model!r}): {error}") from error
            seconds = time.perf_counter() - started
        used = reply.usage
        dollars = (used.prompt_tokens * self.prompt_price + used.completion_tokens * self.completion_price) / 1e6
        return replace(reply, usage=replace(used, seconds=seconds, dollars=dollars))

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None and self._session.loop is asyncio.get_running_loop():
            await self._session.client.aclose()
        self._session = None

    def _body(self, messages: Sequence[Message], sampling: Sampling) -> bytes:
        fields: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": message.role.value, "content": message.content} for message in messages],
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens,
            "stop": list(sampling.stop) or None,
            "seed": sampling.seed,
        }
        if self.record_tokens:
            fields |= {"logprobs": True, "return_token_ids": True}
        if sampling.keep_stop:  # vLLM's and SGLang's name for it; an endpoint that lacks it says so
            fields["include_stop_str_in_output"] = True
        fields |= self.extra
        return json.dumps({name: value for name, value in fields.items() if value is not None}).encode()

    async def _attempt(self, client: httpx.AsyncClient, body: bytes) -> Reply:
        import httpx

        try:
            async with asyncio.timeout(self.timeout):
                return await self._request(client, body)
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise PolicyError(f"no address of an endpoint ({error})") from error
        except TimeoutError as error:
            raise TransientError(f"no complete answer within {self.timeout:g} s") from error
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            if not self._reached:  # nobody was ever there: more likely a wrong address than a restart
                raise PolicyError(f"cannot connect ({error or 'timed out'})") from error
            raise TransientError(f"cannot connect any more ({error or 'timed out'})") from error
        except httpx.HTTPError as error:
            raise TransientError(f"{type(error).__name__}: {error}".rstrip(": ")) from error
        except GarbageError as error:
            raise TransientError(f"it sent garbage ({error})") from error

    async def _request(self, client: httpx.AsyncClient, body: bytes) -> Reply:
        async with client.stream("POST", f"{self.base_url}/chat/completions", content=body) as response:
            self._reached = True
            content = bytearray()
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > self.max_bytes:
                    raise GarbageError(f"more than {self.max_bytes} bytes")
        if response.status_code == 200:
            return parse_completion(bytes(content))
        why = f"HTTP {response.status_code}: {bytes(content[:300]).decode('utf-8', 'replace')!r}"
        if response.status_code in PASSING or response.status_code >= 500:
            raise TransientError(why, wait=parse_retry_after(response.headers.get("retry-after")))
        if response.is_redirect:
            why += f"; it points to {response.headers.get('location', 'nowhere')[:200]!r}: give the address it means"
        if response.status_code in (401, 403):
            why += f"; is the right key in the environment variable {self.api_key_env}?"
        raise PolicyError(why)

    def _open(self) -> _Session:
        loop = asyncio.get_running_loop()
        if self._session is None or self._session.loop is not loop:
            self._session = _Session(loop, self._connect(), asyncio.Semaphore(self.concurrency))
        return self._session

    def _connect(self) -> httpx.AsyncClient:
        try:
            import httpx
        except ImportError as error:
            raise MissingDependencyError("an endpoint needs httpx: pip install 'stepgym[api]'") from error
        # Uncompressed, so that `max_bytes` cannot be got round by something that unpacks to gigabytes.
        headers = {"content-type": "application/json", "accept-encoding": "identity"}
        if key := os.environ.get(self.api_key_env):
            headers["authorization"] = f"Bearer {key}"
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        return httpx.AsyncClient(headers=headers, timeout=httpx.Timeout(None, connect=30.0), limits=limits)
