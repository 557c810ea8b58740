"""Direct calls accept no body that the FastAPI routes reject, and answer as the document says."""

import json

import hypothesis
import jsonschema_rs
import msgspec
import pytest
from hypothesis import strategies as st
from pydantic import BaseModel

from blazechat.api import conversations
from blazechat.api import messages as api_messages
from blazechat.api.direct import messages as direct_messages
from blazechat.api.direct.routes import ROUTES
from tests.api.direct_harness import CONVERSATION, HELLO, JSON, SEND, Direct

BODIES = [
    b"",
    b" ",
    b"{}",
    b"[]",
    b"null",
    b'"x"',
    b"{",
    b"{'content':'x'}",
    b'{"content":"x"} x',
    b'{"content":"x",}',
    b'{"content":"x" /* */}',
    b'\xef\xbb\xbf{"content":"with BOM"}',
    '{"content":"UTF-16"}'.encode("utf-16"),
    b'{"content":"\xff"}',
    b'{"content":"\xed\xa0\x80"}',
    b'{"content":"\xc0\x80"}',
    b'{"content":"x","extra":"\xff"}',
    b'{"content":"x","extra":{"a":[1,2,{}]}}',
    b'{"content":"a\nb"}',
    b'{"content":"\x00"}',
    b'{"content":"\x7f"}',
    rb'{"content":"\u0000"}',
    rb'{"content":"\ud800"}',
    rb'{"content":"\ud83d\ude00"}',
    rb'{"content":"\x41"}',
    rb'{"c\u006fntent":"escaped name"}',
    b'{"content":"first","content":"second"}',
    b'{"content":5,"content":"x"}',
    b'{"content":"x","content":5}',
    b'{"Content":"x"}',
    b'{"content":null}',
    b'{"content":true}',
    b'{"content":NaN}',
    b'{"content":" "}',
    b'{"content":"\xe2\x80\x8b"}',
    b'{"content":"%s"}' % (b"x" * 10_000),
    b'{"content":"%s"}' % (b"x" * 10_001),
    *(b'{"content":"x","reply_to":%s}' % value for value in (
        *(b"1", b"1.0", b"1.5", b"1e0", b'"1"', b"true", b"null", b"0", b"-1", b"-0", b"NaN", b"01", b"+1"),
        *(b"999999", b"9007199254740991", b"9007199254740992", b"9" * 30, b"1e400", b"[1]", b'"\xd9\xa1"'),
        b"1.0000000000000000000001",
    )),
    *(b'{"content":"x","client_id":%s}' % value for value in (
        *(b"null", b'""', b"5", b'"\\u0000"', b'"%s"' % (b"c" * 64), b'"%s"' % (b"c" * 65)),
        '"{}"'.format("é" * 64).encode(),
        b'"\\ud83d"',
    )),
    *(b'{"attachments":%s}' % value for value in (
        *(b"null", b"[]", b"[0]", b"[1]", b"[1,1]", b'["1"]', b"[true]", b"[1.0]", b"{}", b'"1"', b"[[1]]"),
        b"[%s]" % b",".join(b"%d" % number for number in range(1, 12)),
        b"[%s]" % b",".join(b"%d" % number for number in range(1, 1002)),
    )),
    b"[" * 100_000,
    b'{"content":' * 20_000,
    b'{"content":"x","attachments":' + b"[" * 20_000,
]  # fmt: skip


@pytest.mark.parametrize("path", [SEND, CONVERSATION])
async def test_bodies_of_messages_are_accepted_and_rejected_alike(direct: Direct, path: str) -> None:
    """Invalid JSON, other encodings, wrong types, limits: at least one body of each list is direct."""
    await direct.alice.say(direct.chat_id, "the first")
    were_direct = {body: await direct.compare("POST", path, JSON, body=body) for body in BODIES}
    assert were_direct[b'{"content":" "}'], "the ledger's errors are those of a direct call"
    assert 10 < sum(were_direct.values()) < len(BODIES) - 40


@pytest.mark.parametrize("body", [b"{}", b"null", b'{"up_to":null}', b'{"up_to":0}', b'{"up_to":-1}',
    b'{"up_to":"1"}', b'{"up_to":1.0}', b'{"up_to":true}', b'{"up_to":9007199254740992}', b"[]", b"x",
    b'{"up_to":1,"up_to":0}', b'{"other":1}', b" ", b'{"up_to":9007199254740991}'])  # fmt: skip
async def test_bodies_of_read_cursors_are_accepted_and_rejected_alike(direct: Direct, body: bytes) -> None:
    await direct.alice.say(direct.chat_id, "the first")
    await direct.compare("PUT", f"{SEND}/read", JSON, body=body)
    await direct.compare("PUT", f"{SEND}/read", body=body)


NAMES = st.sampled_from(["content", "client_id", "reply_to", "attachments", "up_to", "Content", "x"])
NUMBERS = st.one_of(
    st.integers(-2, 3).map(str),
    st.sampled_from(["1.0", "1e0", "-0", "01", "9007199254740991", "9007199254740992", "1e400", "NaN"]),
)
TEXTS = st.one_of(
    st.text(max_size=6).map(json.dumps),
    st.text(max_size=6).map(lambda text: json.dumps(text, ensure_ascii=False)),
    st.sampled_from(
        ['"\\ud800"', '"\\udc00\\ud800"', '"\\/\\u0000"', '"\x7f"', '"a\tb"', f'"{"c" * 65}"', '"1"']
    ),
)
VALUES = st.recursive(
    st.one_of(NUMBERS, TEXTS, st.sampled_from(["null", "true", "{}", "[]"])),
    lambda values: st.lists(values, max_size=3).map(lambda some: f"[{','.join(some)}]"),
)
OBJECTS = st.lists(st.tuples(NAMES.map(json.dumps), VALUES), max_size=4).map(
    lambda fields: "{" + ", ".join(f"{name}:{value}" for name, value in fields) + "}"
)


@st.composite
def json_like(draw: st.DrawFn) -> bytes:
    """An object, perhaps with one byte replaced or removed, so that it may be no JSON and no UTF-8."""
    body = draw(OBJECTS).encode(errors="surrogatepass")
    if draw(st.booleans()):
        place = draw(st.integers(0, len(body)))
        body = body[:place] + draw(st.binary(max_size=2)) + body[place + draw(st.integers(0, 1)) :]
    return body


@pytest.mark.parametrize(("direct_type", "model"), [
    (direct_messages.NewMessage, api_messages.NewMessage),
    (direct_messages.NewConversationMessage, conversations.NewConversationMessage),
    (direct_messages.Reading, api_messages.Reading),
])  # fmt: skip
@hypothesis.settings(max_examples=500, deadline=None)
@hypothesis.given(body=json_like())
def test_direct_calls_accept_no_body_that_fastapi_rejects(
    direct_type: type[msgspec.Struct], model: type[BaseModel], body: bytes
) -> None:
    """And they read the same values in it."""
    try:
        read = msgspec.json.decode(body, type=direct_type)
    except (msgspec.MsgspecError, ValueError):
        return  # declined: FastAPI gets it
    validated = model.model_validate(json.loads(body)).model_dump()
    assert msgspec.structs.asdict(read) == validated
    assert {name: type(value) for name, value in validated.items()} == {
        name: type(value) for name, value in msgspec.structs.asdict(read).items()
    }


def test_direct_calls_have_the_fields_of_the_documented_bodies() -> None:
    for direct_type, model in (
        (direct_messages.NewMessage, api_messages.NewMessage),
        (direct_messages.NewConversationMessage, conversations.NewConversationMessage),
        (direct_messages.Reading, api_messages.Reading),
    ):
        assert direct_type.__struct_fields__ == tuple(model.model_fields)
        assert set(model.model_json_schema()["properties"]) == set(direct_type.__struct_fields__)


async def test_direct_calls_are_routes_of_the_document(direct: Direct) -> None:
    """Each has a documented operation, and what it answers fits the documented schema."""
    document = direct.live.app.openapi()
    names = {b"chats": "chat_id", b"messages/conversations": "conversation_id"}
    for method, resource, rest in ROUTES:
        path = f"/api/{resource.decode()}/{{{names[resource]}}}/{rest.decode()}"
        operation = document["paths"][path][method.decode().lower()]
        body = HELLO if method == b"POST" else b""
        direct.requests.clear()
        answer = await direct.ask(
            direct.head(method.decode(), path.replace(names[resource], ""), JSON), body
        )
        assert direct.requests == [], path
        described = operation["responses"][answer.status.split()[1]]["content"]["application/json"]
        schema = described["schema"] | {"components": document["components"]}
        jsonschema_rs.validator_for(schema).validate(json.loads(answer.body))
