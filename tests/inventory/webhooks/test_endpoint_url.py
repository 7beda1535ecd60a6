"""Which URLs and addresses a webhook may have: the list of attacks, and what must go on working."""

from __future__ import annotations

import ipaddress
import random

import pytest

from inventory.refusals import WebhookUrlRefused
from inventory.webhooks.addresses import checked_addresses, system_resolver, why_refused
from inventory.webhooks.endpoint_url import Endpoint, parse_endpoint
from inventory.webhooks.subscriptions import check_url

SEED = random.randrange(2**32)

GOOD = {
    "https://example.com": Endpoint("https", "example.com", 443, "/"),
    "https://Shop.Example.COM/hooks/A?x=1&y=%20": Endpoint("https", "shop.example.com", 443, "/hooks/A?x=1&y=%20"),
    "https://example.com:8443/": Endpoint("https", "example.com", 8443, "/"),
    "https://example.com:443/a": Endpoint("https", "example.com", 443, "/a"),
    "https://xn--bcher-kva.example/x": Endpoint("https", "xn--bcher-kva.example", 443, "/x"),
    "https://93.184.215.14/x": Endpoint("https", "93.184.215.14", 443, "/x"),
    "https://[2606:2800:21F:CB07:6820:80DA:AF6B:8B2C]:8443/x": Endpoint(
        "https", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", 8443, "/x"
    ),
    "HTTPS://example.com?q": Endpoint("https", "example.com", 443, "/?q"),
}

BAD_AS_TEXT = [
    "",
    " ",
    "example.com",
    "//example.com/",
    "https:",
    "https://",
    "https:///x",
    "https://?x",
    "https:example.com",
    "file:///etc/passwd",
    "ftp://example.com/",
    "gopher://example.com:6379/_FLUSHALL",
    "javascript:alert(1)",
    "unix:///run/x.sock",
    "data:text/plain,x",
    "ws://example.com/",
    "http://example.com/",
    "https://user@example.com/",
    "https://user:password@example.com/",
    "https://@example.com/",
    "https://example.com@169.254.169.254/",
    "https://example.com#@evil.example/",
    "https://example.com/#x",
    "https://example.com/#",
    "https://example.com\\@evil.example/",
    "https:\\\\example.com",
    "https://exa mple.com/",
    "https://example.com/a b",
    "https://example.com/\r\nx: y",
    "https://example.com/\x00",
    "https://example.com\t/",
    "https://ex\u00e4mple.com/",
    "https://\u24d4xample.com/",
    "https://example\u3002com/",
    "https://1\uff0e1.1.1/",
    "https://example..com/",
    "https://.example.com/",
    "https://example.com./",
    "https://-example.com/",
    "https://example-.com/",
    "https://exam%70le.com/",
    "https://" + "a" * 64 + ".com/",
    "https://" + ".".join(["abcdefghi"] * 26) + "/",
    "https://example.com:/",
    "https://example.com:0/",
    "https://example.com:65536/",
    "https://example.com:999999/",
    "https://example.com:-1/",
    "https://example.com:+443/",
    "https://example.com:4 43/",
    "https://example.com:abc/",
    "https://example.com:80:80/",
    "https://example.com:22/",
    "https://example.com:25/",
    "https://example.com:53/",
    "https://[::1/",
    "https://::1/",
    "https://[]/",
    "https://[::1]x/",
    "https://[fe80::1%25eth0]/",
    "https://[v1.x]/",
    "https://[127.0.0.1]/",
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0x7f.0.0.1/",
    "https://0x7F.1/",
    "https://127.1/",
    "https://127.0.1/",
    "https://0177.0.0.1/",
    "https://017700000001/",
    "https://1.2.3.4.5/",
    "https://256.1.1.1/",
    "https://1.1.1.1.0x/",
    "https://example.0x10/",
    "https://example.123/",
    "https://1.2.3/",
    "https://example.com/" + "a" * 2000,
]

NEVER = [
    "0.0.0.0",  # noqa: S104
    "0.1.2.3",
    "169.254.169.254",
    "169.254.0.1",
    "192.0.0.1",
    "192.0.0.170",
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.7",
    "203.0.113.7",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::2",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "::7f00:1",
    "64:ff9b::7f00:1",
    "64:ff9b::808:808",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:10::1",
    "2001:db8::1",
    "2002:7f00:1::1",
    "2002:808:808::1",
    "3fff::1",
    "4000::1",
    "5f00::1",
    "fe80::1",
    "febf::1",
    "fec0::1",
    "ff02::1",
]

LOCAL = [
    "127.0.0.1",
    "127.255.255.254",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "100.127.255.255",
    "::1",
    "fc00::1",
    "fd00:ec2::254",
]

PUBLIC = ["8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "192.0.1.1", "11.0.0.1", "128.0.0.1", "223.255.255.255",
          "2606:4700::1111", "2a00:1450:4001:80b::200e", "2001:4860:4860::8888", "2400:cb00::1"]  # fmt: skip


@pytest.mark.parametrize("url", GOOD)
def test_what_a_good_url_is_made_of(url: str) -> None:
    assert parse_endpoint(url, allow_private=False) == GOOD[url]


@pytest.mark.parametrize("url", BAD_AS_TEXT)
def test_urls_that_are_refused_as_they_stand(url: str) -> None:
    with pytest.raises(WebhookUrlRefused):
        parse_endpoint(url, allow_private=False)
    if not url.startswith("http://"):
        with pytest.raises(WebhookUrlRefused):
            parse_endpoint(url, allow_private=True)


@pytest.mark.parametrize(
    ("url", "header"),
    [
        ("https://example.com/", "example.com"),
        ("https://example.com:8443/", "example.com:8443"),
        ("https://[2606:4700::1111]/", "[2606:4700::1111]"),
        ("https://[2606:4700::1111]:8443/", "[2606:4700::1111]:8443"),
    ],
)
def test_the_host_header_names_what_was_asked_for(url: str, header: str) -> None:
    assert parse_endpoint(url, allow_private=False).host_header == header


@pytest.mark.parametrize("text", NEVER)
def test_addresses_that_are_never_called(text: str) -> None:
    address = ipaddress.ip_address(text)
    assert why_refused(address, allow_private=False)
    assert why_refused(address, allow_private=True)


@pytest.mark.parametrize("text", LOCAL)
def test_local_addresses_are_called_only_where_a_setting_allows_it(text: str) -> None:
    address = ipaddress.ip_address(text)
    assert why_refused(address, allow_private=False)
    assert why_refused(address, allow_private=True) is None


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses_are_called(text: str) -> None:
    assert why_refused(ipaddress.ip_address(text), allow_private=False) is None


def test_whatever_python_knows_not_to_be_global_is_refused() -> None:
    print(f"seed {SEED}")
    chosen = random.Random(SEED)
    drawn: list[ipaddress.IPv4Address | ipaddress.IPv6Address] = []
    for _ in range(20_000):
        drawn.append(ipaddress.IPv4Address(chosen.getrandbits(32)))
        drawn.append(ipaddress.IPv6Address(chosen.getrandbits(128)))
        drawn.append(ipaddress.IPv6Address((0x2001 << 112) | chosen.getrandbits(112)))
    for address in drawn:
        if not address.is_global or address.is_multicast or address.is_reserved:
            assert why_refused(address, allow_private=False), address


@pytest.mark.parametrize("spoilt", [*NEVER[:4], *LOCAL])
async def test_one_bad_address_spoils_a_name(spoilt: str) -> None:
    async def resolve(host: str, port: int) -> tuple[str, ...]:
        return ("8.8.8.8", spoilt, "2606:4700::1111")

    with pytest.raises(WebhookUrlRefused, match="two-faced"):
        await checked_addresses("two-faced.example", 443, resolve, allow_private=False)


@pytest.mark.parametrize("answer", [(), ("fe80::1%eth0",), ("nonsense",), ("8.8.8.8", "::ffff:10.0.0.1")])
async def test_answers_of_a_resolver_that_lead_nowhere(answer: tuple[str, ...]) -> None:
    async def resolve(host: str, port: int) -> tuple[str, ...]:
        return answer

    with pytest.raises(WebhookUrlRefused):
        await checked_addresses("odd.example", 443, resolve, allow_private=True)


async def test_the_systems_resolver_is_believed_about_localhost() -> None:
    assert set(await system_resolver("localhost", 443)) <= {"127.0.0.1", "::1"}
    with pytest.raises(WebhookUrlRefused, match="loopback"):
        await check_url("https://localhost/", allow_private=False)
    await check_url("http://localhost:8000/", allow_private=True)


async def test_a_name_that_nobody_knows_is_refused() -> None:
    async def resolve(host: str, port: int) -> tuple[str, ...]:
        raise OSError("Name or service not known")

    with pytest.raises(WebhookUrlRefused, match="cannot be resolved"):
        await check_url("https://nowhere.example/", allow_private=False, resolve=resolve)


@pytest.mark.parametrize("url", ["https://127.0.0.1/", "https://169.254.169.254/latest/meta-data", "https://[::1]/",
                                 "https://[::ffff:127.0.0.1]/", "https://10.1.2.3/", "https://0.0.0.0/",
                                 "https://[fd00:ec2::254]/"])  # fmt: skip
async def test_an_address_in_the_url_is_held_against_the_same_table(url: str) -> None:
    with pytest.raises(WebhookUrlRefused, match="may not reach"):
        await check_url(url, allow_private=False)
