"""The connections of a sync client, which a forked process must not share: each would read the other's answers.

Owns which httpx.Client this process asks; never sends anything.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import httpx


class Connections:
    """`make` gives an httpx.Client; another one is made in each process that a fork leaves with this object.

    A transport of the caller's own is the same in all of them: what forking does to it is the caller's to know.
    """

    def __init__(self, make: Callable[[], httpx.Client]) -> None:
        self._make = make
        self._process = os.getpid()
        self._http = make()
        self._inherited: list[httpx.Client] = []
        """Of the process that forked. Not closed here: that could end what it still uses."""

    def here(self) -> httpx.Client:
        """The client of this process."""
        if self._process != os.getpid():
            # Without a lock, which a fork could have left taken; two threads at once make one too many, and no harm.
            self._inherited.append(self._http)
            self._http = self._make()
            self._process = os.getpid()
        return self._http

    def close(self) -> None:
        """Close those of this process."""
        if self._process == os.getpid():
            self._http.close()
