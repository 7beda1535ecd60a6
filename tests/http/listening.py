"""A client of the event stream as a browser is one: reads fields by the rules of server-sent events, in a thread.

Owns parsing; never connects again by itself, so that a test decides when and from where.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from typing import Any

import httpx
from msgspec import Struct

from tests.http.running import KEYS
from tests.waiting import wait_until


class Heard(Struct, frozen=True):
    """One dispatched event."""

    id: str
    type: str
    document: dict[str, Any]

    @property
    def seq(self) -> int:
        return int(self.id.split("-")[2])


class Listener:
    """Connects and listens until closed, or until the stream ends."""

    def __init__(self, address: str, key: str = KEYS["auditor"], last_event_id: str | None = None, query: str = ""):
        self.heard: list[Heard] = []
        self.last_event_id = last_event_id or ""
        """As EventSource has it: the position to connect again from."""
        self.comments = 0
        self.retry_ms = 0
        self.status = 0
        self.refusal: dict[str, Any] = {}
        self.headers = httpx.Headers()
        self.ended_by: BaseException | None = None
        """What broke the stream; None while it goes on, and when it ended as an answer should."""
        self._url = f"{address}/inventory/events{query}"
        self._sent = {"authorization": f"Bearer {key}"}
        if last_event_id is not None:
            self._sent["last-event-id"] = last_event_id
        self._client = httpx.Client(timeout=30, trust_env=False)
        self._response: httpx.Response | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    @property
    def ended(self) -> bool:
        return not self._thread.is_alive()

    @property
    def ids(self) -> list[str]:
        return [event.id for event in self.heard]

    def begun(self) -> Listener:
        """Wait until the server has told the position, and so listens to the journal for us."""
        wait_until(lambda: (self.last_event_id and self.retry_ms) or self.ended, what="the stream begins")
        return self

    def wait_for(self, events: int) -> list[Heard]:
        """Wait until so many events have come."""
        wait_until(lambda: len(self.heard) >= events or self.ended, 30, what=f"{events} events")
        return self.heard

    def close(self) -> None:
        """Leave, as a client does that goes away."""
        self._closed = True
        if self._response is not None and not self.ended:
            # Closing would not wake the thread that reads.
            with contextlib.suppress(OSError):
                self._response.extensions["network_stream"].get_extra_info("socket").shutdown(socket.SHUT_RDWR)
        self._thread.join(60)
        self._client.close()
        assert self.ended, "the listener did not end"

    def _listen(self) -> None:
        try:
            with self._client.stream("GET", self._url, headers=self._sent) as response:
                self._response = response
                self.status, self.headers = response.status_code, response.headers
                if response.status_code != 200:
                    self.refusal = json.loads(response.read())
                    return
                kind = data = ""
                for line in response.iter_lines():
                    name, _, value = line.partition(":")
                    value = value.removeprefix(" ")
                    if not line:
                        if data:
                            self.heard.append(Heard(self.last_event_id, kind, json.loads(data)))
                        kind = data = ""
                    elif not name:
                        self.comments += 1
                    elif name == "id":
                        self.last_event_id = value
                    elif name == "event":
                        kind = value
                    elif name == "data":
                        data += value
                    elif name == "retry":
                        self.retry_ms = int(value)
                    else:
                        raise AssertionError(f"no field of server-sent events: {line!r}")
        except (httpx.HTTPError, OSError, RuntimeError) as error:
            if not self._closed:
                self.ended_by = error
