"""A request that arrived whole, in one read, as nearly every hot request does: parsed with hardly a call into Python.

Owns one decision: were these bytes exactly one usual request? If not, whoever asked gives the same bytes to uvicorn's
own parser, as if nobody had looked. Calling back into Python for each header is what a parser's way through a protocol
class costs most; here the parser calls C (`list.append`, `dict.__setitem__`) and Python looks once, at the end.
"""

from __future__ import annotations

import httptools


class WholeReader:
    """The parser of one connection for requests that arrive whole. Holds nothing between two reads."""

    def __init__(self) -> None:
        self.headers: dict[bytes, bytes] = {}
        """Of the request just read, names as sent; of one sent twice the last."""
        self.method = b""
        self._urls: list[bytes] = []
        self._bodies: list[bytes] = []
        self._begun = 0
        self._ended = 0
        self._kept = False
        # The parser takes its callbacks from these attributes, once.
        self.on_url = self._urls.append
        self.on_header = self.headers.__setitem__
        self.on_body = self._bodies.append
        self._parser = httptools.HttpRequestParser(self)

    def on_message_begin(self) -> None:
        """The parser's: the first byte of a request."""
        self._begun += 1

    def on_message_complete(self) -> None:
        """The parser's: the last byte of a request. What it says of the message is true only now."""
        self._ended += 1
        self._kept = self._parser.should_keep_alive()
        self.method = self._parser.get_method()

    def read(self, data: bytes) -> bool:
        """True if `data` is one request, whole, of HTTP/1.1, after which the connection stays open."""
        headers, urls, bodies = self.headers, self._urls, self._bodies
        headers.clear()
        urls.clear()
        bodies.clear()
        self._begun = self._ended = 0
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._parser = httptools.HttpRequestParser(self)
            return False
        if self._begun != 1 or self._ended != 1:
            # Half a request, or more than one: the parser stands somewhere in the middle, so it is done for.
            self._parser = httptools.HttpRequestParser(self)
            return False
        return self._kept and len(urls) == 1 and len(bodies) < 2

    @property
    def url(self) -> bytes:
        """The request's target as sent."""
        return self._urls[0]

    @property
    def body(self) -> bytes:
        """The request's body."""
        return self._bodies[0] if self._bodies else b""

    def is_http_1_1(self) -> bool:
        """True for HTTP/1.1. Only a request with a Connection header can be kept open and be of 1.0."""
        return bool(self._parser.get_http_version() == "1.1")
