"""Who gets in: keys, sessions, forms from elsewhere, headers; over HTTP, as a browser that has no scripts."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import psycopg
import pytest
from starlette.routing import Route

from api.console.app import HEADERS
from api.console.pages import PAGES
from api.console.pages.sign_in import GUESSES, Guesses, own_path
from api.console.sessions import COOKIE, Sessions, Viewer
from persistence.database import Database
from persistence.database_url import psycopg_url
from tests.console.form_client import SIGN_IN, FormClient
from tests.console.worked_service import WorkedService
from tests.http.running import KEYS

READERS = ("auditor", "operator", "manager", "admin")
CHANGERS = ("operator", "manager", "admin")
SEEN_BY = {
    "/console": READERS,
    "/console/stock": READERS,
    "/console/flash-sale": READERS,
    "/console/history": READERS,
    "/console/approvals": READERS,
    "/console/imports": READERS,
    "/console/alerts": READERS,
    "/console/reconciliation": READERS,
    "/console/jobs": READERS,
    "/console/new-product": CHANGERS,
    "/console/webhooks": ("admin",),
    "/console/keys": ("admin",),
}


@pytest.fixture
def address(service: WorkedService) -> str:
    assert service.app.console is not None
    # Each test begins without anybody's guesses.
    service.app.console.state.guesses = Guesses()
    return service.address("protocol")


@pytest.fixture
def signed_in(address: str) -> Iterator[Callable[[str | None], FormClient]]:
    made: list[FormClient] = []

    def make(role: str | None) -> FormClient:
        made.append(FormClient(address, role))
        return made[-1]

    yield make
    for client in made:
        client.http.close()


def sql(service: WorkedService, statement: str, *values: object) -> list[Any]:
    with psycopg.connect(psycopg_url(service.database_url), autocommit=True) as connection:
        found = connection.execute(statement, values)
        return found.fetchall() if found.description else []


def test_a_browser_at_the_door_comes_to_the_console(address: str) -> None:
    with httpx.Client(base_url=address, trust_env=False) as http:
        asked = http.get("/", headers={"accept": "text/html,*/*"})
        assert (asked.status_code, asked.headers["location"]) == (303, "/console")
        assert http.get("/", headers={"accept": "application/json"}).json()["code"] == "not-found"
        asked = http.get("/console")
        assert (asked.status_code, asked.headers["location"]) == (303, SIGN_IN)
        asked = http.get("/console/stock?q=a%20b")
        assert asked.headers["location"] == f"{SIGN_IN}?next=%2Fconsole%2Fstock%3Fq%3Da%2520b"


def test_sign_in_and_out(service: WorkedService, signed_in: Callable[[str | None], FormClient]) -> None:
    client = signed_in(None)
    form = client.get(f"{SIGN_IN}?next=/console/stock")
    assert form.status_code == 200
    answer = client.http.post(SIGN_IN, data={"key": f" {KEYS['auditor']} ", "next": "/console/stock"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/stock")
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"{COOKIE}=")
    for word in ("HttpOnly", "SameSite=strict", "Path=/console", "Max-Age=43200"):
        assert word in cookie
    assert "Secure" not in cookie
    token = client.http.cookies[COOKIE]
    assert client.get("/console/stock").status_code == 200
    assert client.get(SIGN_IN).headers["location"] == "/console"
    # What the table has of it is not what the cookie holds.
    assert all(token.encode() not in bytes(row[0]) for row in sql(service, "SELECT token_hash FROM console_sessions"))
    answer = client.post("/console/sign-out")
    assert (answer.status_code, answer.headers["location"]) == (303, SIGN_IN)
    client.http.cookies.set(COOKIE, token, path="/console")
    assert client.get("/console/stock").status_code == 303


def test_the_cookie_goes_by_https_alone_when_the_browser_came_by_it(address: str) -> None:
    with httpx.Client(base_url=address, trust_env=False, headers={"origin": address}) as http:
        answer = http.post(SIGN_IN, data={"key": KEYS["admin"]}, headers={"x-forwarded-proto": "https"})
        assert "Secure" in answer.headers["set-cookie"]


def test_wrong_keys_are_told_the_same_and_never_shown(signed_in: Callable[[str | None], FormClient]) -> None:
    client = signed_in(None)
    for key in ("", "shorter than a key", "<script>alert(1)</script>", KEYS["admin"] + "x", "\x00" * 40):
        answer = client.http.post(SIGN_IN, data={"key": key})
        assert answer.status_code == 401
        assert "This key is not known" in answer.text
        assert not key or key not in answer.text
        assert COOKIE not in answer.cookies


def test_a_storefront_key_does_not_open_it(signed_in: Callable[[str | None], FormClient]) -> None:
    answer = signed_in(None).http.post(SIGN_IN, data={"key": KEYS["storefront"]})
    assert answer.status_code == 403
    assert COOKIE not in answer.cookies


def test_guesses_are_limited_by_address(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("api.console.pages.sign_in.time.monotonic", lambda: now[0])
    guesses = Guesses()
    for _ in range(GUESSES):
        assert guesses.wait_s("a") == 0
        guesses.wrong("a")
    assert guesses.wait_s("a") > 0
    assert guesses.wait_s("b") == 0
    now[0] += guesses.wait_s("a")
    assert guesses.wait_s("a") == 0
    guesses.wrong("a")
    assert guesses.wait_s("a") > 0


def test_too_many_guesses_are_answered_429(address: str) -> None:
    with httpx.Client(base_url=address, trust_env=False, headers={"origin": address}) as http:
        found = [http.post(SIGN_IN, data={"key": "wrong" * 6}) for _ in range(GUESSES + 1)]
        assert [answer.status_code for answer in found] == [401] * GUESSES + [429]
        assert int(found[-1].headers["retry-after"]) > 0
        # Even a good key waits: nobody can tell a guess that hit from one that did not.
        assert http.post(SIGN_IN, data={"key": KEYS["admin"]}).status_code == 429


@pytest.mark.parametrize(
    "to",
    ["https://evil.example/", "//evil.example", "/\\evil", "/consolex", "/console/\\\\x", "/console/\r\nx: y", "", "/"],
)
def test_the_sign_in_leads_nowhere_else(to: str) -> None:
    assert own_path(to) == "/console"


def test_a_revoked_key_ends_its_sessions(
    service: WorkedService, signed_in: Callable[[str | None], FormClient], eventually: Any
) -> None:
    admin = httpx.Client(
        base_url=service.address("protocol"), headers={"authorization": f"Bearer {KEYS['admin']}"}, trust_env=False
    )
    made = admin.post("/admin/keys", json={"name": "clerk", "role": "operator"}).json()
    client = signed_in(None)
    assert client.http.post(SIGN_IN, data={"key": made["key"]}).status_code == 303
    assert client.get("/console/stock").status_code == 200
    assert "clerk" in client.get("/console/stock").text
    with client.http.stream("GET", "/console/live", timeout=30) as stream:
        lines = stream.iter_lines()
        assert next(line for line in lines if line.startswith("data:"))
        assert admin.delete(f"/admin/keys/{made['id']}").status_code == 204
        # The service ends it: it would be told two lines every tick.
        assert sum(1 for _ in itertools.islice(lines, 100)) < 100
    assert client.get("/console/stock").status_code == 303
    assert client.get("/console/session", headers={"accept": "application/json"}).status_code == 401
    admin.close()


def test_a_session_ends_after_its_time(service: WorkedService, signed_in: Callable[[str | None], FormClient]) -> None:
    client = signed_in("manager")
    assert client.get("/console/stock").status_code == 200
    sql(service, "UPDATE console_sessions SET expires_at = now() WHERE key_id = 'manager'")
    assert client.get("/console/stock").status_code == 303
    # The next one that begins sweeps it away.
    signed_in("auditor")
    assert sql(service, "SELECT count(*) FROM console_sessions WHERE expires_at <= now()") == [(0,)]


@pytest.mark.parametrize(("path", "roles"), SEEN_BY.items(), ids=SEEN_BY)
def test_who_sees_which_page(signed_in: Callable[[str | None], FormClient], path: str, roles: tuple[str, ...]) -> None:
    for role in READERS:
        answer = signed_in(role).get(path)
        assert answer.status_code == (200 if role in roles else 403), (role, answer.text[-500:])
        menu = answer.text
        assert ('href="/console/keys"' in menu) == (role == "admin")


def test_every_answer_carries_the_headers(signed_in: Callable[[str | None], FormClient]) -> None:
    client = signed_in("admin")
    page = client.get("/console")
    script = page.text.split('src="')[1].split('"')[0]
    found = (
        page,
        client.get(script),
        client.get("/console/none"),
        client.http.post("/console/sign-out", data={"a": "b"}),
    )
    assert [answer.status_code for answer in found] == [200, 200, 404, 403]
    for answer in found:
        for name, value in HEADERS:
            assert answer.headers[name.decode()] == value.decode()
    assert found[0].headers["cache-control"] == "no-store"
    assert "immutable" in found[1].headers["cache-control"]
    assert "unsafe" not in page.headers["content-security-policy"]
    for inline in ("<style", " style=", "javascript:", " onclick=", " onload=", "http://", "https://"):
        assert inline not in page.text
    other = script.replace(script.split("/")[3], "0" * 16)
    assert client.get(other).status_code == 404
    assert client.get("/console/static/../../app.py").status_code == 404


def changing_routes() -> list[str]:
    found = [
        route.path
        for module in PAGES
        for route in module.router.routes
        if isinstance(route, Route) and "POST" in (route.methods or ()) and route.path != SIGN_IN
    ]
    assert "/console/products/{sku}/change" in found
    return found


@pytest.mark.parametrize("path", changing_routes())
def test_no_form_of_the_console_is_taken_from_elsewhere(
    service: WorkedService, signed_in: Callable[[str | None], FormClient], path: str
) -> None:
    client = signed_in("admin")
    secrets = client.secrets()
    path = path.replace("{", "").replace("}", "")
    journal = service.run(service.services.engine.journal_state).seq
    other = signed_in("admin").secrets()
    tries: list[tuple[dict[str, str], dict[str, str]]] = [
        ({}, {}),
        ({"csrf": ""}, {}),
        ({"csrf": other["csrf"]}, {}),
        (secrets, {"origin": "https://evil.example"}),
        (secrets, {"origin": "null"}),
        (secrets, {"origin": "null", "host": ""}),
        (secrets, {"origin": "http://["}),
        (secrets, {"sec-fetch-site": "cross-site"}),
        (secrets, {"sec-fetch-site": "same-site"}),
    ]
    for fields, headers in tries:
        answer = client.http.post(path, data={"reason": "from elsewhere", **fields}, headers=headers)
        # The upload is no such form: it is refused for that, unless it is refused before.
        upload = path in {"/console/imports", "/console/catalogue"} and not headers
        assert answer.status_code in ({403, 415, 422} if upload else {403}), (fields, headers)
    no_origin = httpx.Client(base_url=client.address, cookies=client.http.cookies, trust_env=False)
    assert no_origin.post(path, data=secrets).status_code == 403
    no_origin.close()
    assert service.run(service.services.engine.journal_state).seq == journal
    # Nobody who is not signed in gets further.
    assert signed_in(None).http.post(path, data=secrets).status_code == 401


def test_a_session_is_good_in_every_process(
    service: WorkedService, signed_in: Callable[[str | None], FormClient]
) -> None:
    token = signed_in("manager").http.cookies[COOKIE]

    async def asked_elsewhere() -> Viewer | None:
        database = Database(service.database_url)
        viewer = await Sessions(database).find(token)
        await database.close()
        return viewer

    viewer = service.run(asked_elsewhere)
    assert viewer is not None
    assert (viewer.caller.role, viewer.name) == ("manager", "manager")


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://[", "http://[::1", "://", ""])
def test_sign_ins_from_elsewhere_are_not_taken(signed_in: Callable[[str | None], FormClient], origin: str) -> None:
    client = signed_in(None)
    answer = client.http.post(SIGN_IN, data={"key": KEYS["admin"]}, headers={"origin": origin})
    assert answer.status_code == 403
    assert COOKIE not in answer.cookies


def test_a_message_that_we_did_not_write_is_not_shown(signed_in: Callable[[str | None], FormClient]) -> None:
    client = signed_in("admin")
    client.http.cookies.set("holdfast_flash", "eyJtZXNzYWdlIjoicGF5IGhlcmUiLCJraW5kIjoiZ29vZCJ9.00", path="/console")
    assert "pay here" not in client.get("/console").text


def test_sign_ins_and_changes_are_on_record(
    service: WorkedService, signed_in: Callable[[str | None], FormClient]
) -> None:
    client = signed_in("operator")
    sku = f"T-{uuid.uuid4().hex[:8]}"
    assert client.post("/console/new-product", sku=sku, name="Lamp", initial_stock="5").status_code == 303
    client.post(f"/console/products/{sku}/change", kind="receive", quantity="2", reason="delivery")
    rows = sql(service, "SELECT action, status FROM admin_audit WHERE key_id = 'operator' ORDER BY id DESC LIMIT 3")
    assert rows == [("change", 303), ("make_product", 303), ("sign_in", 303)]
