"""Creates outgoing webhooks through the API."""

from typing import Any

from tests.harness import Person
from tests.webhooks.receiver import Receiver

FAST_RETRIES = {"webhook_retry_seconds": "0.05,0.05,0.05,0.05,0.05,0.05,0.05,0.05,0.05,0.05"}


async def create_webhook(
    person: Person, chat_id: int | None, receiver: Receiver, *events: str, **options: Any
) -> dict[str, Any]:
    """Create a webhook of a chat, or of the server; return it with its secret."""
    wanted = {"url": receiver.url, "events": list(events) or None}
    answer = await person.post(path_of(chat_id), wanted | options)
    assert answer.status_code == 201, answer.text
    webhook: dict[str, Any] = answer.json()
    return webhook


def path_of(chat_id: int | None) -> str:
    return "/api/webhooks" if chat_id is None else f"/api/chats/{chat_id}/webhooks"
