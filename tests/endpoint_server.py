"""An endpoint that speaks OpenAI's chat completions over real HTTP, and misbehaves as the model's name says.

Run as a script it prints its port. ``GET /stats`` tells what it has seen. It solves sums such as ``What is 3+4?``.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LOCK = threading.Lock()
REQUESTS: Counter[str] = Counter()
PROMPTS: Counter[str] = Counter()
NOW: Counter[str] = Counter()
MOST: Counter[str] = Counter()
STATE: dict[str, Any] = {"body": {}, "authorization": ""}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        with LOCK:
            stats = {"requests": REQUESTS, "prompts": PROMPTS, "most": MOST, **STATE}
        self._send(200, json.dumps(stats).encode())

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        model, prompt = body["model"], body["messages"][-1]["content"]
        with LOCK:
            REQUESTS[model] += 1
            PROMPTS[prompt] += 1
            count = REQUESTS[model]
            NOW[model] += 1
            MOST[model] = max(MOST[model], NOW[model])
            STATE["body"], STATE["authorization"] = body, self.headers.get("authorization", "")
        try:
            getattr(self, "model_" + model.split(":")[0].replace("-", "_"))(body, prompt, count)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            with LOCK:
                NOW[model] -= 1

    def model_echo(self, body: Any, prompt: str, count: int) -> None:
        self._reply(prompt)

    def model_sums(self, body: Any, prompt: str, count: int) -> None:
        self._reply(solved(prompt))

    def model_slow(self, body: Any, prompt: str, count: int) -> None:
        time.sleep(0.05)
        self._reply(solved(prompt))

    def model_tutor(self, body: Any, prompt: str, count: int) -> None:
        """Hints at sums. Of every fourth number the first hint tells the answer, of every eighth each one does."""
        time.sleep(0.02)
        asked = "\n".join(message["content"] for message in body["messages"])
        number = int(re.findall(r"What is ([0-9]+)", asked)[0])
        again = any(message["role"] == "assistant" for message in body["messages"])
        leaks = number % 8 == 7 or (number % 4 == 3 and not again)
        self._reply(f"It must be {2 * number}." if leaks else "Begin with the last digits.")

    def model_moody_tutor(self, body: Any, prompt: str, count: int) -> None:
        with LOCK:
            REQUESTS["moody"] += "What is 101+" in prompt
            oops = "What is 101+" in prompt and REQUESTS["moody"] <= 2
        if oops:
            self._send(500, b"oops")
        else:
            self._reply("Begin with the last digits.")

    def model_limited(self, body: Any, prompt: str, count: int) -> None:
        if count <= 2:
            self._send(429, b'{"error": "slow down"}', {"retry-after": "0.3"})
        else:
            self._reply(prompt)

    def model_patience(self, body: Any, prompt: str, count: int) -> None:
        self._send(429, b"", {"retry-after": "86400"})

    def model_broken_twice(self, body: Any, prompt: str, count: int) -> None:
        if count <= 2:
            self._send(500, b"oops")
        else:
            self._reply(prompt)

    def model_broken(self, body: Any, prompt: str, count: int) -> None:
        self._send(503, b"<html>no healthy upstream</html>")

    def model_odd_broken(self, body: Any, prompt: str, count: int) -> None:
        number = int(re.findall(r"[0-9]+", prompt)[0])
        if number % 7 == 3 and PROMPTS[prompt] <= 2:
            self._send(500, b"oops")
        else:
            self._reply(solved(prompt))

    def model_refused(self, body: Any, prompt: str, count: int) -> None:
        self._send(400, b'{"error": {"message": "this model has no such thing"}}')

    def model_locked(self, body: Any, prompt: str, count: int) -> None:
        self._send(401, b"no")

    def model_garbage(self, body: Any, prompt: str, count: int) -> None:
        self._send(200, b"<!doctype html><title>Welcome to nginx</title>")

    def model_deep(self, body: Any, prompt: str, count: int) -> None:
        self._send(200, b"[" * 1_000_000)

    def model_number(self, body: Any, prompt: str, count: int) -> None:
        self._send(200, b'{"choices": [{"message": {"content": 42}}]}')

    def model_empty(self, body: Any, prompt: str, count: int) -> None:
        self._send(200, b'{"choices": []}')

    def model_empty_handed(self, body: Any, prompt: str, count: int) -> None:
        self._reply("<think>nothing comes to my mind</think> ")

    def model_null(self, body: Any, prompt: str, count: int) -> None:
        self._send(200, b'{"choices": [{"message": {"content": null}, "finish_reason": "length"}]}')

    def model_miscounts(self, body: Any, prompt: str, count: int) -> None:
        usage = {"prompt_tokens": True, "completion_tokens": 10**400}
        self._send(200, json.dumps({"choices": [{"message": {"content": prompt}}], "usage": usage}).encode())

    def model_moved(self, body: Any, prompt: str, count: int) -> None:
        self._send(308, b"", {"location": "https://elsewhere.invalid/v1"})

    def model_hangs(self, body: Any, prompt: str, count: int) -> None:
        time.sleep(30)

    def model_drips(self, body: Any, prompt: str, count: int) -> None:
        self._head(200, 10_000)
        for _ in range(300):
            self.wfile.write(b" ")
            self.wfile.flush()
            time.sleep(0.1)

    def model_endless(self, body: Any, prompt: str, count: int) -> None:
        self._head(200, 10**12)
        while True:
            self.wfile.write(b"x" * 65536)

    def model_hangs_up(self, body: Any, prompt: str, count: int) -> None:
        self._head(200, 1000)
        self.wfile.write(b'{"choices": [')
        self.close_connection = True

    def model_tokens(self, body: Any, prompt: str, count: int) -> None:
        choice = {
            "message": {"content": "hi"},
            "finish_reason": "stop",
            "token_ids": [5, 6, 2],
            "logprobs": {"content": [{"logprob": -0.5}, {"logprob": -0.25}, {"logprob": -1}]},
        }
        self._send(200, json.dumps({"choices": [choice], "prompt_token_ids": [1, 9]}).encode())

    def _reply(self, text: str) -> None:
        usage = {"prompt_tokens": 10, "completion_tokens": 5}
        page = {"choices": [{"message": {"content": text}, "finish_reason": "stop"}], "usage": usage}
        self._send(200, json.dumps(page).encode())

    def _head(self, status: int, length: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("content-length", str(length))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()

    def _send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self._head(status, len(content), headers)
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


def solved(prompt: str) -> str:
    found = re.search(r"What is ([0-9]+)\+([0-9]+)\?", prompt)
    return rf"So it is \boxed{{{int(found[1]) + int(found[2])}}}." if found else "I do not know."


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: Any) -> None:
        pass  # a client that was killed


if __name__ == "__main__":
    server = Server(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()
