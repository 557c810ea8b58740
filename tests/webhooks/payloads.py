"""Parses payloads of incoming webhooks, as the tests give them."""

import json
from typing import Any

import pytest

from blazechat.domain.integrations.incoming_payloads import IncomingPost, parse_post
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
