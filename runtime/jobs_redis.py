"""Where the job queue lives: its own Redis, or the next database of the stock's own server.

Owns how that URL is made; never connects.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from runtime.settings import Settings

_PATH_IS_DATABASE: Final = frozenset({"redis", "rediss"})


def jobs_url_of(settings: Settings, redis_url: str) -> str:
    """HOLDFAST_JOBS_REDIS_URL, or the database after the one of `redis_url`."""
    given = settings.jobs_redis_url
    return next_database(redis_url) if given is None else given.get_secret_value()


def next_database(redis_url: str) -> str:
    """The URL of the database after the one of `redis_url`, which counts as 0 when the URL names none."""
    parts = urlsplit(redis_url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    in_path = parts.scheme in _PATH_IS_DATABASE and "db" not in query
    named = parts.path.strip("/") if in_path else query.get("db", "")
    following = str((int(named) if named.isdigit() else 0) + 1)
    if in_path:
        return urlunsplit(parts._replace(path=f"/{following}"))
    query["db"] = following
    # Not put together by urlunsplit, which leaves the two slashes of `unix:///path` out.
    return f"{redis_url.partition('?')[0]}?{urlencode(query, quote_via=quote)}"
