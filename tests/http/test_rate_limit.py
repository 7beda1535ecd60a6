"""Rate limits per key: what is let in, what is told, over both adapters; and that without one nothing is there."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import httpx
import pytest

from api.auth import caller_of
from api.hot.endpoints import Hot
from api.hot.limited import LimitedHot
from api.problems import Problem
from api.rate_limiter import MAX_BUCKETS, RateLimiter
from api.rate_limits import Limit, RateLimits, parse_limits
from api.services import ApiSettings
from tests.http.conftest import Shop, assert_problem
from tests.http.running import ADAPTERS, KEYS, RunningService

ANN, BOB, ADMIN = caller_of("ann", "storefront"), caller_of("bob", "storefront"), caller_of("root", "admin")


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def limiter(clock: Clock, rate: float, burst: int, processes: int = 1) -> RateLimiter:
    return RateLimiter(RateLimits({"storefront": Limit(rate, burst)}, processes), clock)


def let_in(of: RateLimiter, times: int, cost: int = 1) -> int:
    """How many of `times` attempts of Ann are let in."""
    done = 0
    for _ in range(times):
        try:
            of.take(ANN, cost)
        except Problem:
            continue
        done += 1
    return done


class TestBucket:
    def test_a_burst_and_then_the_rate(self, clock: Clock) -> None:
        of = limiter(clock, rate=10, burst=5)
        assert let_in(of, 50) == 5
        clock.now_s += 0.1
        assert let_in(of, 50) == 1
        clock.now_s += 1000
        assert let_in(of, 50) == 5

    def test_the_bound_over_any_time(self, clock: Clock) -> None:
        of = limiter(clock, rate=100, burst=20)
        done = 0
        for _ in range(1000):
            done += let_in(of, 3)
            clock.now_s += 0.001
        assert 100 <= done <= 100 * 1.0 + 20

    def test_each_key_has_its_own(self, clock: Clock) -> None:
        of = limiter(clock, rate=1, burst=1)
        of.take(ANN)
        of.take(BOB)
        assert let_in(of, 1) == 0

    def test_a_role_without_a_limit(self, clock: Clock) -> None:
        of = limiter(clock, rate=1, burst=1)
        assert [of.take(ADMIN) for _ in range(100)] == [()] * 100

    def test_processes_share_it(self, clock: Clock) -> None:
        shares = [limiter(clock, rate=100, burst=20, processes=4) for _ in range(4)]
        assert sum(let_in(share, 100) for share in shares) == 20
        clock.now_s += 1
        assert sum(let_in(share, 100) for share in shares) == 20
        # A process never gives out less than one at once, or it would never give out any.
        assert sum(let_in(limiter(clock, 1, 1, processes=4), 9) for _ in range(4)) == 4

    def test_what_is_refused_costs_nothing(self, clock: Clock) -> None:
        of = limiter(clock, rate=10, burst=5)
        assert let_in(of, 1000) == 5
        clock.now_s += 0.5
        assert let_in(of, 1000) == 5

    def test_a_batch_larger_than_the_burst_is_paid_off(self, clock: Clock) -> None:
        of = limiter(clock, rate=10, burst=5)
        of.take(ANN, 20)
        clock.now_s += 1.55  # 5 were there, the other 15 take 1.5 s
        assert let_in(of, 10) == 0
        clock.now_s += 0.1
        assert let_in(of, 10) == 1

    def test_what_is_told(self, clock: Clock) -> None:
        of = limiter(clock, rate=10, burst=50)
        assert of.take(ANN) == (
            (b"ratelimit-policy", b'"key";q=50;w=5'),
            (b"ratelimit", b'"key";r=49;t=1'),
        )
        for _ in range(49):
            headers = of.take(ANN)
        assert headers[1] == (b"ratelimit", b'"key";r=0;t=5')
        with pytest.raises(Problem) as refused:
            of.take(ANN)
        assert (b"retry-after", b"1") in refused.value.headers()
        with pytest.raises(Problem) as refused:
            of.take(ANN, 35)
        assert (b"retry-after", b"4") in refused.value.headers()

    def test_full_buckets_are_forgotten(self, clock: Clock) -> None:
        of = limiter(clock, rate=10, burst=5)
        for number in range(3 * MAX_BUCKETS):
            of.take(caller_of(f"key-{number}", "storefront"))
            clock.now_s += 0.2
        assert len(of._full_at) <= MAX_BUCKETS


class TestSetting:
    @pytest.mark.parametrize(
        ("text", "limits"),
        [
            ("storefront=10", {"storefront": Limit(10, 10)}),
            ("storefront=0.5/3", {"storefront": Limit(0.5, 3)}),
            (" admin = 0.25 , storefront=2/2", {"admin": Limit(0.25, 1), "storefront": Limit(2, 2)}),
            ("5,operator=off,manager=off,admin=off,auditor=9/9", {"storefront": Limit(5, 5), "auditor": Limit(9, 9)}),
        ],
    )
    def test_read(self, text: str, limits: dict[str, Limit]) -> None:
        read = parse_limits(text, 3)
        assert read is not None
        assert (read.by_role, read.processes) == (limits, 3)

    @pytest.mark.parametrize("text", ["", " ", ",", "admin=off"])
    def test_none(self, text: str) -> None:
        assert parse_limits(text) is None

    @pytest.mark.parametrize(
        "text", ["0", "-1", "1e3", "nan", "inf", "5/0", "5/", "x", "5,6", "admin=1,admin=2", "root=5", "off", "=5/",
                 "5/5/5", "99999999", "1/99999999", "0x10", "٣"]
    )  # fmt: skip
    def test_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match=r"."):
            parse_limits(text)


LIMITS = RateLimits({"storefront": Limit(0.01, 20), "auditor": Limit(0.01, 5)})


@pytest.fixture(params=ADAPTERS)
def limited(request: pytest.FixtureRequest, make_service: Callable[..., RunningService]) -> Iterator[Shop]:
    """A key gets so many requests at once, and another in 100 s."""
    shop = Shop(make_service(ApiSettings(rate_limits=LIMITS)), request.param)
    yield shop
    shop.close()


def remaining(answer: httpx.Response) -> int:
    match = re.fullmatch(r'"key";r=(\d+);t=\d+', answer.headers["ratelimit"])
    assert match is not None, answer.headers
    assert answer.headers["ratelimit-policy"] == '"key";q=20;w=2000'
    assert answer.headers.get_list("ratelimit") == [answer.headers["ratelimit"]]
    return int(match[1])


def test_hot_requests(limited: Shop) -> None:
    sku = limited.sku(1000)
    client = limited.as_("storefront")
    body = {"customer_id": "ann", "sku": sku, "quantity": 1}
    for left in range(19, 9, -1):
        answer = client.post("/inventory/reserve", json=body)
        assert (answer.status_code, remaining(answer)) == (201, left)
    # What is refused for another reason counts as well, and says so.
    assert remaining(client.post("/inventory/reserve", json={})) == 9
    assert remaining(client.get("/inventory/reserve/nothing")) == 8

    # A batch counts as its reservations; one that is too large takes nothing.
    items = [{**body, "customer_id": f"c{n}"} for n in range(9)]
    refused = client.post("/inventory/reserve/batch", json={"reservations": items})
    assert_problem(refused, 429, "rate-limited")
    assert (int(refused.headers["retry-after"]) > 50, remaining(refused)) == (True, 8)
    taken = client.post("/inventory/reserve/batch", json={"reservations": items[:6]})
    assert [result["status"] for result in taken.json()["results"]] == [201] * 6
    assert remaining(taken) == 2

    # Cold requests share the bucket.
    assert remaining(client.post("/inventory/orders", json={})) == 1
    assert remaining(client.get(f"/inventory/availability/{sku}")) == 0
    before = limited.level(sku)
    posts = ["/inventory/reserve", "/inventory/reserve/batch", "/inventory/orders"]
    for method, path in [*(("POST", path) for path in posts), ("DELETE", "/inventory/reserve/x"),
                         ("GET", f"/inventory/availability/{sku}")]:  # fmt: skip
        refused = client.request(method, path, json=body)
        assert_problem(refused, 429, "rate-limited")
        assert (int(refused.headers["retry-after"]) > 50, remaining(refused)) == (True, 0)
    assert limited.level(sku) == before == (1000, 16)

    # Nobody else is kept waiting, and what needs no key has no limit.
    assert limited.reserve(sku, who="other-storefront")
    answer = limited.as_("admin").get(f"/inventory/availability/{sku}")
    assert (answer.status_code, "ratelimit" in answer.headers) == (200, False)
    assert all(limited.as_("nobody").get("/healthz").status_code == 200 for _ in range(30))


def test_a_key_that_is_not_yet_in_memory(limited: Shop) -> None:
    keys = limited.running.services.keys
    made = limited.as_("admin").post("/admin/keys", json={"name": "new", "role": "storefront"}).json()
    keys._callers.clear()
    headers = {"authorization": f"Bearer {made['key']}"}
    answer = limited.as_("nobody").get("/inventory/availability/A", headers=headers)
    assert (answer.status_code, remaining(answer)) == (404, 19)


def test_wrong_keys_have_no_bucket(limited: Shop) -> None:
    for _ in range(30):
        answer = limited.as_("nobody").get("/inventory/availability/A", headers={"authorization": "Bearer " + "x" * 30})
        assert_problem(answer, 401, "unauthenticated")
    limiter_of = limited.running.app.limiter
    assert limiter_of is not None
    assert not limiter_of._full_at


def test_lists_and_streams(limited: Shop) -> None:
    client = limited.as_("auditor")
    assert [client.get("/inventory/products").status_code for _ in range(5)] == [200] * 5
    assert_problem(client.get("/inventory/products"), 429, "rate-limited")
    assert_problem(client.get("/inventory/events"), 429, "rate-limited")


def test_without_a_limit_nothing_of_it_is_there(service: RunningService, shop: Shop) -> None:
    """The very code that ran before there were limits: same classes, same functions, no header."""
    assert service.settings.rate_limits is None
    assert service.app.limiter is None
    assert type(service.app.hot) is Hot
    assert "dispatch" not in vars(service.app.hot)
    assert service.app.hot.charge_items is None
    for answer in (shop.as_("storefront").get("/inventory/availability/A"), shop.as_("admin").get("/inventory/levels")):
        assert not [name for name in answer.headers if "limit" in name]


def test_with_a_limit_both_ways_in_use_it(limited: Shop) -> None:
    assert type(limited.running.app.hot) is LimitedHot
    assert KEYS["storefront"] not in str(vars(limited.running.app.limiter))
