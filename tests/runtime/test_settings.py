"""Settings: bounds named by variable, secrets never shown, misspelt variables told."""

from __future__ import annotations

import os

import pytest

from runtime.settings import (
    Settings,
    SettingsInvalid,
    bounds_of,
    describe,
    environment_of,
    load_settings,
    unknown_variables,
    without_password,
)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("HOLDFAST_"):
            monkeypatch.delenv(name)


def test_defaults_suit_one_machine() -> None:
    settings = load_settings()
    assert (settings.host, settings.port, settings.durability) == ("127.0.0.1", 8000, "journal")
    assert settings.workers == (os.cpu_count() or 1)
    assert settings.redis_url is None


def test_the_command_line_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_PORT", "9001")
    assert load_settings().port == 9001
    assert load_settings(port=9002, host=None).port == 9002


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HOLDFAST_PORT", "70000"),
        ("HOLDFAST_PORT", "x"),
        ("HOLDFAST_WORKERS", "0"),
        ("HOLDFAST_PARTITIONS", "2"),
        ("HOLDFAST_DURABILITY", "maybe"),
        ("HOLDFAST_LATE_CONFIRM", "yes"),
        ("HOLDFAST_ADMIN_KEY", "short"),
        ("HOLDFAST_STOREFRONT_KEY", "with a space in it and long enough"),
        ("HOLDFAST_IDEMPOTENCY_WINDOW_SECONDS", "0"),
        ("HOLDFAST_REDIS_MAXMEMORY", "lots"),
        ("HOLDFAST_LOG_LEVEL", "loud"),
        ("HOLDFAST_DIGEST_AT", "9:00"),
        ("HOLDFAST_DIGEST_AT", "24:00"),
        ("HOLDFAST_TIMEZONE", "Mars/Olympus"),
        ("HOLDFAST_TIMEZONE", "../../etc/passwd"),
        ("HOLDFAST_ALERT_HYSTERESIS_PERCENT", "-1"),
        ("HOLDFAST_ORDERS_STREAM", "{h00}:journal"),
        ("HOLDFAST_ORDERS_REDIS_URL", "localhost:6379"),
    ],
)
def test_a_bad_value_is_refused_by_the_name_of_its_variable(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsInvalid, match=variable):
        load_settings()


def test_a_refused_secret_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_ADMIN_KEY", "hunter2")
    with pytest.raises(SettingsInvalid) as refused:
        load_settings()
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "sender", "to"),
    [
        ("smtp://ann:hunter2@mail", "", ""),
        ("smtp://ann:hunter2@mail", "a@b", ""),
        ("smtp://ann:hunter2@mail", "a@b", "not an address"),
        ("http://ann:hunter2@mail", "a@b", "c@d"),
    ],
)
def test_mails_are_set_whole_or_refused(url: str, sender: str, to: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_SMTP_URL", url)
    monkeypatch.setenv("HOLDFAST_ALERT_MAIL_FROM", sender)
    monkeypatch.setenv("HOLDFAST_ALERT_MAIL_TO", to)
    with pytest.raises(SettingsInvalid) as caught:
        load_settings()
    assert "mail" in str(caught.value).lower()
    assert "hunter2" not in str(caught.value)
    monkeypatch.setenv("HOLDFAST_SMTP_URL", "smtp://ann:hunter2@mail")
    monkeypatch.setenv("HOLDFAST_ALERT_MAIL_FROM", "a@b")
    monkeypatch.setenv("HOLDFAST_ALERT_MAIL_TO", "c@d, e@f")
    settings = load_settings()
    assert "hunter2" not in repr(settings) + str(describe(settings, os.environ))


def test_the_list_masks_secrets_and_says_where_each_value_came_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_ADMIN_KEY", "an-admin-key-of-some-length")
    monkeypatch.setenv("HOLDFAST_REDIS_URL", "redis://user:pass-word@store:6379/0")
    rows = {row.variable: row for row in describe(load_settings(port=9000), os.environ)}
    assert rows["HOLDFAST_ADMIN_KEY"].value == "********"
    assert rows["HOLDFAST_REDIS_URL"].value == "redis://user:***@store:6379/0"
    assert (rows["HOLDFAST_PORT"].value, rows["HOLDFAST_PORT"].source) == ("9000", "command line")
    assert rows["HOLDFAST_ADMIN_KEY"].source == "environment"
    assert rows["HOLDFAST_HOST"].source == "default"
    assert "pass-word" not in str(rows)
    assert "an-admin-key" not in str(rows)
    assert "pass-word" not in repr(load_settings())


def test_every_setting_says_what_it_means_and_numbers_have_bounds() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        if field.annotation in (int, float):
            assert bounds_of(name), name


def test_another_process_gets_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_ADMIN_KEY", "an-admin-key-of-some-length")
    settings = load_settings(port=9000, access_log=True, durability="ledger")
    for name, value in environment_of(settings).items():
        monkeypatch.setenv(name, value)
    assert load_settings() == settings


def test_a_misspelt_variable_is_found() -> None:
    environment = {"HOLDFAST_PROT": "1", "HOLDFAST_PORT": "1", "PATH": "/"}
    assert unknown_variables(environment) == ["HOLDFAST_PROT"]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("redis://:secret@host/0", "redis://:***@host/0"),
        ("rediss://user:se:cr@et@host:1/2", "rediss://user:***@host:1/2"),
        ("postgresql://user@host/db", "postgresql://user@host/db"),
        ("postgresql://u@/db?host=/run&password=secret", "postgresql://u@/db?host=/run&password=***"),
        ("unix:///run/redis.sock?db=0&password=secret", "unix:///run/redis.sock?db=0&password=***"),
        ("secret", "***"),
    ],
)
def test_urls_are_shown_without_their_password(url: str, shown: str) -> None:
    assert without_password(url) == shown
