"""Which endpoints are allowed: the many ways to write an address, and what the allow-list changes."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.allow import Allow
from app.integrations.endpoint import Endpoint, Policy, is_public
from app.settings import Settings

_REFUSED = [
    # plain, octal, hexadecimal, one number, too few and too many parts
    "https://127.0.0.1", "https://10.1.2.3", "https://172.31.0.1", "https://192.168.0.1", "https://100.64.0.1",
    "https://0.0.0.0", "https://0177.0.0.1", "https://017700000001", "https://0x7f000001", "https://0x7f.1",
    "https://0x7F.0x0.0x0.0x1", "https://2130706433", "https://127.1", "https://127.0.1", "https://127.0.0.1.",
    "https://127.0.0.01", "https://256.256.256.256", "https://1.2.3.4.5", "https://8.8.8.0x8", "https://0x",
    # metadata services
    "https://169.254.169.254", "https://[fd00:ec2::254]", "https://100.100.100.200", "https://168.63.129.16",
    "https://[fe80::a9fe:a9fe]", "https://192.0.0.192",
    # IPv6, and IPv4 within it
    "https://[::1]", "https://[::]", "https://[::ffff:127.0.0.1]", "https://[::ffff:7f00:1]", "https://[::127.0.0.1]",
    "https://[64:ff9b::7f00:1]", "https://[64:ff9b::10.0.0.1]", "https://[64:ff9b:1::1]", "https://[2002:7f00:1::]",
    "https://[2002:808:808::]", "https://[2001::1]", "https://[fc00::1]", "https://[fec0::1]", "https://[ff02::1]",
    "https://[2001:db8::1]", "https://[fe80::1%25eth0]", "https://[::1", "https://[1.2.3.4]", "https://[]",
    # neither unicast nor anybody's
    "https://224.0.0.1", "https://239.1.1.1", "https://240.0.0.1", "https://255.255.255.255", "https://192.88.99.1",
    "https://198.18.0.1", "https://203.0.113.1", "https://192.0.2.1",
    # names that are private wherever they are
    "https://localhost", "https://LOCALHOST", "https://x.localhost", "https://printer.local", "https://db.internal",
    "https://intranet", "https://router.home.arpa",
    # not https, no URL, or another one to another reader
    "http://auth.apg.platform", "ftp://8.8.8.8", "file:///etc/passwd", "gopher://8.8.8.8", "//8.8.8.8", "8.8.8.8", "",
    "https://", "https:///x", "https://8.8.8.8:0", "https://8.8.8.8:65536", "https://8.8.8.8:", "https://8.8.8.8:x",
    "https://8.8.8.8#@127.0.0.1", "https://8.8.8.8\\@127.0.0.1", "https://8.8.8.8\t.x", " https://8.8.8.8",
    "https://8.8.8.8\n", "https://a b", "https://a..b", "https://-a.example.com", "https://a-.example.com",
    "https://.example.com", "https://example.com.", "https://" + "a" * 64 + ".com", "https://" + "a." * 127 + "com",
    "https://１２７.0.0.1", "https://ⓛocalhost", "https://bücher.example.com", "https://127。0。0。1",
    "https://u:p@example.com", "https://u@example.com", "https://example.com?a=b:c@d", "https://example.com?api_key=x",
    "https://example.com/?access_token=x", "https://example.com/%zz\0",
]  # fmt: skip
_GOOD = [
    "https://auth.apg.platform", "https://8.8.8.8", "https://[2606:4700:4700::1111]:8443/", "HTTPS://Auth.Example.COM",
    "https://xn--bcher-kva.example.com/a%20b/c?v=1&w=", "https://[::ffff:8.8.8.8]", "https://a_b.example.com:1",
    "https://[64:ff9b::8.8.8.8]", "https://1password.com", "https://example.com/a:b@c", "https://1.2.3.4.example.com",
]  # fmt: skip


def _refusal(text: str, allow: str = "") -> str | None:
    try:
        endpoint = Endpoint.parse(text)
    except ValueError as error:
        return str(error)
    return Policy(Allow.parse(allow)).refusal(endpoint)


@pytest.mark.parametrize("text", _REFUSED)
def test_what_is_not_on_the_public_internet_is_refused_with_why(text: str) -> None:
    refusal = _refusal(text)
    assert refusal is not None
    assert refusal.startswith("must ")


@pytest.mark.parametrize("text", _GOOD)
def test_what_is_public_is_allowed(text: str) -> None:
    assert _refusal(text) is None


_ALLOWED = [
    ("auth.local", "http://auth.local:8080/x", True),
    ("auth.local", "https://auth.local", True),
    ("auth.local", "http://AUTH.local", True),
    ("auth.local", "https://x.auth.local", False),
    ("auth.local:8080", "http://auth.local:8080", True),
    ("auth.local:8080", "http://auth.local", False),
    ("keycloak", "http://keycloak", True),
    ("10.0.0.0/8", "http://10.2.3.4", True),
    ("10.0.0.0/8", "https://11.2.3.4", True),
    ("10.0.0.0/8", "http://11.2.3.4", False),
    ("10.0.0.0/8", "https://192.168.0.1", False),
    ("10.0.0.0/8", "https://keycloak", True),  # where its name leads is looked at when it is tried
    ("10.0.0.0/8", "http://keycloak", False),
    ("10.0.0.7:8443", "https://10.0.0.7:8443", True),
    ("10.0.0.7:8443", "https://10.0.0.7", False),
    ("10.0.0.7", "https://[::ffff:10.0.0.7]", True),
    ("fd00:1::/64", "http://[fd00:1::5]:80", True),
    ("[fd00:1::5]:80", "http://[fd00:1::5]", True),
    ("169.254.169.254", "http://169.254.169.254", True),
    (" a.local,\n b.local  10.0.0.0/8,", "http://b.local", True),
]


@pytest.mark.parametrize(("allow", "text", "allowed"), _ALLOWED)
def test_the_allow_list_adds_what_it_names_and_no_more(allow: str, text: str, allowed: bool) -> None:
    assert (_refusal(text, allow) is None) == allowed


def test_a_host_that_is_allowed_may_be_private_but_not_where_a_cloud_keeps_credentials() -> None:
    policy, endpoint = Policy(Allow.parse("auth.local")), Endpoint.parse("http://auth.local")
    for text in ("10.0.0.1", "127.0.0.1", "::1", "fd12::1", "192.168.1.1", "8.8.8.8", "::ffff:10.0.0.1"):
        assert policy.permits(ip_address(text), endpoint), text
    for text in ("169.254.169.254", "fd00:ec2::254", "100.100.100.200", "fe80::1", "224.0.0.1", "::"):
        assert not policy.permits(ip_address(text), endpoint), text
    assert not policy.permits(ip_address("10.0.0.1"), Endpoint.parse("https://other.example.com"))


@pytest.mark.parametrize("text", ["10.0.0.1/8", "a b:x", "http://a", "a:0", "a:70000", "[x]", "*.a", "a/8", "[a.b]:1"])
def test_a_wrong_entry_ends_the_start_and_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no host|has no port"):
        Settings(integration_allow=f"good.example.com,{text}")


@given(st.integers(min_value=0, max_value=2**32 - 1))
def test_an_address_is_as_private_within_ipv6_as_by_itself(number: int) -> None:
    address = IPv4Address(number)
    mapped, translated = IPv6Address(0xFFFF << 32 | number), IPv6Address(int(IPv6Address("64:ff9b::")) | number)
    assert is_public(mapped) == is_public(translated) == is_public(address)
    assert not is_public(IPv6Address(0x2002 << 112 | number << 80)), "6to4"
    assert not is_public(IPv6Address(number)), "IPv4-compatible"
    if address.is_private or address.is_loopback or address.is_link_local or address.is_multicast:
        assert not is_public(address)


@given(st.integers(min_value=0, max_value=2**32 - 1))
def test_no_other_notation_of_an_address_is_taken(number: int) -> None:
    a, b, c, d = number.to_bytes(4, "big")
    for host in (f"{number}", f"0x{number:x}", f"0{number:o}", f"{a}.{b}.{c * 256 + d}", f"0x{a:x}.{b}.{c}.{d}"):
        refusal = _refusal(f"https://{host}")
        assert refusal is not None, host


@given(st.text(max_size=60) | st.from_regex(r"https://[a-z0-9.:@\[\]/?#%\\-]{0,40}", fullmatch=True))
def test_whatever_is_written_is_judged_and_read_in_one_way(text: str) -> None:
    try:
        endpoint = Endpoint.parse(text)
    except ValueError:
        return
    scheme, _, rest = text.lower().partition("://")
    assert scheme == endpoint.scheme
    assert rest.startswith(f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host)
    assert text.isascii()
    assert "#" not in text
