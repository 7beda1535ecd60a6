"""The proxy that breaks connections breaks them where it says: what proves something about lost answers rests on it."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis

from runtime.embedded_redis import EmbeddedRedis
from tests.link_proxy import Cut, LinkProxy, in_a_thread, now_and_then


@pytest.mark.parametrize(("cut", "counted"), [("before send", 0), ("after send", 1)])
def test_a_cut_is_before_or_after_what_was_sent(
    cut: Cut, counted: int, redis_server: EmbeddedRedis, redis_client: redis.Redis, known_keys: list[str]
) -> None:
    known_keys.append("n")
    proxy = LinkProxy(redis_server.socket_path)
    proxy.cut_word = b"INCR"
    with in_a_thread(proxy) as port, redis.Redis(port=port, retry=None, single_connection_client=True) as client:
        assert client.ping()
        proxy.cut_next = cut
        with pytest.raises(redis.ConnectionError):
            client.incr("n")
        assert int(redis_client.get("n") or 0) == counted
        assert proxy.cuts == {"before send": 1 - counted, "after send": counted}
        # The next connection goes through.
        assert client.incr("n") == counted + 1


async def test_a_black_hole_lets_nothing_through_until_it_is_filled(
    redis_server: EmbeddedRedis, redis_client: redis.Redis, server_folder: Path, known_keys: list[str]
) -> None:
    known_keys.append("n")
    async with LinkProxy(redis_server.socket_path) as proxy:
        await proxy.start(path := server_folder / "link.sock")
        async with redis.asyncio.Redis(unix_socket_path=str(path), socket_timeout=0.2, retry=None) as client:
            assert await client.incr("n") == 1
            proxy.black_hole(True)
            with pytest.raises(redis.TimeoutError):
                await client.incr("n")
            assert redis_client.get("n") == b"1"
            proxy.black_hole(False)
        async with redis.asyncio.Redis(unix_socket_path=str(path)) as client:
            assert await client.ping()


def test_now_and_then_is_the_same_again_by_its_seed() -> None:
    first, second = (now_and_then(7, 3, b"X") for _ in range(2))
    cuts = [first(piece) for piece in [b"X", b"-"] * 300]
    assert cuts == [second(piece) for piece in [b"X", b"-"] * 300]
    assert set(cuts[::2]) == {None, "before send", "after send"}
    assert set(cuts[1::2]) == {None}
