"""Webhook calls reach public addresses and allowed hosts only, however the URL is spelled."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blazechat.errors import InvalidInput
from blazechat.jobs.http_caller import (
    HttpResponse,
)
from blazechat.jobs.ssrf_guard import (
    MAX_URL_CHARACTERS,
    AllowedHosts,
    check_url,
    parse_allowed_hosts,
)
from tests.webhooks.raw_receiver import (
    OK,
    caller,
    failure_of,
    receiver,
    resolves_to,
    responds,
)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.1",
        "017700000001",
        "127.0.0.1.",
        "127。0。0。1",
        "0",
        "0.0.0.0",  # noqa: S104
        "localhost",
        "LOCALHOST",
        "localhost.",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
    ],
)
async def test_no_spelling_reaches_the_loopback_interface(host: str) -> None:
    """A filter that checks the URL instead of the connected address misses each of these."""
    async with receiver(responds(OK), "0.0.0.0") as target:  # noqa: S104
        url = f"http://{host}:{target.port}/"
        async with caller(allowed="10.0.0.0/8") as http:
            assert "not allowed" in await failure_of(http, url)
            assert target.connections == 0
        async with caller(allowed="127.0.0.0/8, 0.0.0.0, localhost") as http:
            assert isinstance(await http.post(url, b"{}", {}), HttpResponse)
            assert target.connections == 1


@pytest.mark.parametrize("host", ["[::1]", "[0:0:0:0:0:0:0:1]", "[::]", "ip6-loopback"])
async def test_no_spelling_reaches_the_loopback_interface_by_ipv6(host: str) -> None:
    """The same for IPv6."""
    async with receiver(responds(OK), "::1") as target:
        async with caller("10.0.0.0/8", resolve=resolves_to(["::1"])) as http:
            assert "not allowed" in await failure_of(http, f"http://{host}:{target.port}/")
            assert target.connections == 0
        async with caller("::1", resolve=resolves_to(["::1"])) as http:
            assert isinstance(await http.post(f"http://{host}:{target.port}/", b"{}", {}), HttpResponse)
        assert b"host: " + f"{host}:{target.port}".encode() in target.requests[0].lower()


SPECIAL_ADDRESSES = """
0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.100.100.200 127.0.0.1 127.255.255.254 169.254.169.254
172.16.0.1 172.31.255.255 192.0.0.1 192.0.0.192 192.0.2.1 192.88.99.1 192.168.0.1 198.18.0.1 198.19.255.255
198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255 168.63.129.16
:: ::1 ::7f00:1 ::8.8.8.8 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::ffff:0:8.8.8.8
64:ff9b::127.0.0.1 64:ff9b::a00:1 64:ff9b:1::8.8.8.8 100::1 2001::1 2001:0:4136:e378:8000:63bf:3fff:fdd2
2001:2::1 2001:10::1 2001:db8::1 2002:7f00:1:: 2002:808:808::1 3fff::1 5f00::1 fc00::1 fd00:ec2::254
fe80::1 fe80::1%eth0 2606:4700::1111%eth0 fec0::1 ff02::1
ff0e::1 127.1 0x7f.1 0177.0.0.1 2130706433 localhost
"""


PUBLIC_ADDRESSES = """
1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 169.253.255.255
172.15.255.255 172.32.0.0 192.0.1.0 192.167.255.255 198.17.255.255 198.20.0.0 223.255.255.255
::ffff:8.8.8.8 64:ff9b::808:808 2001:4860:4860::8888 2606:4700:4700::1111 2a00:1450:4001::1
"""


@pytest.mark.parametrize("address", SPECIAL_ADDRESSES.split())
async def test_special_address_is_not_allowed(address: str) -> None:
    """Nothing but globally routed unicast, whatever DNS returns; the error does not contain the address."""
    async with caller(allowed="hooks.internal", resolve=resolves_to([address])) as http:
        reason = await failure_of(http, "http://rebind.example/")
    assert reason == "Requests to rebind.example are not allowed: its address is not public."


@pytest.mark.parametrize("address", PUBLIC_ADDRESSES.split())
def test_public_address_is_permitted(address: str) -> None:
    """The neighbours of the special networks are public."""
    assert AllowedHosts().permits("hooks.example", address)


@given(address=st.ip_addresses())
def test_public_addresses_are_global_in_ipaddress(address: object) -> None:
    """No address is public here and not global in Python's `ipaddress`."""
    parsed = ip_address(str(address))
    if AllowedHosts().permits("hooks.example", str(parsed)):
        parsed = getattr(parsed, "ipv4_mapped", None) or parsed
        assert parsed.is_global
        assert not parsed.is_multicast


async def test_allowed_hosts_are_called() -> None:
    """An allowed name may resolve to any address; an allowed network holds for all names."""
    async with receiver(responds(OK)) as target:
        url = f"http://Hooks.Internal.:{target.port}/"
        async with caller("hooks.internal", resolve=resolves_to(["127.0.0.1"])) as http:
            assert isinstance(await http.post(url, b"{}", {}), HttpResponse)
            await failure_of(http, f"http://other.internal:{target.port}/")
            await failure_of(http, f"http://x.hooks.internal:{target.port}/")
        async with caller("127.0.0.0/8", resolve=resolves_to(["127.0.0.1"])) as http:
            assert isinstance(await http.post(url, b"{}", {}), HttpResponse)


async def test_only_permitted_addresses_of_a_name_are_tried() -> None:
    """A public address does not permit the private address of the same name."""
    async with receiver(responds(OK), "0.0.0.0") as target:  # noqa: S104
        resolve = resolves_to(["10.0.0.1", "127.0.0.3", "127.0.0.2"])
        async with caller("127.0.0.2/32", resolve=resolve) as http:
            assert isinstance(
                await http.post(f"http://two.example:{target.port}/", b"{}", {}), HttpResponse
            )
        assert target.reached_addresses == ["127.0.0.2"]


async def test_second_address_is_tried_when_the_first_refuses() -> None:
    """As browsers do."""
    async with receiver(responds(OK), "127.0.0.2") as target:
        resolve = resolves_to(["127.0.0.9", "127.0.0.2"])
        async with caller(resolve=resolve) as http:
            assert isinstance(
                await http.post(f"http://two.example:{target.port}/", b"{}", {}), HttpResponse
            )


async def test_name_that_changes_its_address_is_checked_again() -> None:
    """DNS rebinding: a name that was public resolves to a private address; no connection is made."""
    closing = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
    async with receiver(responds(closing), "0.0.0.0") as target:  # noqa: S104
        url = f"http://rebind.example:{target.port}/"
        resolve = resolves_to(["127.0.0.2"], ["127.0.0.1"])
        async with caller("127.0.0.2/32", resolve=resolve) as http:
            assert isinstance(await http.post(url, b"{}", {}), HttpResponse)
            assert "not allowed" in await failure_of(http, url)
        assert target.reached_addresses == ["127.0.0.2"]


async def test_reused_connection_stays_on_its_checked_address() -> None:
    """A name that now resolves to a private address does not move an open connection."""
    async with receiver(responds(OK), "0.0.0.0") as target:  # noqa: S104
        resolve = resolves_to(["127.0.0.2"], ["127.0.0.1"])
        async with caller("127.0.0.2/32", resolve=resolve) as http:
            for _ in range(3):
                await http.post(f"http://rebind.example:{target.port}/", b"{}", {})
        assert target.reached_addresses == ["127.0.0.2"]
        assert len(target.requests) == 3


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        ("https://hooks.example/a?b=c", "https://hooks.example/a?b=c"),
        (" HTTPS://Hooks.Example.:443/A ", "https://hooks.example/A"),
        ("http://hooks.example:80", "http://hooks.example"),
        ("http://bücher.example/ü", "http://xn--bcher-kva.example/%C3%BC"),
        ("http://[2606:4700::1111]:8080/", "http://[2606:4700::1111]:8080/"),
        ("http://10.0.0.1/", "http://10.0.0.1/"),
        ("http://@hooks.example?to=a@b", "http://hooks.example?to=a@b"),
        ("http://a_b.example/x@y", "http://a_b.example/x@y"),
    ],
)
def test_urls_are_normalised(given: str, normal: str) -> None:
    """So one receiver has one connection, and the stored URL is the one that is called."""
    assert check_url(given) == normal
    assert check_url(normal) == normal


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hooks.example",
        "//hooks.example/",
        "ftp://hooks.example/",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "http://",
        "http:///path",
        "http://user@hooks.example/",
        "http://user:secret@hooks.example/",
        "http://good.example\\@evil.example/",
        "http://hooks.example/#part",
        "http://hooks.example/#",
        "http://hooks.example:0/",
        "http://hooks.example:65536/",
        "http://hooks.example:-1/",
        "http://hooks.example:x/",
        "http://hooks.example:25/",
        "http://hooks..example/",
        "http://.example/",
        "http://ex%61mple/",
        "http://two words/",
        "http://[fe80::1%25eth0]/",
        "http://[::1",
        "http://0177.0.0.1/",
        "http://①②⑦.0.0.1/",
        "http://hooks.example/\r\nX: y",
        "http://hooks.example/\0",
        "http://hooks.example/\ud800",
        f"http://{'a' * 64}.example/",
        f"http://{'a.' * 130}example/",
        "http://hooks.example/" + "a" * MAX_URL_CHARACTERS,
        "http://hooks.example/" + "ü" * (MAX_URL_CHARACTERS // 2),
    ],
)
def test_urls_that_cannot_be_called_are_rejected(url: str) -> None:
    """When the webhook is created, before it is called."""
    with pytest.raises(InvalidInput) as caught:
        check_url(url)
    assert [wrong.field for wrong in caught.value.fields] == ["url"]


@given(url=st.text() | st.text().map("http://{}/".format) | st.text().map("https://hooks.example{}".format))
def test_any_text_is_a_url_or_is_rejected(url: str) -> None:
    """A normalised URL is its own normal form."""
    try:
        normal = check_url(url)
    except InvalidInput:
        return
    assert check_url(normal) == normal


def test_allowed_hosts_are_parsed() -> None:
    """Names and networks in any order; the error quotes the invalid part."""
    parsed = parse_allowed_hosts(" Hooks.Internal., 10.0.0.0/8,::1 , [fd00::1], ,localhost")
    assert parsed.names == {"hooks.internal", "localhost"}
    assert list(map(str, parsed.networks)) == ["10.0.0.0/8", "::1/128", "fd00::1/128"]
    assert parse_allowed_hosts("") == AllowedHosts()
    for wrong in ("10.0.0.1/8", "10.0.0", "10.0.0.256", "http://hooks.internal", "a b", "*", "::1/200"):
        with pytest.raises(ValueError, match="neither a host name nor a network"):
            parse_allowed_hosts(f"localhost, {wrong}")
