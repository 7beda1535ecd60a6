"""The working pages without a browser: who may send which form, what forms do without a script, and what is refused."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator

import httpx
import pytest

from api.auth import GRANTS
from api.console.pages import alerts, approvals, catalogue, history, imports, jobs, keys, reconciliation, webhooks
from inventory.reconciliation import shared
from persistence.queries.api_keys import Role
from tests.console.form_client import FormClient
from tests.console.stocked import Stocked
from tests.console.worked_service import WorkedService

CHANGERS = {"operator", "manager", "admin"}
APPROVERS = {"manager", "admin"}
ADMINS = {"admin"}
HOOK = "/console/webhooks/{webhook_id}"
# Every form of these pages and who may send it. Nothing that it names is there, so nothing can come of it.
FORMS = {
    "/console/approvals/{approval_id}/approve": APPROVERS,
    "/console/approvals/{approval_id}/reject": APPROVERS,
    "/console/catalogue": CHANGERS,
    "/console/imports": CHANGERS,
    "/console/imports/{import_id}/apply": CHANGERS,
    "/console/imports/{import_id}/revert": CHANGERS,
    "/console/alerts/{alert_id}/resolve": CHANGERS,
    "/console/alerts/threshold": CHANGERS,
    "/console/reconciliation/repair": APPROVERS,
    "/console/webhooks": ADMINS,
    **{f"{HOOK}/{verb}": ADMINS for verb in ("rotate-secret", "test", "enable", "disable", "delete")},
    f"{HOOK}/deliveries/{{delivery_id}}/retry": ADMINS,
    "/console/keys": ADMINS,
    "/console/keys/{key_id}/revoke": ADMINS,
}
MODULES = (alerts, approvals, catalogue, history, imports, jobs, keys, reconciliation, webhooks)


@pytest.fixture(scope="module")
def people(service: WorkedService) -> Iterator[dict[str, FormClient]]:
    made = {role: FormClient(service.address("protocol"), role) for role in ("auditor", "operator", "manager", "admin")}
    yield made
    for one in made.values():
        one.http.close()


@pytest.fixture
def admin(people: dict[str, FormClient]) -> FormClient:
    return people["admin"]


@pytest.mark.parametrize("path", FORMS)
def test_who_may_send_a_form(path: str, people: dict[str, FormClient]) -> None:
    for role, person in people.items():
        answer = person.post(re.sub(r"\{\w+\}", "0", path), inline=True)
        if role in FORMS[path]:
            assert answer.status_code in {400, 404, 409, 415, 422}, (role, answer.text)
        else:
            assert answer.status_code == 403, role
            assert answer.json()["code"] == "forbidden"


def test_no_form_is_left_out() -> None:
    served = {
        route.path
        for module in MODULES
        for route in module.router.routes
        if "POST" in (getattr(route, "methods", None) or ())
    }
    assert served == set(FORMS)


def test_an_empty_shop_says_what_to_do(redis_url: str, database_url: str) -> None:
    running = WorkedService(redis_url, database_url)
    running.start()
    try:
        with FormClient(running.address("protocol")) as person:
            for path, told in {
                "history": "No stock has moved yet",
                "history?sku=NONE": "Nothing fits this filter",
                "approvals": "Nothing waits for you",
                "approvals?status=REJECTED": "None here",
                "imports": "No file was imported yet",
                "alerts": "Nothing is low",
                "reconciliation": "Not checked yet",
                "reconciliation?check=now": "Everything agrees",
                "webhooks": "Nobody is told yet",
                "jobs/webhooks.deliver": "It has not run yet",
            }.items():
                answer = person.get(f"/console/{path}")
                assert answer.status_code == 200
                assert told in answer.text, path
    finally:
        running.stop()


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("history?cursor=tampered", 400),
        ("history?type=SOLD", 422),
        ("history?sku=a/b", 422),
        ("history?from=yesterday", 422),
        ("history?reference_id=%00", 422),
        ("history/export?from=yesterday", 422),
        ("approvals?status=MAYBE", 422),
        ("approvals?cursor=x", 400),
        ("imports/imp_0", 404),
        ("imports/imp_0/progress", 404),
        (f"imports/imp_{'0' * 24}", 404),
        ("alerts?status=LOUD", 422),
        ("alerts?sku=%7B%7D", 422),
        ("webhooks/wh_0", 404),
        ("webhooks/%00", 422),
        ("keys?cursor=x", 400),
        ("jobs/none.such", 404),
    ],
)
def test_what_cannot_be_shown(path: str, status: int, admin: FormClient) -> None:
    answer = admin.get(f"/console/{path}")
    assert answer.status_code == status, answer.text
    assert "Traceback" not in answer.text
    assert answer.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize(
    "number", ["0", "x", "9" * 19, "9" * 20, "0" * 19 + "1" * 5000, "\N{SUPERSCRIPT TWO}"], ids=ascii
)
def test_alerts_that_cannot_be(number: str, admin: FormClient) -> None:
    answer = admin.post(f"/console/alerts/{number}/resolve", inline=True)
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown-alert")


def test_an_export_is_of_everything_that_the_filter_finds(admin: FormClient, stock: Stocked) -> None:
    sku = stock.product()
    for number in range(1, 54):
        stock.change(sku, "receive", number, f"delivery {number}")
    page = admin.get(f"/console/history?sku={sku}")
    assert page.text.count("<tr id=") == 50
    (more,) = re.findall(r'rel="next" href="([^"]+)"', page.text)
    assert admin.get(more.replace("&amp;", "&")).text.count("<tr id=") == 3
    lines = admin.get(f"/console/history/export?sku={sku}&format=csv").text.splitlines()
    assert [line.split(",")[4] for line in lines[1:]] == [str(number) for number in range(53, 0, -1)]
    assert len(admin.get(f"/console/history/export?sku={sku}&from=2999-01-01").text.splitlines()) == 1


def test_a_decision_without_a_script(people: dict[str, FormClient], stock: Stocked) -> None:
    sku = stock.product()
    asked = stock.change(sku, "receive", 4000, "a container")["approval"]["id"]
    answer = people["manager"].post(f"/console/approvals/{asked}/approve", "/console/approvals", reason="seen")
    assert answer.status_code == 303
    shown = people["manager"].get(answer.headers["location"]).text
    assert "Approved: receive of 4,000 units" in shown
    assert stock.on_hand(sku) == 4000
    again = people["admin"].post(f"/console/approvals/{asked}/reject", "/console/approvals", inline=True)
    assert (again.status_code, again.json()["code"]) == (409, "approval-decided")


def test_nobody_decides_what_they_asked_for(people: dict[str, FormClient], stock: Stocked) -> None:
    sku = stock.product()
    asked = stock.change(sku, "receive", 4000, "a container", "admin")["approval"]["id"]
    answer = people["admin"].post(f"/console/approvals/{asked}/approve", inline=True)
    assert (answer.status_code, answer.json()["code"]) == (403, "self-approval")
    assert stock.on_hand(sku) == 0


def send_file(person: FormClient, text: str, name: str = "stock.csv", **fields: str) -> httpx.Response:
    """A form with a file, as a browser without script sends it."""
    fields = {"mode": "add", "reason": "a delivery", **fields}
    return person.http.post("/console/imports", data=fields, files={"file": (name, text, "text/csv")})


def test_a_file_without_a_script(people: dict[str, FormClient], stock: Stocked) -> None:
    sku, operator = stock.product(stock=2), people["operator"]
    secrets = operator.secrets("/console/imports")
    sent = send_file(operator, f"sku,quantity\n{sku},5\n", **secrets)
    assert sent.status_code == 303
    where = sent.headers["location"]
    assert send_file(operator, f"sku,quantity\n{sku},5\n", **secrets).headers["location"] == where, (
        "sent twice, made once"
    )
    assert operator.post(f"{where}/apply", where).status_code == 303
    assert stock.on_hand(sku) == 7
    assert "Applied: 1 row changed the stock." in operator.get(where).text
    progress = operator.get(f"{where}/progress").json()
    assert progress == {"status": "APPLIED", "told": "applied", "share": 1.0, "working": False}


def test_a_file_from_elsewhere_is_not_taken(people: dict[str, FormClient], stock: Stocked) -> None:
    sku = stock.product(stock=2)
    text = f"sku,quantity\n{sku},5\n"
    name = f"{uuid.uuid4().hex}.csv"
    operator = people["operator"]
    assert send_file(operator, text, name).status_code == 403
    assert send_file(operator, text, name, csrf="0" * 36).status_code == 403
    foreign = httpx.Client(base_url=operator.address, cookies=operator.http.cookies, headers={"origin": "http://evil"})
    with foreign:
        files = {"file": (name, text, "text/csv")}
        fields = {"mode": "add", "reason": "a delivery", **operator.secrets("/console/imports")}
        assert foreign.post("/console/imports", data=fields, files=files).status_code == 403
    assert name not in operator.get("/console/imports").text


@pytest.mark.parametrize(
    ("text", "fields", "told"),
    [
        ("", {}, "empty"),
        ("sku,quantity\nA,1\n", {"mode": "guess"}, "set, add"),
        ("sku,quantity\nA,1\n", {"reason": "x"}, "at least 3 characters"),
        ("sku,quantity\nA,1\n", {"extra": "field"}, "there is no field"),
    ],
)
def test_a_form_with_a_mistake_makes_no_import(
    text: str, fields: dict[str, str], told: str, people: dict[str, FormClient]
) -> None:
    name = f"{uuid.uuid4().hex}.csv"
    operator = people["operator"]
    answer = send_file(operator, text, name, **operator.secrets("/console/imports"), **fields)
    assert answer.status_code == 422
    assert told in answer.text
    assert name not in operator.get("/console/imports").text


def test_a_catalogue_comes_in_whole_or_not_at_all(people: dict[str, FormClient], stock: Stocked) -> None:
    operator, skus = people["operator"], [stock.sku(), stock.sku()]

    def sent(text: str, person: FormClient = operator, **fields: str) -> httpx.Response:
        fields = fields or person.secrets("/console/catalogue")
        return person.http.post("/console/catalogue", data=fields, files={"file": ("new.csv", text, "text/csv")})

    def kept() -> list[int]:
        return [stock.as_("auditor").get(f"/inventory/products/{sku}").status_code for sku in skus]

    good = f"sku,name,category,initial_stock\n{skus[0]},Red mug,mugs,5\n{skus[1]},Blue mug,mugs,\n"
    wrong = sent(good + f"{skus[0]},Again,,many\n")
    assert wrong.status_code == 422
    assert "Nothing was changed" in wrong.text
    assert "new.csv has 2 mistakes" in wrong.text
    assert "stands in row 2 already" in wrong.text
    assert "header and no rows" in sent("sku,name\n").text
    assert sent("").status_code == 422
    assert sent(good, csrf="0" * 36).status_code == 403
    assert sent(good, people["auditor"], csrf="0" * 36).status_code == 403
    assert kept() == [404, 404]
    done = sent(good)
    assert (done.status_code, done.headers["location"]) == (303, "/console/stock")
    assert "new.csv: 2 made, 0 changed." in operator.get("/console/stock").text
    assert kept() == [200, 200]
    assert stock.on_hand(skus[0]) == 5
    assert sent(good).status_code == 303
    assert stock.on_hand(skus[0]) == 5, "the same file again changes nothing"


def test_an_operator_sees_their_own_imports(people: dict[str, FormClient], stock: Stocked) -> None:
    sku, name = stock.product(), f"{uuid.uuid4().hex}.csv"
    sent = send_file(people["admin"], f"sku,quantity\n{sku},5\n", name, **people["admin"].secrets("/console/imports"))
    assert people["operator"].get(sent.headers["location"]).status_code == 404
    assert name not in people["operator"].get("/console/imports").text
    assert name in people["auditor"].get("/console/imports").text


def test_secrets_are_shown_once(admin: FormClient) -> None:
    name = f"key of {uuid.uuid4().hex}"
    made = admin.post("/console/keys", "/console/keys", name=name, role="auditor")
    assert made.status_code == 201
    assert made.headers["cache-control"] == "no-store"
    (key,) = re.findall(r'id="secret">(hf_[^<]+)<', made.text)
    page = admin.get("/console/keys").text
    assert name in page
    assert key not in page

    hook = admin.post(
        "/console/webhooks",
        "/console/webhooks",
        url=f"http://127.0.0.1:8099/{uuid.uuid4().hex}",
        **{"event:stock.*": "1"},
    )
    assert hook.status_code == 201
    (secret,) = re.findall(r'id="secret">(whsec_[^<]+)<', hook.text)
    (path,) = set(re.findall(r'action="(/console/webhooks/wh_\w+)/delete"', hook.text))
    assert secret not in admin.get(path).text
    assert admin.post(f"{path}/delete", path).status_code == 303
    assert admin.get(path).status_code == 404


def test_a_key_that_would_lock_its_user_out_stays(admin: FormClient) -> None:
    answer = admin.post("/console/keys/admin/revoke", "/console/keys", inline=True)
    assert answer.status_code == 422
    assert admin.get("/console/keys").status_code == 200


def test_every_role_is_explained() -> None:
    assert set(keys.ROLES) == set(GRANTS) == set(Role.__args__)


def test_a_repair_needs_a_page_that_shows_it(people: dict[str, FormClient]) -> None:
    deep = '[[{"x":' + "[" * 100_000 + "]" * 100_000 + "}],[]]"
    for fields, told in (
        ({"agreed": "{}", "reason": "x"}, "at least 3"),
        ({"agreed": "{}", "reason": "drift"}, "check again"),
        ({"agreed": deep, "reason": "drift"}, "check again"),
    ):
        answer = people["manager"].post("/console/reconciliation/repair", inline=True, **fields)
        assert answer.status_code == 422
        assert told in answer.json()["detail"]
    nothing = people["manager"].post("/console/reconciliation/repair", inline=True, agreed="[[],[]]", reason="drift")
    assert nothing.json()["message"].startswith("Nothing was repaired")


def test_a_repair_is_followed_by_a_fresh_look(people: dict[str, FormClient], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "FRESH_S", 3600.0)
    manager = people["manager"]

    def looked_at() -> str:
        page = manager.get("/console/reconciliation?check=now").text
        (moment,) = re.findall(r'holds? at event [\d,]+, <time datetime="([^"]+)"', page)
        return str(moment)

    first = looked_at()
    assert looked_at() == first, "who asks again at once gets the same answer"
    manager.post("/console/reconciliation/repair", inline=True, agreed="[[],[]]", reason="drift")
    assert looked_at() != first
