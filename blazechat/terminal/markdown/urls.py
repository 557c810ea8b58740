"""URLs in messages: which of them may be opened, and what of them must be visible."""

import re

MAX_URL_CHARACTERS = 2_000
WEB_URL = re.compile(
    r"https?://(?P<user>[^\s/?#@\\]*@)?(?P<host>(?:[\w.-]+|\[[0-9a-f:.]+\])(?::\d{1,5})?)(?:[/?#][!-~]*)?",
    re.IGNORECASE | re.ASCII,
)
MAIL_URL = re.compile(r"mailto:(?P<host>[^\s?#@/\\]+@[\w.-]+)(?:\?[!-~]*)?", re.IGNORECASE | re.ASCII)


def is_allowed(url: str) -> bool:
    """Return True for a normalised URL of the web or of a mail address.

    Its characters are printable ASCII, and every browser finds the same host in it (RFC 3986, section 3.2).
    """
    return len(url) <= MAX_URL_CHARACTERS and _match(url) is not None


def host_of(url: str) -> str:
    """Return the host of an allowed URL, with a port; of a mail URL, the address."""
    match = _match(url)
    assert match is not None
    return match["host"]


def is_visible_in(label: str, url: str, normalized_label: str) -> bool:
    """Return True if a label is the URL itself, so that the reader sees where it leads.

    A URL with a user name is not, since `https://example.com@evil.example` leads to evil.example; nor is a
    host with letters of other scripts that look like Latin ones (UTS #39).
    """
    match = WEB_URL.fullmatch(url)
    if match is not None and (match["user"] or ("xn--" in match["host"] and "xn--" not in label)):
        return False
    shown = {label.rstrip("/"), normalized_label.rstrip("/")}
    target = url.rstrip("/")
    return bool(shown & {target, target.partition("://")[2] or target, target.removeprefix("mailto:")})


def _match(url: str) -> re.Match[str] | None:
    return WEB_URL.fullmatch(url) or MAIL_URL.fullmatch(url)
