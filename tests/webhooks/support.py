"""A receiver as somebody would write one: uvicorn, and the library of Standard Webhooks to know who is speaking."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from standardwebhooks.webhooks import Webhook

from tests.support.api import Api
from tests.support.polling import until
from tests.support.ports import free_port

PREFIX = "platform.apg.bf."


@dataclass(slots=True)
class Message:
    """`event` is None where no secret of the receiver's verifies it."""

    headers: dict[str, str]
    body: bytes
    event: dict[str, Any] | None

    @property
    def type(self) -> str:
        return str(json.loads(self.body)["type"]).removeprefix(PREFIX)


@dataclass(slots=True)
class Answer:
    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    after: float = 0.0


@dataclass(slots=True)
class Receiver:
    """Gives each message the next of its `answers`, and the last one ever after."""

    port: int
    secrets: list[str] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=lambda: [Answer()])
    messages: list[Message] = field(default_factory=list)
    answered: int = 0
    at_once: int = 0
    most_at_once: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def types(self) -> list[str]:
        return [message.type for message in self.messages]

    async def received(self, count: int, *, within: float = 20) -> list[Message]:
        async def look() -> bool:
            return len(self.messages) >= count

        await until(look, within=within, what=f"{count} messages; there are {self.types}")
        return self.messages

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            body, more = b"", True
            while more:
                part = await receive()
                body, more = body + part.get("body", b""), part.get("more_body", False)
            headers = {name.decode(): value.decode() for name, value in scope["headers"]}
            self.messages.append(Message(headers=headers, body=body, event=self._verified(body, headers)))
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            await asyncio.sleep(answer.after)
            given = [(name.encode(), value.encode()) for name, value in answer.headers.items()]
            await send({"type": "http.response.start", "status": answer.status, "headers": given})
            await send({"type": "http.response.body", "body": answer.body})
            self.answered += 1
        finally:
            self.at_once -= 1

    def _verified(self, body: bytes, headers: dict[str, str]) -> dict[str, Any] | None:
        for secret in self.secrets:
            try:
                return dict(Webhook(secret).verify(body, headers))
            except Exception:  # noqa: BLE001, S112 -- whatever the library says: not by this one
                continue
        return None


@asynccontextmanager
async def receiving(*answers: Answer) -> AsyncIterator[Receiver]:
    receiver = Receiver(port=free_port(), answers=list(answers) or [Answer()])
    config = uvicorn.Config(receiver, host="127.0.0.1", port=receiver.port, log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[method-assign, attr-defined]
    serving = asyncio.create_task(server._serve())

    async def started() -> bool:
        return server.started

    await until(started, within=10, what="the receiver")
    try:
        yield receiver
    finally:
        server.should_exit = server.force_exit = True
        await serving


async def make(api: Api, receiver: Receiver, **body: Any) -> dict[str, Any]:
    """The receiver knows its secret from now on."""
    answer = await api.client.post("/v1/webhooks", json={"url": receiver.url, **body})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    receiver.secrets.append(made["secret"])
    return made
