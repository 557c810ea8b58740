"""Templates of incoming webhooks: payloads of any program become messages; no template harms the server."""

import asyncio
import json
from typing import Any

import pytest

from blazechat.domain.integrations.incoming_templates import READY_MADE
from blazechat.domain.integrations.template_language import ENVIRONMENT
from tests.harness import Live, Person
from tests.webhooks import sample_payloads as samples

GITHUB_EVENT = "X-GitHub-Event"
IN_GARDEN = "in [alice/garden](https://git.example/alice/garden)"
ALICE = "[alice](https://git.example/alice)"


@pytest.fixture(scope="module")
async def alice(live: Live) -> Person:
    return await live.person("alice")


@pytest.fixture(scope="module")
async def chat(alice: Person) -> int:
    return await alice.group()


async def create_webhook(person: Person, chat: int, template: str | None) -> dict[str, Any]:
    answer = await person.post(
        f"/api/chats/{chat}/incoming-webhooks", {"name": "Builds", "template": template}
    )
    assert answer.status_code == 201, answer.text
    webhook: dict[str, Any] = answer.json()
    return webhook


async def preview(
    person: Person, chat: int, template: str, payload: Any = None, event: str | None = None
) -> Any:
    """The previewed message, or the problem."""
    body = {"template": template, "payload": {} if payload is None else payload, "event": event}
    answer = await person.post(f"/api/chats/{chat}/incoming-webhooks/preview", body)
    found = answer.json()
    return found["content"] if answer.status_code == 200 else found


COMPARED = "https://git.example/alice/garden/compare/000...111"
PUSH = (
    f"{ALICE} pushed [2 commits]({COMPARED}) to `main` {IN_GARDEN}\n"
    "- [`1111111`](https://git.example/c/1) Water row 1 (Alice)\n"
    "- [`2222222`](https://git.example/c/2) Water row 2 (Alice)"
)
POND = "[#4 Add a pond](https://git.example/alice/garden/pull/4)"
SLUGS = "[#5 Slugs [urgent]](https://git.example/alice/garden/issues/5)"
RUN = "[Tests #9](https://git.example/alice/garden/actions/runs/9)"


@pytest.mark.parametrize(
    ("event", "payload", "message"),
    [
        ("push", samples.github_push(), PUSH),
        (
            "push",
            samples.github_push(0, ref="refs/heads/pond", deleted=True),
            f"{ALICE} deleted the branch `pond` {IN_GARDEN}",
        ),
        (
            "push",
            samples.github_push(0, ref="refs/tags/v1", created=True),
            f"{ALICE} created the tag [`v1`]({COMPARED}) {IN_GARDEN}",
        ),
        (
            "pull_request",
            samples.github_pull_request("opened"),
            f"{ALICE} opened the pull request {POND} {IN_GARDEN}",
        ),
        (
            "pull_request",
            samples.github_pull_request("closed", merged=True),
            f"{ALICE} merged the pull request {POND} {IN_GARDEN}",
        ),
        ("pull_request", samples.github_pull_request("synchronize"), ""),
        ("issues", samples.github_issue("opened"), f"{ALICE} opened the issue {SLUGS} {IN_GARDEN}"),
        (
            "issues",
            samples.github_issue("closed", state_reason="not_planned"),
            f"{ALICE} closed the issue {SLUGS} {IN_GARDEN} as not planned",
        ),
        ("workflow_run", samples.github_workflow_run("requested", None), ""),
        (
            "workflow_run",
            samples.github_workflow_run("completed", "failure"),
            f"{RUN} **failed** on `main` {IN_GARDEN}\nWater row 1 (Alice)",
        ),
        ("ping", samples.GITHUB_PING, ""),
        ("star", {"action": "created", **samples.GITHUB}, ""),
    ],
)
async def test_events_of_github_become_messages(
    alice: Person, chat: int, event: str, payload: dict[str, Any], message: str
) -> None:
    """With the ready-made template; what interests nobody in a chat is empty."""
    assert await preview(alice, chat, "github", payload, event) == message


async def test_alerts_of_alertmanager_and_grafana_become_messages(alice: Person, chat: int) -> None:
    """With the ready-made templates: one line per alert, with its labels and links."""
    assert await preview(alice, chat, "alertmanager", samples.ALERTMANAGER) == (
        "**[[FIRING:1] HighCPU](http://alerts.example:9093)**\n"
        "- CPU of db-1 is at 97 % (instance=db-1, severity=critical)"
        " · [source](http://prometheus.example/graph?g0.expr=cpu) · [runbook](https://wiki.example/cpu)\n"
        "- Resolved: HighCPU (instance=db-2, severity=critical)\n"
        "- … and 3 more"
    )
    resolved = samples.ALERTMANAGER | {"status": "resolved", "alerts": samples.ALERTMANAGER["alerts"][1:]}
    assert (await preview(alice, chat, "alertmanager", resolved)).startswith("**[[RESOLVED] HighCPU]")
    assert await preview(alice, chat, "grafana", samples.GRAFANA) == (
        "**[[FIRING:1] DiskFull infra (db-1)](https://grafana.example/)**\n"
        "- Disk of db-1 is nearly full (instance=db-1): A=91.5, C=1"
        " · [source](https://grafana.example/alerting/grafana/1/view)"
        " · [panel](https://grafana.example/d/1?viewPanel=2)"
        " · [silence](https://grafana.example/alerting/silence/new)"
    )
    no_data = samples.GRAFANA | {"alerts": [samples.GRAFANA["alerts"][0] | {"values": None}]}
    assert "A=91.5" not in await preview(alice, chat, "grafana", no_data)


@pytest.mark.parametrize("name", READY_MADE)
async def test_ready_made_templates_post_nothing_for_strange_payloads(
    alice: Person, chat: int, name: str
) -> None:
    """As a test button of another program sends them."""
    payloads: list[Any] = [{}, [], {"alerts": [], "commits": None}, {"test": True}]
    for payload in payloads:
        assert await preview(alice, chat, name, payload, "check_run") == ""


async def test_native_payloads_are_posted_through_the_url(live: Live, alice: Person) -> None:
    """GitHub posts JSON or a form, names the event in a header, and sends a ping first, which is empty."""
    chat = await alice.group()
    github = (await create_webhook(alice, chat, "github"))["url"]
    client = live.client()
    ping = await client.post(github, json=samples.GITHUB_PING, headers={GITHUB_EVENT: "ping"})
    assert (ping.status_code, ping.text) == (200, "ok")
    form = {"payload": json.dumps(samples.github_push())}
    assert (await client.post(github, data=form, headers={GITHUB_EVENT: "push"})).text == "ok"
    grafana = (await create_webhook(alice, chat, "grafana"))["url"]
    assert (await client.post(grafana, json=samples.GRAFANA)).text == "ok"
    alert, push = await alice.history(chat)
    assert push["content"] == PUSH
    assert push["user"]["display_name"] == "Builds"
    assert alert["content"].startswith("**[[FIRING:1] DiskFull")


async def test_template_of_ones_own(live: Live, alice: Person, chat: int) -> None:
    """Keys are variables, `payload` is everything; missing and null values are empty."""
    template = (
        "**{{ title }}**: {{ commits | length }} by {{ author.name.first }}{{ note }} {{ values.items }}\n"
        "{% for commit in commits %}\n"
        "{{ loop.index }}. {{ commit.id[:7] | link(commit.url) }} {{ commit.message | first_line }}\n"
        "{% endfor %}\n"
        "{{ payload['x-env'] }} {{ passed }}"
    )
    payload = {
        "title": "Build",
        "note": None,
        "passed": True,
        "x-env": "<b>\0&",
        "values": {"items": 3},
        "commits": [
            {"id": "abcdef123456", "url": "https://git.example/c/1", "message": "Fix\n\nIt broke."}
        ],
    }
    webhook = await create_webhook(alice, chat, template)
    assert (await live.client().post(webhook["url"], json=payload)).text == "ok"
    (message,) = await alice.history(chat, limit=1)
    assert message["content"] == (
        "**Build**: 1 by  3\n1. [abcdef1](https://git.example/c/1) Fix\n<b>& true"
    )
    path = f"/api/chats/{chat}/incoming-webhooks/{webhook['id']}"
    changed = await alice.put(path, {"template": "{{ payload | length }} builds"})
    assert (changed.status_code, changed.json()["template"]) == (200, "{{ payload | length }} builds")
    assert (await live.client().post(webhook["url"], json=[payload, payload])).text == "ok"
    assert (await alice.history(chat, limit=1))[0]["content"] == "2 builds"
    assert (await alice.put(path, {"template": None})).json()["template"] is None
    assert (await live.client().post(webhook["url"], json={"text": "as Slack"})).text == "ok"
    assert (await alice.history(chat, limit=1))[0]["content"] == "as Slack"


async def test_output_is_cut_to_the_length_of_a_message(alice: Person, chat: int) -> None:
    """Like every post, because an alert must arrive."""
    content = await preview(
        alice, chat, "{% for x in items %}{{ x }} {% endfor %}", {"items": ["ä"] * 90_000}
    )
    assert len(content) == 10_000
    assert content.endswith("…")


async def test_failing_template_names_the_line_to_sender_and_owner(live: Live, alice: Person) -> None:
    """The sender gets a problem; the list has the last failure until the template is changed."""
    chat = await alice.group()
    webhook = await create_webhook(alice, chat, "Build\n{{ number + 1 }}")
    path = f"/api/chats/{chat}/incoming-webhooks"
    answer = await live.client().post(webhook["url"], json={"number": "seven"})
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, problem["code"]) == (422, "template_failed")
    assert "Line 2: " in problem["detail"]
    (listed,) = (await alice.get(path)).json()
    assert listed["last_error"].startswith("Line 2: ")
    assert listed["last_error_at"] is not None
    assert await alice.history(chat) == []
    assert (await alice.put(f"{path}/{webhook['id']}", {"template": "{{ number }}"})).status_code == 200
    (listed,) = (await alice.get(path)).json()
    assert (listed["last_error"], listed["last_error_at"]) == (None, None)
    for body in (b"{", b"7", b'"text"', b"null"):
        refused = await live.client().post(webhook["url"], content=body)
        assert (refused.status_code, refused.text) == (400, "invalid_payload")


@pytest.mark.parametrize("key", ["a\0b", "a\ud800b"])
async def test_failure_with_characters_that_cannot_be_stored(live: Live, alice: Person, key: str) -> None:
    """They are left out of the recorded reason, or replaced."""
    chat = await alice.group()
    webhook = await create_webhook(alice, chat, f"{{{{ title | title(**{{{json.dumps(key)}: 1}}) }}}}")
    answer = await live.client().post(webhook["url"], json={"title": "Build"})
    assert (answer.status_code, answer.json()["code"]) == (422, "template_failed")
    (listed,) = (await alice.get(f"/api/chats/{chat}/incoming-webhooks")).json()
    assert "unexpected keyword argument 'a" in listed["last_error"]


async def test_payload_that_is_no_unicode_is_not_previewed(alice: Person, chat: int) -> None:
    answer = await alice.http.post(
        f"/api/chats/{chat}/incoming-webhooks/preview",
        content=json.dumps({"template": "{{ title }}", "payload": {"title": "\ud800"}}),
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code == 422, answer.text
    assert [error["field"] for error in answer.json()["errors"]] == ["payload"]


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("Build\n{{ title", "Line 2: Unexpected end of template"),
        ("{{ title | shout }}", "Line 1: No filter named 'shout'"),
        ("\n{% include 'github' %}", "Line 2: A template cannot use other templates."),
        ("gihtub", "nor the name of one: alertmanager, github, grafana."),
        (" ", "cannot be blank"),
        ("{{" + "(" * 4000, "nested too deeply"),
        ("{{ a }}" * 1500, "10,000 characters"),
    ],
)
async def test_invalid_template_is_refused_when_it_is_stored(
    alice: Person, chat: int, template: str, reason: str
) -> None:
    """With the line, in the field `template`, and the same by its preview."""
    new = {"name": "Builds", "template": template}
    answer = await alice.post(f"/api/chats/{chat}/incoming-webhooks", new)
    assert answer.status_code == 422, answer.text
    for problem in (answer.json(), await preview(alice, chat, template)):
        ((field, detail),) = [(each["field"], each["detail"]) for each in problem["errors"]]
        assert field == "template"
        assert reason in detail


@pytest.mark.parametrize(
    "template",
    [
        "{{ 'a' * 10**9 }}",
        "{{ 'a' | center(10**9) }}",
        "{% set x = namespace() %}{{ x }}",
        "{{ 10 ** (10 ** 10) }}",
        "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
        "{{ p | map('string') | join(p | join(p | join('x'))) }}",
        "{{ title.upper() }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ title | attr('__class__') }}",
        "{{ '{0.__class__}'.format(title) }}",
        "{{ ['a'] | map(attribute='__class__') | first | tojson | center(10**10) }}",
        "{{ self.__init__.__globals__ }}{{ p.append(1) }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ lipsum() }}{{ range(10) }}",
    ],
)
async def test_hostile_template_costs_only_its_own_post(alice: Person, chat: int, template: str) -> None:
    """It gets an error within the limits of time and memory, and other templates are rendered meanwhile."""
    payload = {"title": "Build", "p": [0] * 2000}
    problem = await preview(alice, chat, template, payload)
    assert problem["code"] == "invalid_input", problem
    assert await preview(alice, chat, "{{ title }}", payload) == "Build"


@pytest.mark.parametrize("expression", ["'a' * 10**7", "'a' | center(10**7)", "['a' * 10**7]", "10**5000"])
def test_cached_template_keeps_no_computed_constants(expression: str) -> None:
    """They would take the memory of the worker from the templates of other owners."""
    source = f"{{% set x = {expression} %}}{{% if y %}}{{{{ {expression} }}}}{{% endif %}}"
    compiled = ENVIRONMENT.compile(ENVIRONMENT.parse(source), raw=True)
    assert len(compiled) < 2_000


async def test_template_sees_nothing_of_python(alice: Person, chat: int) -> None:
    """Attributes are keys of the payload only, and undefined ones are empty."""
    seen = await preview(
        alice,
        chat,
        "{{ title.__class__ }}{{ payload.__class__.__mro__ }}{{ p.append }}{{ self }}{{ range }}"
        "{% for x in p %}{{ loop.__init__ }}{{ loop }}{% endfor %}{% macro m() %}{% endmacro %}{{ m }}|",
        {"title": "Build", "p": [1]},
    )
    assert seen == "|"


async def test_slow_templates_of_one_owner_do_not_delay_those_of_others(live: Live) -> None:
    """One owner's templates run one at a time, and only some may wait; another owner's run beside them."""
    mallory, bob = await live.people("mallory", "bob")
    chat, other = await mallory.group(), await bob.group()
    slow = "{% for a in p %}{% for b in p %}{% for c in p %}{% endfor %}{% endfor %}{% endfor %}"
    payload = {"p": [0] * 10_000}
    floods = [asyncio.create_task(preview(mallory, chat, slow, payload)) for _ in range(25)]
    refused, _ = await asyncio.wait(floods, return_when=asyncio.FIRST_COMPLETED)
    assert {task.result()["code"] for task in refused} == {"busy"}
    assert await preview(bob, other, "{{ title }}", {"title": "Build"}) == "Build"
    assert sum(not task.done() for task in floods) > 10
    for task in floods:
        task.cancel()
    await asyncio.wait(floods)


async def test_only_owner_and_admins_preview_and_change(live: Live) -> None:
    """A member gets 403, an outsider the 404 of an unknown chat, a token without the scope 403."""
    alice, bob, carol = await live.people("alice", "bob", "carol")
    chat = await alice.group(bob)
    webhook = await create_webhook(alice, chat, "{{ title }}")
    path = f"/api/chats/{chat}/incoming-webhooks"
    body = {"template": "{{ a }}", "payload": {}}
    for person, status in ((bob, 403), (carol, 404)):
        assert (await person.post(f"{path}/preview", body)).status_code == status
        assert (await person.put(f"{path}/{webhook['id']}", {"template": None})).status_code == status
        assert (await person.post(path, {"name": "x", "template": "{{"})).status_code == status
    assert (await alice.put(f"{path}/{webhook['id'] + 1000}", {"template": None})).status_code == 404
    assert (await alice.put(f"{path}/{webhook['id']}", {})).status_code == 422
