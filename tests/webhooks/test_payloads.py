"""Posts for Slack and Mattermost become messages; any other body is a message or a clean rejection."""

import json
import time
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slack_sdk.models.attachments import Attachment, AttachmentField
from slack_sdk.models.blocks import (
    ActionsBlock,
    ButtonElement,
    ContextBlock,
    DividerBlock,
    HeaderBlock,
    ImageBlock,
    ImageElement,
    MarkdownBlock,
    MarkdownTextObject,
    PlainTextObject,
    RichTextBlock,
    RichTextElementParts,
    RichTextListElement,
    RichTextPreformattedElement,
    RichTextQuoteElement,
    RichTextSectionElement,
    SectionBlock,
    StaticSelectElement,
    TableBlock,
    VideoBlock,
)
from slack_sdk.models.blocks.basic_components import Option

from blazechat.domain import validation
from blazechat.domain.integrations.incoming_payloads import IncomingPost, parse_post
from blazechat.domain.integrations.slack_blocks import MAX_ELEMENTS
from blazechat.domain.integrations.slack_markup import MAX_URL_CHARACTERS
from blazechat.errors import BadRequest

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


def parsed(payload: Any, content_type: str = JSON) -> IncomingPost:
    return parse_post(content_type, json.dumps(payload).encode())


def content_of(**payload: Any) -> str:
    return parsed(payload).content


def rejection(content_type: str, body: bytes) -> str:
    with pytest.raises(BadRequest) as caught:
        parse_post(content_type, body)
    return caught.value.detail


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


def test_own_content_is_unchanged() -> None:
    """`content` is our own JSON: it contains no Slack markup."""
    payload = {"content": " <!here> &lt; <https://x.example|y>\n", "username": "ci", "text": "not this"}
    assert parsed(payload) == IncomingPost(" <!here> &lt; <https://x.example|y>\n", "ci", None)


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("see <https://x.example/a?b=1&amp;c=2>", "see https://x.example/a?b=1&c=2"),
        ("<https://x.example/a?b=1&amp;c=2|the &lt;page&gt;>", "[the <page>](https://x.example/a?b=1&c=2)"),
        ("<https://x.example|https://x.example>", "https://x.example"),
        ("<https://x.example/(a)|b>", "[b](https://x.example/%28a%29)"),
        ("<https://x.example|[FIRING:1] Disk>", "[[FIRING:1] Disk](https://x.example)"),
        ("<https://x.example|a](https://evil.example)>", "[a\\](https://evil.example)](https://x.example)"),
        ("<https://x.example|a] b>", "[a\\] b](https://x.example)"),
        ("<mailto:a@b.example|a@b.example>", "a@b.example"),
        ("<mailto:a@b.example|write>", "[write](mailto:a@b.example)"),
        ("<javascript:alert(1)|click>", "<javascript:alert(1)|click>"),
        ("<@U123> <@W1|ann> <#C1|general> <#C2>", "@U123 @ann #general #C2"),
        ("<!channel> <!here|here> <!everyone>", "@channel @here @everyone"),
        ("<!subteam^S1|@ops> <!subteam^S2>", "@ops @S2"),
        (
            "<!date^1392734382^{date}^https://x.example|Feb 18> <!date^0^{date}>",
            "Feb 18 1970-01-01 00:00 UTC",
        ),
        ("<!date^99999999999999999999^{date}> <!unknown|label> <!unknown>", " label <!unknown>"),
        (
            "&lt;!here&gt; &lt;https://x.example|y&gt; &amp;lt; &amp;amp;",
            "<!here> <https://x.example|y> &lt; &amp;",
        ),
        ("a < b > c <> <|x> <b>bold</b> 1<2", "a < b > c <> <|x> <b>bold</b> 1<2"),
        ("*bold* _it_ `code` :tada:", "*bold* _it_ `code` :tada:"),
    ],
)
def test_slack_markup_becomes_markdown(text: str, rendered: str) -> None:
    """Links become Markdown links, mentions are readable; escaped text stays text."""
    assert content_of(text=text) == rendered.strip()
    assert (
        content_of(blocks=[{"type": "section", "text": {"type": "mrkdwn", "text": text}}])
        == rendered.strip()
    )


def test_plain_text_has_no_markup() -> None:
    """In `plain_text`, only entities are replaced."""
    assert content_of(blocks=[HeaderBlock(text="<!here> &lt;b&gt;").to_dict()]) == "**<!here> <b>**"


def test_blocks_take_precedence_over_text() -> None:
    """With blocks, `text` is for notifications; it is used if the blocks display nothing."""
    section = SectionBlock(text="from blocks").to_dict()
    attachment = {"text": "from an attachment"}
    assert content_of(text="from text", blocks=[section]) == "from blocks"
    assert (
        content_of(text="from text", blocks=[section], attachments=[attachment])
        == "from blocks\n\nfrom an attachment"
    )
    assert content_of(text="from text", attachments=[attachment]) == "from text\n\nfrom an attachment"
    for nothing in ([], [{"type": "divider"}], [{"type": "call"}]):
        assert content_of(text="from text", blocks=nothing) == "from text"


def test_blocks_are_rendered() -> None:
    """Built with Slack's SDK, one block of each type that displays something."""
    blocks = [
        HeaderBlock(text="Release 2.4"),
        SectionBlock(
            text=MarkdownTextObject(text="*Deployed* by <@U7|ann>"),
            fields=[MarkdownTextObject(text="*Region*\neu-1"), PlainTextObject(text="Took 3 min")],
            accessory=ImageElement(image_url="https://x.example/a.png", alt_text="a rocket"),
        ),
        SectionBlock(
            text="More", accessory=ButtonElement(text="Open", url="https://x.example/open", action_id="a")
        ),
        DividerBlock(),
        ContextBlock(
            elements=[
                ImageElement(image_url="https://x.example/i.png", alt_text="info"),
                MarkdownTextObject(text="<https://ci.example|CI>"),
            ]
        ),
        ImageBlock(image_url="https://x.example/g.png", alt_text="a graph", title="Load"),
        ImageBlock(image_url="https://x.example/h.png", alt_text="a graph"),
        ActionsBlock(
            elements=[
                ButtonElement(text="Logs", url="https://x.example/logs", action_id="b"),
                ButtonElement(text="Acknowledge", value="1", action_id="c"),
                StaticSelectElement(
                    placeholder="Pick", action_id="d", options=[Option(label="One", value="1")]
                ),
                ButtonElement(text="Runbook", url="https://x.example/run", action_id="e"),
            ]
        ),
        VideoBlock(
            alt_text="talk",
            video_url="https://v.example/embed",
            title_url="https://v.example/1",
            thumbnail_url="https://v.example/t.png",
            title="A talk",
            description="Ten minutes",
        ),
        MarkdownBlock(text="**verbatim** &lt; <https://x.example>"),
    ]
    assert content_of(blocks=[block.to_dict() for block in blocks]).split("\n\n") == [
        "**Release 2.4**",
        "*Deployed* by @ann\n*Region*\neu-1\nTook 3 min\na rocket",
        "More\n[Open](https://x.example/open)",
        "---",
        "info · [CI](https://ci.example)",
        "[Load](https://x.example/g.png)",
        "[a graph](https://x.example/h.png)",
        "[Logs](https://x.example/logs) · [Runbook](https://x.example/run)",
        "[A talk](https://v.example/1)\nTen minutes",
        "**verbatim** &lt; <https://x.example>",
    ]


def test_rich_text_is_rendered() -> None:
    """Styles, mentions, lists, quotes and code, as Slack's SDK writes them."""
    kinds = RichTextElementParts
    block = RichTextBlock(
        elements=[
            RichTextSectionElement(
                elements=[
                    kinds.Text(text="Hi "),
                    kinds.User(user_id="U1"),
                    kinds.Text(text=" and ", style={"italic": True}),
                    kinds.UserGroup(usergroup_id="S1"),
                    kinds.Text(text=" in "),
                    kinds.Channel(channel_id="C1"),
                    kinds.Text(text=", "),
                    kinds.Broadcast(range="here"),
                    kinds.Text(text=": "),
                    kinds.Text(text="bold ", style={"bold": True, "strike": True}),
                    kinds.Text(text="x = <1>", style={"code": True}),
                    kinds.Text(text=" "),
                    kinds.Link(url="https://x.example", text="a link"),
                    kinds.Link(url="javascript:alert(1)", text=" no link"),
                    kinds.Text(text=" "),
                    kinds.Color(value="#ff0000"),
                    kinds.Text(text=" "),
                    kinds.Emoji(name="no_such_emoji"),
                ]
            ),
            RichTextListElement(
                style="bullet",
                elements=[
                    RichTextSectionElement(elements=[kinds.Text(text="one")]),
                    RichTextSectionElement(elements=[kinds.Text(text="two")]),
                ],
            ),
            RichTextListElement(
                style="ordered",
                indent=1,
                offset=2,
                elements=[
                    RichTextSectionElement(elements=[kinds.Text(text="three")]),
                    RichTextSectionElement(elements=[kinds.Text(text="four")]),
                ],
            ),
            RichTextQuoteElement(elements=[kinds.Text(text="said\nand done")]),
            RichTextPreformattedElement(
                elements=[kinds.Text(text="a <b>\n  "), kinds.Link(url="https://c.example")]
            ),
        ]
    )
    first, *others = content_of(blocks=[block.to_dict()]).splitlines()
    assert first == (
        "Hi @U1 _and_ @S1 in #C1, @here: **~~bold~~** `x = <1>` "
        "[a link](https://x.example) no link #ff0000 :no_such_emoji:"
    )
    assert others == [
        "- one",
        "- two",
        "   3. three",
        "   4. four",
        "> said",
        "> and done",
        "```",
        "a <b>",
        "  https://c.example",
        "```",
    ]


def test_emoji_and_dates_of_rich_text_are_rendered() -> None:
    """By code points and fallback; impossible values are omitted."""

    def rendered(**leaf: Any) -> str:
        section = {"type": "rich_text_section", "elements": [{"type": "text", "text": "x"}, leaf]}
        return content_of(blocks=[{"type": "rich_text", "elements": [section]}]).removeprefix("x")

    assert rendered(type="emoji", name="thumbsup", unicode="1f44d-1f3fd") == "👍🏽"
    impossible: list[Any] = ["d800", "110000", "x", "", "9" * 5000, None, [], "-"]
    for value in impossible:
        assert rendered(type="emoji", name="a", unicode=value) == ":a:"
    assert rendered(type="date", timestamp=1_700_000_000, format="{date}", fallback="a day") == "a day"
    assert rendered(type="date", timestamp=1_700_000_000, format="{date}") == "2023-11-14 22:13 UTC"
    impossible = [10**30, -(10**30), None, "x", []]
    for value in impossible:
        assert rendered(type="date", timestamp=value) == ""


def test_tables_are_rendered() -> None:
    """As Markdown tables, one line per row."""
    rows: list[list[Any]] = [
        [{"type": "raw_text", "text": "Host"}, {"type": "raw_text", "text": "Load"}],
        [
            {
                "type": "rich_text",
                "elements": [{"type": "rich_text_section", "elements": [{"type": "text", "text": "a|b"}]}],
            },
            {"type": "raw_number", "value": 0.5},
        ],
    ]
    rendered = content_of(blocks=[TableBlock(rows=rows).to_dict()])
    assert rendered == "| Host | Load |\n|---|---|\n| a\\|b | 0.5 |"


def test_attachments_are_rendered() -> None:
    """As Slack's SDK writes them, in the order in which Slack displays their parts."""
    attachment = Attachment(
        text="It is <https://x.example|back>.",
        fallback="not needed",
        fields=[
            AttachmentField(title="Severity", value="high"),
            AttachmentField(title="Down", value="2 min &lt; 3"),
        ],
        color="#ff0000",
        title="[P1] Shop is down",
        title_link="https://x.example/incident?a=1&b=2",
        pretext="<!channel> look",
        author_name="Pager",
        author_link="https://pager.example",
        author_icon="https://pager.example/i.png",
        image_url="https://x.example/graph.png",
        footer="eu-1 &amp; eu-2",
        ts=1_700_000_000,
    )
    assert content_of(attachments=[attachment.to_dict()]).splitlines() == [
        "@channel look",
        "[Pager](https://pager.example)",
        "[[P1] Shop is down](https://x.example/incident?a=1&b=2)",
        "It is [back](https://x.example).",
        "Severity: high",
        "Down: 2 min < 3",
        "",
        "https://x.example/graph.png",
        "eu-1 & eu-2",
    ]
    assert content_of(attachments=[{"fallback": "only this", "color": "good"}]) == "only this"
    assert content_of(attachments=[{"title": "A title", "title_link": ""}]) == "**A title**"


# Payloads of common senders.


def test_alert_of_grafana() -> None:
    """A title with a link, a text of many lines, a footer; an empty icon URL is no icon."""
    payload = {
        "channel": "#alerts",
        "username": "Grafana",
        "icon_emoji": ":bell:",
        "icon_url": "",
        "text": "[FIRING:1] HighCPU prod",
        "attachments": [
            {
                "title": "[FIRING:1] HighCPU prod",
                "title_link": "https://grafana.example/alerting/list",
                "text": "**Firing**\n\nValue: A=93.2\nLabels:\n - host = db-1\nSource: https://grafana.example/a?b&c\n",
                "fallback": "[FIRING:1] HighCPU prod",
                "fields": None,
                "footer": "Grafana v12.2.0",
                "footer_icon": "https://grafana.example/logo.png",
                "color": "#D63232",
                "ts": 1_763_000_000,
                "mrkdwn_in": ["pretext"],
                "pretext": "",
            }
        ],
    }
    assert parsed(payload) == IncomingPost(
        "[FIRING:1] HighCPU prod\n\n"
        "[[FIRING:1] HighCPU prod](https://grafana.example/alerting/list)\n"
        "**Firing**\n\nValue: A=93.2\nLabels:\n - host = db-1\nSource: https://grafana.example/a?b&c\n\n"
        "Grafana v12.2.0",
        "Grafana",
        None,
    )


def test_alert_of_alertmanager() -> None:
    """All in one attachment, with short fields and a button that has a link."""
    payload = {
        "channel": "ops",
        "username": "Alertmanager",
        "attachments": [
            {
                "title": "[RESOLVED] NodeDown (node-3)",
                "title_link": "https://am.example/#/alerts?receiver=ops",
                "pretext": "",
                "text": "node-3 is up &amp; running",
                "fallback": "[RESOLVED] NodeDown (node-3) | https://am.example",
                "callback_id": "",
                "fields": [
                    {"title": "Cluster", "value": "eu", "short": True},
                    {"title": "Since", "value": 5},
                ],
                "actions": [
                    {
                        "type": "button",
                        "text": "Runbook",
                        "url": "https://wiki.example/node",
                        "style": "primary",
                    },
                    {"type": "button", "text": "Silence", "name": "silence", "value": "1"},
                ],
                "image_url": "",
                "thumb_url": "",
                "footer": "",
                "color": "good",
                "mrkdwn_in": ["fallback", "pretext", "text"],
            }
        ],
    }
    assert parsed(payload).content.split("\n") == [
        "[[RESOLVED] NodeDown (node-3)](https://am.example/#/alerts?receiver=ops)",
        "node-3 is up & running",
        "Cluster: eu",
        "Since: 5",
        "",
        "[Runbook](https://wiki.example/node)",
    ]


def test_push_notification_of_github() -> None:
    """Links in mrkdwn, one commit per line, the branch in code."""
    body = {
        "blocks": [
            {
                "type": "section",
                "text": {
                    "type": "mrkdwn",
                    "text": "<https://git.example/ann|ann> pushed 2 commits to `main`\n"
                    "<https://git.example/c/1|`a1b2c3`> - Fix &lt;title&gt;\n"
                    "<https://git.example/c/2|`d4e5f6`> - Tidy up",
                    "verbatim": True,
                },
            },
            {
                "type": "context",
                "elements": [{"type": "mrkdwn", "text": "<https://git.example/r|org/repo>"}],
            },
        ],
        "unfurl_links": False,
    }
    assert parsed(body).content == (
        "[ann](https://git.example/ann) pushed 2 commits to `main`\n"
        "[`a1b2c3`](https://git.example/c/1) - Fix <title>\n"
        "[`d4e5f6`](https://git.example/c/2) - Tidy up\n\n"
        "[org/repo](https://git.example/r)"
    )


def test_error_of_sentry() -> None:
    """Blocks in an attachment, a text for notifications, and buttons that need Slack."""
    body = {
        "text": "ValueError: bad input",
        "attachments": [
            {
                "color": "#E03E2F",
                "fallback": "[shop] ValueError: bad input",
                "blocks": [
                    {
                        "type": "section",
                        "block_id": '{"issue":1}',
                        "text": {
                            "type": "mrkdwn",
                            "text": ":red_circle: <https://sentry.example/1|*ValueError*>",
                        },
                    },
                    {
                        "type": "rich_text",
                        "elements": [
                            {
                                "type": "rich_text_preformatted",
                                "border": 0,
                                "elements": [{"type": "text", "text": "bad input"}],
                            }
                        ],
                    },
                    {
                        "type": "context",
                        "elements": [{"type": "mrkdwn", "text": "Events: *3*   State: *New*"}],
                    },
                    {
                        "type": "actions",
                        "elements": [
                            {
                                "type": "button",
                                "action_id": "resolve",
                                "text": {"type": "plain_text", "text": "Resolve"},
                            },
                            {
                                "type": "static_select",
                                "placeholder": {"type": "plain_text", "text": "Assign"},
                            },
                        ],
                    },
                ],
            }
        ],
    }
    assert parsed(body).content.split("\n\n") == [
        "ValueError: bad input",
        ":red_circle: [*ValueError*](https://sentry.example/1)",
        "```\nbad input\n```",
        "Events: *3*   State: *New*",
    ]


def test_notification_of_apprise() -> None:
    """Both of its formats: blocks in an attachment, and legacy attachments."""
    image = "https://apprise.example/info.png"
    blocks = {
        "attachments": [
            {
                "blocks": [
                    {
                        "type": "header",
                        "text": {"type": "plain_text", "text": "Backup &lt;db&gt;", "emoji": True},
                    },
                    {"type": "section", "text": {"type": "plain_text", "text": "done"}},
                    {
                        "type": "context",
                        "elements": [
                            {"type": "image", "image_url": image, "alt_text": "info"},
                            {"type": "plain_text", "text": "Apprise"},
                        ],
                    },
                ],
                "color": "#3AA3E3",
            }
        ],
        "icon_url": image,
        "username": "backup",
    }
    assert parsed(blocks) == IncomingPost("**Backup <db>**\n\ndone\n\ninfo · Apprise", "backup", image)
    legacy = {
        "mrkdwn": False,
        "attachments": [
            {
                "title": "Backup",
                "text": "done",
                "color": "#3AA3E3",
                "footer_icon": image,
                "footer": "Apprise",
                "ts": 1.5,
            }
        ],
    }
    assert content_of(**legacy) == "**Backup**\ndone\n\nApprise"


def test_post_in_the_format_of_mattermost() -> None:
    """Markdown stays unchanged; card and priority are not displayed."""
    payload = {
        "channel": "town-square",
        "username": "ci",
        "icon_url": "https://ci.example/i.png",
        "icon_emoji": "robot",
        "text": "#### Tests\n| a | b |\n|---|---|\n| 1 | **2** |\n[report](https://ci.example/r)",
        "props": {"card": "not shown"},
        "priority": {"priority": "important"},
    }
    assert parsed(payload) == IncomingPost(payload["text"], "ci", "https://ci.example/i.png")  # type: ignore[arg-type] # a str


# Limits.


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
