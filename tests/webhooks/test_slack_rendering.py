"""Slack's texts, blocks and attachments become Markdown."""

from typing import Any

import pytest
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
    RichTextListElement,
    RichTextPreformattedElement,
    RichTextQuoteElement,
    RichTextSectionElement,
    SectionBlock,
    StaticSelectElement,
    TableBlock,
    VideoBlock,
)
from slack_sdk.models.blocks import RichTextElementParts as Parts
from slack_sdk.models.blocks.basic_components import Option

from blazechat.domain.integrations.incoming_payloads import IncomingPost
from tests.webhooks.payloads import content_of, parsed


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
        ("*bold* _it_ ~gone~ `code` :tada:", "**bold** _it_ ~~gone~~ `code` :tada:"),
        ("*~_all_~*, (*x*): *by <@U7|ann>*", "**~~_all_~~**, (**x**): **by @ann**"),
        ("<https://x.example|*Error* 5>", "[**Error** 5](https://x.example)"),
        ("2*3*4, a * b * c, *.py *.txt, ~5 to ~6", "2*3*4, a * b * c, *.py *.txt, ~5 to ~6"),
        ("**Markdown** ~~stays~~ *a ~b* c~", "**Markdown** ~~stays~~ **a ~b** c~"),
        ("*two\nlines* *one*", "*two\nlines* **one**"),
        ("`*a* <https://x.example|y> &lt;`", "`*a* y <`"),
        ("```*a*\n  &lt;b&gt;``` then", "```\n*a*\n  <b>\n```\n then"),
        ("see ```\nx = 1\n```\nend", "see \n```\nx = 1\n```\nend"),
        ("• one\n  • two\n◦ three\n• *four*", "- one\n  - two\n  - three\n- **four**"),
        ("&gt; *quoted*\nnot", "> **quoted**\nnot"),
        ("*a ```*b*``` *c", "*a \n```\n*b*\n```\n *c"),
    ],
)
def test_slack_markup_becomes_markdown(text: str, rendered: str) -> None:
    """Styles, lists and links become those of Markdown, mentions are readable; escaped text stays text."""
    assert content_of(text=text) == rendered.strip()
    assert (
        content_of(blocks=[{"type": "section", "text": {"type": "mrkdwn", "text": text}}])
        == rendered.strip()
    )


def test_plain_text_has_no_markup() -> None:
    """In `plain_text`, and in a text that asks for it, only entities are replaced."""
    assert content_of(text="*a* &lt;b&gt;", mrkdwn=False) == "*a* <b>"
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


BLOCKS = [
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


def test_blocks_are_rendered() -> None:
    """Built with Slack's SDK, one block of each type that displays something."""
    assert content_of(blocks=[block.to_dict() for block in BLOCKS]).split("\n\n") == [
        "**Release 2.4**",
        "**Deployed** by @ann\n**Region**\neu-1\nTook 3 min\na rocket",
        "More\n[Open](https://x.example/open)",
        "---",
        "info · [CI](https://ci.example)",
        "[Load](https://x.example/g.png)",
        "[a graph](https://x.example/h.png)",
        "[Logs](https://x.example/logs) · [Runbook](https://x.example/run)",
        "[A talk](https://v.example/1)\nTen minutes",
        "**verbatim** &lt; <https://x.example>",
    ]


RICH_TEXT = RichTextBlock(
    elements=[
        RichTextSectionElement(
            elements=[
                Parts.Text(text="Hi "),
                Parts.User(user_id="U1"),
                Parts.Text(text=" and ", style={"italic": True}),
                Parts.UserGroup(usergroup_id="S1"),
                Parts.Text(text=" in "),
                Parts.Channel(channel_id="C1"),
                Parts.Text(text=", "),
                Parts.Broadcast(range="here"),
                Parts.Text(text=": "),
                Parts.Text(text="bold ", style={"bold": True, "strike": True}),
                Parts.Text(text="x = <1>", style={"code": True}),
                Parts.Text(text=" "),
                Parts.Link(url="https://x.example", text="a link"),
                Parts.Link(url="javascript:alert(1)", text=" no link"),
                Parts.Text(text=" "),
                Parts.Color(value="#ff0000"),
                Parts.Text(text=" "),
                Parts.Emoji(name="no_such_emoji"),
            ]
        ),
        RichTextListElement(
            style="bullet",
            elements=[
                RichTextSectionElement(elements=[Parts.Text(text="one")]),
                RichTextSectionElement(elements=[Parts.Text(text="two")]),
            ],
        ),
        RichTextListElement(
            style="ordered",
            indent=1,
            offset=2,
            elements=[
                RichTextSectionElement(elements=[Parts.Text(text="three")]),
                RichTextSectionElement(elements=[Parts.Text(text="four")]),
            ],
        ),
        RichTextQuoteElement(elements=[Parts.Text(text="said\nand done")]),
        RichTextPreformattedElement(
            elements=[Parts.Text(text="a <b>\n  "), Parts.Link(url="https://c.example")]
        ),
    ]
)


def test_rich_text_is_rendered() -> None:
    """Styles, mentions, lists, quotes and code, as Slack's SDK writes them."""
    first, *others = content_of(blocks=[RICH_TEXT.to_dict()]).splitlines()
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


def test_code_with_backticks_stays_code() -> None:
    """It is enclosed in more backticks than it has."""
    leaf = {"type": "text", "text": "a`b``", "style": {"code": True}}
    section = {"type": "rich_text_section", "elements": [leaf]}
    assert content_of(blocks=[{"type": "rich_text", "elements": [section]}]) == "``` a`b`` ```"


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
