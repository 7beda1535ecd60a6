"""`holdfast rebuild` as a person uses it: what it shows, asks and does, and how it ends."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from runtime.cli import app
from runtime.embedded_redis import EmbeddedRedis
from tests.worker.recovering_shop import KEYS, RecoveringShop
from worker import recovery
from worker.recovery import RecoveryRefused


@pytest.fixture
async def shop(make_redis: Callable[..., EmbeddedRedis], database_url: str) -> AsyncIterator[RecoveringShop]:
    shop = RecoveringShop(make_redis(appendfsync="always"), database_url)
    engine = await shop.open_engine(shop.recover())
    await shop.stock(engine)
    for number in range(12):
        await shop.hold(engine, f"S{number % 6}", 1)
    yield shop
    await shop.close()


@pytest.fixture
def rebuild(shop: RecoveringShop, tmp_path: Path) -> Callable[..., Result]:
    environment = {"HOLDFAST_REDIS_URL": shop.server.url, "HOLDFAST_DATABASE_URL": shop.database_url}

    def run(*options: str, answer: str = "") -> Result:
        words = ["rebuild", "--data-dir", str(tmp_path), *options]
        return CliRunner().invoke(app, words, input=answer, env=environment, terminal_width=200)

    return run


async def test_a_no_changes_nothing(shop: RecoveringShop, rebuild: Callable[..., Result]) -> None:
    before, stood = shop.picture(), shop.cursor()
    for answer in ("n\n", "\n", ""):
        done = rebuild(answer=answer)
        assert done.exit_code == 1, done.output
        assert "Redis: epoch 1, event 24" in done.output
        assert "ledger: epoch 1, event 0" in done.output
        assert "by itself Holdfast would do: nothing" in done.output
        assert "Rebuild Redis from the ledger?" in done.output
        assert "done" not in done.output
    assert (shop.picture(), shop.cursor(), shop.state()) == (before, stood, ("OPEN", "", 0))


@pytest.mark.parametrize(("options", "answer"), [((), "y\n"), (("--yes",), "")])
async def test_a_healthy_redis_is_the_same_afterwards(
    shop: RecoveringShop, rebuild: Callable[..., Result], options: tuple[str, ...], answer: str
) -> None:
    before = shop.picture()
    done = rebuild(*options, answer=answer)
    assert done.exit_code == 0, done.output
    assert ("Rebuild Redis" in done.output) is (not options)
    assert "done: Redis is open in epoch 2" in done.output
    assert (shop.picture(), shop.state()) == (before, ("OPEN", "", 1))
    shop.check()


async def test_a_refused_recovery_is_shown_and_overruled(shop: RecoveringShop, rebuild: Callable[..., Result]) -> None:
    shop.flush()
    before = shop.picture()
    with shop.client() as client:
        client.hset(KEYS.meta, "epoch", "9")
    with pytest.raises(RecoveryRefused):
        shop.recover()
    done = rebuild("--yes")
    assert done.exit_code == 0, done.output
    assert "by itself Holdfast would do: refuse (Redis is in epoch 9, the ledger in epoch 1" in done.output
    assert "done: Redis is open in epoch 10" in done.output
    assert (shop.picture(), shop.state()[0]) == (before, "OPEN")
    shop.check()


async def test_it_shows_how_far_it_is(
    shop: RecoveringShop, rebuild: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "_TELL_EVERY_S", 0.0)
    monkeypatch.setattr("worker.restoring.CHUNK", 2)
    done = rebuild("--yes")
    assert done.exit_code == 0, done.output
    shown = [line for line in done.output.splitlines() if line.startswith("rebuilding ")]
    percents = [int(line.split()[1]) for line in shown if "%" in line]
    assert percents == sorted(percents)
    assert len(set(percents)) > 3
    assert 0 < percents[-1] < 100
    shop.check()


async def test_a_server_that_is_away_is_named(shop: RecoveringShop, rebuild: Callable[..., Result]) -> None:
    shop.server.stop()
    done = rebuild("--yes")
    assert done.exit_code == 3, done.output
    assert "holdfast: " in done.output
    assert "Traceback" not in done.output


async def test_json_stands_alone_on_standard_output(shop: RecoveringShop, rebuild: Callable[..., Result]) -> None:
    done = rebuild("--json", "--yes")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["was"]["epoch"], told["ledger"]["epoch"], told["epoch"]) == (1, 1, 2)
    assert told["by_itself"]["action"] == "nothing"
    assert "Redis is open in epoch 2" in done.stderr
