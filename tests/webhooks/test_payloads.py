"""The body of a post is a message or a clean rejection: content types, limits, arbitrary input."""

import json
import time
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blazechat.domain import validation
from blazechat.domain.integrations.incoming_payloads import IncomingPost, parse_post
from blazechat.domain.integrations.slack_blocks import MAX_ELEMENTS
from blazechat.domain.integrations.slack_markup import MAX_URL_CHARACTERS
from blazechat.errors import BadRequest
from tests.webhooks.payloads import FORM, JSON, content_of, parsed, rejection


def multipart_form(**fields: str) -> tuple[str, bytes]:
    """A multipart form, as `curl -F` writes it."""
    lines = "".join(
        f'--cut\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    )
    return "multipart/form-data; boundary=cut", f"{lines}--cut--\r\n".encode()


# Content types and forms.


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "Application/JSON; charset=utf-8",
        "text/plain",
        "text/plain; charset=UTF-8",
        "",
        "application/vnd.api+json",
        FORM,
    ],
)
def test_json_is_accepted_under_any_content_type(content_type: str) -> None:
    """`curl -d` labels it a form; some senders give no type."""
    body = '\n {"text": "Ünter +%41 &amp; uns"}'.encode()
    assert parse_post(content_type, body) == IncomingPost("Ünter +%41 & uns", None, None)


def test_forms_carry_json_in_the_field_payload() -> None:
    """URL-encoded or multipart, as a field or a file; the first of two fields counts."""
    payload = json.dumps({"text": "50% of a+b=ü & more", "username": "bot"})
    expected = IncomingPost("50% of a+b=ü & more", "bot", None)
    assert parse_post(FORM, urlencode({"token": "x", "payload": payload}).encode()) == expected
    assert parse_post(FORM, f"payload={quote(payload)}&payload=%7B%7D".encode()) == expected
    assert parse_post(*multipart_form(token="x", payload=payload)) == expected
    kind, body = multipart_form(payload=payload)
    assert parse_post(kind.replace("form-data", "Form-Data"), body) == expected
    as_file = body.replace(b'name="payload"', b'name="payload"; filename="alert.json"')
    assert parse_post(kind, as_file) == expected


def test_byte_order_mark_is_ignored() -> None:
    """PowerShell writes one."""
    assert parse_post(JSON, b"\xef\xbb\xbf" + b'{"text": "hello"}').content == "hello"


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (JSON, b""),
        (JSON, b"hello"),
        (JSON, b"[]"),
        (JSON, b'"text"'),
        (JSON, b"null"),
        (JSON, b'{"text": "a"'),
        (JSON, b'{"text": "\xff"}'),
        (JSON, b'{"text": "\\ud800"}'),
        (JSON, b'{"text": NaN}'),
        (JSON, b'{"text": ' + b"1" * 5000 + b"}"),
        (JSON, b"[" * 10_000_000),
        (JSON, b'{"blocks":' * 1_000_000),
        (FORM, b"text=hello"),
        (FORM, b"payload="),
        (FORM, b"payload=hello"),
        (FORM, b"\xff=1"),
        (FORM, b"a=b&" * 1_000_000 + b"payload=%7B%22text%22:%22a%22%7D"),
        ("multipart/form-data", b"--cut"),
        ("multipart/form-data; boundary=", b"--cut"),
        ("multipart/form-data; boundary=cut", b""),
        ("multipart/form-data; boundary=cut", b"hello"),
        (
            "multipart/form-data; boundary=cut",
            b'--cut\r\nContent-Disposition: form-data\r\n\r\n{"text": "a"}\r\n--cut--',
        ),
        (f"multipart/form-data; boundary={'c' * 5000}", b"hello"),
        ("multipart/form-data; boundary=\u00fc\ud7ff", b"hello"),
        multipart_form(text="hello"),
        multipart_form(payload="hello"),
    ],
)
def test_invalid_payload_is_rejected(content_type: str, body: bytes) -> None:
    """With the word that Slack uses."""
    assert rejection(content_type, body) == "invalid_payload"


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"text": ""},
        {"text": " \n\u200b"},
        {"text": "\0"},
        {"text": None, "attachments": None, "blocks": None},
        {"text": {}, "attachments": {}, "blocks": "x"},
        {
            "text": True,
            "attachments": [1, None, [], "x", {}],
            "blocks": [[], {"type": []}, {"type": "section"}],
        },
        {"blocks": [{"type": "divider"}, {"type": "divider"}]},
        {
            "blocks": [
                {
                    "type": "actions",
                    "elements": [{"type": "button", "text": {"type": "plain_text", "text": "Ack"}}],
                }
            ]
        },
        {"content": "  "},
        {"content": 5},
    ],
)
def test_payload_without_text_is_rejected(payload: Any) -> None:
    """With the word that Slack uses."""
    assert rejection(JSON, json.dumps(payload).encode()) == "no_text"


# Texts, blocks and attachments.


def test_nul_is_removed() -> None:
    """PostgreSQL cannot store it."""
    assert content_of(content="a\0b") == content_of(text="a\0b") == "ab"


def test_long_content_is_cut() -> None:
    """An alert arrives, even if it is cut: our own JSON, and rendered blocks."""
    limit = validation.MAX_MESSAGE_CHARACTERS
    assert content_of(content="x" * limit) == "x" * limit
    for payload in (
        {"content": "x" * (limit + 1)},
        {"text": "&amp;x" * limit},
        {"attachments": [{"text": "x" * 9_000}] * 9},
    ):
        content = content_of(**payload)
        assert len(content) == limit
        assert content.endswith(("x…", "&…"))


def test_names_and_icons_are_made_valid() -> None:
    """A name is one line without control characters; an icon has a web URL."""

    def rendered(**fields: Any) -> tuple[str | None, str | None]:
        post = parsed({"text": "x", **fields})
        return post.username, post.icon_url

    assert rendered(username=" Ann\n\tof \x07 IT\x00 ") == ("Ann of IT", None)
    assert rendered(username="n" * 1_000_000) == ("n" * validation.MAX_NAME_CHARACTERS, None)
    blanks: list[Any] = ["", " \n", "\x00\x07", "\u200b", None, [], {}, True]
    for blank in blanks:
        assert rendered(username=blank) == (None, None)
    icon = "https://x.example/i.png?a=b"
    assert rendered(icon_url=icon) == (None, icon)
    invalid_urls: list[Any] = [
        "javascript:x",
        "//x",
        "data:image/png,x",
        "https://",
        "https:///x",
        f"{icon} x",
        f"{icon}\n",
        5,
        [],
    ]
    for invalid_url in invalid_urls:
        assert rendered(icon_url=invalid_url) == (None, None)
    assert rendered(icon_url=icon.ljust(MAX_URL_CHARACTERS, "x"))[1] is not None
    assert rendered(icon_url=icon.ljust(MAX_URL_CHARACTERS + 1, "x"))[1] is None


@pytest.mark.parametrize(
    "payload",
    [
        {"text": "<" * 3_000_000},
        {"text": "<https://x|" * 300_000},
        {"text": ("<" + "a" * 1_999) * 1_500},
        {"text": "&" * 3_000_000},
        {"text": "x", "attachments": [{}] * 1_000_000},
        {"text": "x", "blocks": [{"type": "section", "fields": [{}] * 1_000}] * 1_000},
        {"text": "x", "blocks": [{"type": "rich_text", "elements": [{"elements": [{}] * 1_000}] * 1_000}]},
        {"text": "x", "blocks": [{"type": "table", "rows": [[{}] * 1_000] * 1_000}]},
        {"text": "x", "attachments": [{"text": "<https://x.example|" + "[" * 1_000}] * 3_000},
        {"text": "x", "blocks": [{"type": "markdown", "text": "x" * 1_000}] * 3_000},
        {"text": "x", "username": " \n" * 1_500_000, "icon_url": "https://" + "x" * 3_000_000},
        {
            "text": "x",
            "blocks": [{"type": "rich_text", "elements": [{"type": "rich_text_list", "indent": 10**12}]}],
        },
    ],
)
def test_large_payloads_are_parsed_quickly(payload: Any) -> None:
    """The worst cases of several megabytes take less time than their transfer."""
    body = json.dumps(payload).encode()
    began = time.process_time()
    post = parse_post(JSON, body)
    assert time.process_time() - began < 2
    assert post.content


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data; boundary=cut", b"--cut\r\n" * 500_000),
        (
            "multipart/form-data; boundary=cut",
            b"--cut\r\nContent-Disposition: x; name=y\r\n\r\n" + b"\r\n--cu" * 500_000,
        ),
        ("multipart/form-data; boundary=cut", b"--cut\r\n" + b"A: b\r\n" * 500_000),
        (
            "multipart/form-data; boundary=cut",
            b"--cut\r\nContent-Disposition: x; name=y\r\n\r\n\r\n" * 80_000,
        ),
        ("multipart/form-data" + "; a=b" * 100_000, b"--cut\r\n"),
        (FORM, b"%7" * 1_500_000),
        (FORM, b"=&" * 1_500_000),
        (FORM, b"payload=" + b"%5B" * 1_000_000),
    ],
)
def test_large_forms_are_rejected_quickly(content_type: str, body: bytes) -> None:
    """The same for the form around the JSON."""
    began = time.process_time()
    assert rejection(content_type, body) == "invalid_payload"
    assert time.process_time() - began < 2


def test_elements_after_the_limit_are_omitted() -> None:
    """The elements of all lists of a payload count."""
    blocks = [{"type": "section", "text": str(number)} for number in range(MAX_ELEMENTS + 5)]
    numbers = content_of(blocks=[{"type": "rich_text"}] * (MAX_ELEMENTS - 10) + blocks).split()
    assert numbers == list(map(str, range(10)))


# Arbitrary input.


KEYS = """
    text blocks attachments content username icon_url type elements fields accessory title title_link value
    url rows style indent offset unicode timestamp fallback alt_text image_url pretext footer actions
"""


KINDS = """
    section header context actions divider image rich_text video markdown table mrkdwn plain_text button
    rich_text_section rich_text_list rich_text_quote rich_text_preformatted text link emoji user date color
"""


ANY_KEY, ANY_KIND = st.sampled_from(KEYS.split()), st.sampled_from(KINDS.split())


TEXTS = st.text(st.characters(codec="utf-8")) | ANY_KIND | st.text("<>|&;!@#ltamp[]()*_` \n")


LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
)


ANY = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner) | st.dictionaries(ANY_KEY, inner) | st.dictionaries(TEXTS, inner),
    max_leaves=20,
)


SHAPED = st.recursive(
    st.fixed_dictionaries({}, optional={"type": ANY_KIND, "text": TEXTS, "url": TEXTS}),
    lambda inner: st.builds(
        lambda found, kind, elements, text: {**found, "type": kind, "elements": elements, "text": text},
        st.dictionaries(ANY_KEY, inner | st.lists(inner, max_size=3) | LEAVES, max_size=4),
        ANY_KIND,
        st.lists(inner, max_size=3),
        inner | TEXTS,
    ),
    max_leaves=8,
)


PAYLOADS = ANY | st.fixed_dictionaries(
    {},
    optional={
        "blocks": st.lists(SHAPED),
        "attachments": st.lists(SHAPED),
        "text": ANY,
        "username": ANY,
        "icon_url": ANY,
    },
)


def _result(content_type: str, body: bytes) -> IncomingPost | str:
    """Return the post, checked to be a valid message, or the word with which it is rejected."""
    try:
        post = parse_post(content_type, body)
    except BadRequest as error:
        return error.detail
    assert validation.message(post.content) == post.content
    assert post.username is None or validation.display_name(post.username) == post.username
    assert post.icon_url is None or post.icon_url.lower().startswith("http")
    return post


@given(payload=PAYLOADS)
def test_any_json_is_a_message_or_is_rejected(payload: Any) -> None:
    """Every parsed post is a valid message."""
    result = _result(JSON, json.dumps(payload).encode())
    assert isinstance(result, IncomingPost) or result in ("invalid_payload", "no_text")


PIECES = [
    b"--cut",
    b"--",
    b"\r\n",
    b"\r\n\r\n",
    b"Content-Disposition: form-data",
    b'; name="payload"',
    b"; filename=x",
    b"Content-Transfer-Encoding: base64",
    b"Content-Transfer-Encoding: quoted-printable",
    b'{"text": "a"}',
    b"payload=",
    b"=",
    b"%",
    b"\xff",
    b" ",
]


KNOWN_TYPES = st.sampled_from([JSON, FORM, "", "multipart/form-data; boundary=cut", "multipart/form-data"])


@given(
    content_type=KNOWN_TYPES | st.text(),
    body=st.binary() | st.lists(st.sampled_from(PIECES)).map(b"".join),
)
def test_any_bytes_are_a_message_or_are_rejected(content_type: str, body: bytes) -> None:
    """Under any content type."""
    result = _result(content_type, body)
    assert isinstance(result, IncomingPost) or result in ("invalid_payload", "no_text")
