"""Payloads of common senders become readable messages."""

from blazechat.domain.integrations.incoming_payloads import IncomingPost
from tests.webhooks.payloads import content_of, parsed


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


SENTRY_ERROR = {
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
                    "elements": [{"type": "mrkdwn", "text": "Events: **3**   State: **New**"}],
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


def test_error_of_sentry() -> None:
    """Blocks in an attachment, a text for notifications, and buttons that need Slack."""
    assert parsed(SENTRY_ERROR).content.split("\n\n") == [
        "ValueError: bad input",
        ":red_circle: [**ValueError**](https://sentry.example/1)",
        "```\nbad input\n```",
        "Events: **3**   State: **New**",
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
