"""The whole HTTP API (docs/api.md), a class a noun, as `client.chats`, `client.messages` and so on.

They raise the server's errors (`blazechat.client.errors`), Unreachable, and LoggedOut or SessionEnded.
What may be repeated without harm is tried again for a while when the server cannot be reached.
"""

import uuid
from collections.abc import AsyncIterator, Sequence
from urllib.parse import quote

from blazechat.client.frames import ChangesPage
from blazechat.client.http import HttpClient
from blazechat.client.schemas import (
    Account,
    Chat,
    Invitation,
    Member,
    Message,
    MyChat,
    Overview,
    Page,
    Presence,
    ReadCursor,
    ReadStatus,
    Session,
    User,
)
from blazechat.vocabulary import History, Role, Status

MAX_PAGE_ROWS = 100


class Resource:
    def __init__(self, http: HttpClient) -> None:
        self._http = http


class AccountResource(Resource):
    """One's own account."""

    async def register(
        self, username: str, email: str, password: str, *, invitation: str | None = None
    ) -> Account:
        """A new account; the first of a server becomes its administrator. It is not logged in by this."""
        body = {"username": username, "email": email, "password": password, "invitation": invitation}
        return await self._http.request_as("POST", "/api/auth/register", Account, body=body, token=None)

    async def get(self) -> Account:
        """Who one is."""
        return await self._http.request("GET", "/api/auth/me", Account)

    async def update(
        self,
        *,
        username: str | None = None,
        email: str | None = None,
        display_name: str | None = None,
        password: str | None = None,
        current_password: str | None = None,
    ) -> Account:
        """What is not None. A new password needs the present one, and ends all other sessions."""
        body = {
            "username": username,
            "email": email,
            "display_name": display_name,
            "password": password,
            "current_password": current_password,
        }
        # A password that was changed is not the present one any more: to try again would be refused.
        repeat = password is None
        return await self._http.request("PUT", self._path(), Account, body=body, is_idempotent=repeat)

    async def delete(self) -> None:
        """Name, e-mail and sessions are gone at once; what was said stays, by a "deleted user"."""
        await self._http.request("DELETE", self._path(), type(None))

    async def set_status(self, status: Status) -> Presence:
        """How one is shown to others, while one is connected."""
        return await self._http.request("PUT", f"{self._path()}/status", Presence, body={"status": status})

    def _path(self) -> str:
        return f"/api/users/{self._http.login.user_id if self._http.login else 0}"


class SessionsResource(Resource):
    """One's log-ins on devices."""

    async def list_all(self) -> list[Session]:
        """Those that are alive, the last used first."""
        return await self._http.request("GET", "/api/auth/sessions", list[Session])

    async def revoke(self, session_id: int) -> None:
        """Log out another device."""
        await self._http.request("DELETE", f"/api/auth/sessions/{session_id}", type(None))

    async def revoke_all(self) -> None:
        """Log out everywhere, here too."""
        await self._http.request("POST", "/api/auth/logout-all", type(None))

    async def revoke_current(self) -> None:
        """Log out here."""
        await self._http.request("POST", "/api/auth/logout", type(None))


class UsersResource(Resource):
    """Other people."""

    async def page(self, *, prefix: str = "", after: int = 0, limit: int = 50) -> list[User]:
        """In the order of ids, from behind `after`; those whose user name begins with `prefix`."""
        query = {"q": prefix or None, "after": after or None, "limit": limit}
        return await self._http.request("GET", "/api/users", list[User], query=query)

    async def find(self, username: str) -> User | None:
        """The user of that name, whichever case it is written in; None if there is nobody."""
        wanted = username.removeprefix("@").casefold()
        after = 0
        while found := await self.page(prefix=wanted, after=after, limit=MAX_PAGE_ROWS):
            for user in found:
                if user.username.casefold() == wanted:
                    return user
            if len(found) < MAX_PAGE_ROWS:
                break
            after = found[-1].id
        return None

    async def get(self, user_id: int) -> User:
        """Somebody by id."""
        return await self._http.request("GET", f"/api/users/{user_id}", User)

    async def presence(self, user_id: int) -> Presence:
        """Whether somebody is here."""
        return await self._http.request("GET", f"/api/users/{user_id}/status", Presence)


class ChatsResource(Resource):
    """Chats and who is in them."""

    async def page(self, *, limit: int = 50, skip: int = 0) -> Page[MyChat]:
        """One's chats, those with the latest message first. `older` of the page is the next `skip`."""
        return await self._http.page("/api/chats", MyChat, {"limit": limit, "skip": skip})

    async def overview(self, *, limit: int = 1000, skip: int = 0) -> Overview:
        """Who one is and one's chats at a glance, those with the latest message first."""
        return await self._http.request("GET", "/api/sync", Overview, query={"limit": limit, "skip": skip})

    async def get(self, chat_id: int) -> MyChat:
        """One chat, with its first hundred members and its last message."""
        return await self._http.request("GET", f"/api/chats/{chat_id}", MyChat)

    async def create_direct(self, user_id: int) -> MyChat:
        """The direct chat with somebody. There is one a pair: asking again gives the same."""
        body = {"user_ids": [user_id], "is_group_chat": False}
        return await self._http.request("POST", "/api/chats", MyChat, body=body, is_idempotent=True)

    async def create_group(
        self, name: str | None = None, user_ids: Sequence[int] = (), history: History = History.ALL
    ) -> MyChat:
        """A new group of oneself, its owner, and others."""
        body = {"name": name, "is_group_chat": True, "user_ids": list(user_ids), "history": history}
        return await self._http.request("POST", "/api/chats", MyChat, body=body)

    async def update(
        self, chat_id: int, *, name: str | None = None, history: History | None = None
    ) -> MyChat:
        """Rename it, or say who may read what was said before they joined."""
        body = {"name": name, "history": history}
        return await self._http.request("PUT", f"/api/chats/{chat_id}", MyChat, body=body)

    async def delete(self, chat_id: int) -> None:
        """For everybody, with all messages."""
        await self._http.request("DELETE", f"/api/chats/{chat_id}", type(None))

    async def members(self, chat_id: int) -> AsyncIterator[Member]:
        """All members in the order of ids, asked for page by page."""
        after, more = 0, True
        while more:
            query = {"after": after, "limit": MAX_PAGE_ROWS}
            found = await self._http.request(
                "GET", f"/api/chats/{chat_id}/members", list[Member], query=query
            )
            for member in found:
                yield member
            more = len(found) == MAX_PAGE_ROWS
            after = found[-1].id if found else after

    async def add_members(self, chat_id: int, user_ids: Sequence[int]) -> MyChat:
        """Add these people, all of them or none."""
        return await self._http.request(
            "POST", f"/api/chats/{chat_id}/members", MyChat, body={"user_ids": list(user_ids)}
        )

    async def set_role(self, chat_id: int, user_id: int, role: Role) -> MyChat:
        """Making somebody else the owner makes the present one an admin."""
        return await self._http.request(
            "PUT", f"/api/chats/{chat_id}/members/{user_id}", MyChat, body={"role": role}
        )

    async def remove_member(self, chat_id: int, user_id: int) -> Chat:
        """Remove somebody. Of oneself, it is leaving."""
        told = await self._http.delete("DELETE", f"/api/chats/{chat_id}/members/{user_id}", Chat)
        return told if told is not None else await self.get(chat_id)

    async def leave(self, chat_id: int) -> None:
        """Leave it. An owner is followed by the longest-serving admin, else member."""
        my_id = self._http.login.user_id if self._http.login else 0
        await self._http.delete("DELETE", f"/api/chats/{chat_id}/members/{my_id}", Chat)

    async def changes(self, chat_id: int, after: int) -> ChangesPage:
        """What changed in a chat since a version; for whoever has no live connection, which tells it."""
        path = f"/api/chats/{chat_id}/changes"
        return await self._http.request("GET", path, ChangesPage, query={"after": after})

    async def pins(self, chat_id: int) -> list[Message]:
        """Its pinned messages, the last pinned first."""
        return await self._http.request("GET", f"/api/chats/{chat_id}/pins", list[Message])


class MessagesResource(Resource):
    """Messages and who has read them."""

    async def page(
        self,
        chat_id: int,
        *,
        before: int | None = None,
        after: int | None = None,
        around: int | None = None,
        limit: int = 50,
    ) -> Page[Message]:
        """Messages, newest first: the newest of all, or those before, after or around an id.

        `older` of the page is the `before` of the next one, `newer` the `after` on the other side.
        """
        query = {"before": before, "after": after, "around": around, "limit": limit}
        return await self._http.page(f"/api/chats/{chat_id}/messages", Message, query)

    async def get(self, chat_id: int, message_id: int) -> Message:
        """One message as it is now."""
        return await self._http.request("GET", self._path(chat_id, message_id), Message)

    async def send(
        self,
        chat_id: int,
        content: str,
        *,
        reply_to: int | None = None,
        attachments: Sequence[int] = (),
        client_id: str | None = None,
    ) -> Message:
        """Send a message; it is stored for good when this returns.

        It is tried again while the server cannot be reached, and stored once: it has a `client_id`, made
        here unless one is given. `client.send` does the same over the live connection.
        """
        body = {
            "content": content,
            "client_id": client_id or uuid.uuid4().hex,
            "reply_to": reply_to,
            "attachments": list(attachments),
        }
        path = f"/api/chats/{chat_id}/messages"
        return await self._http.request("POST", path, Message, body=body, is_idempotent=True)

    async def edit(self, chat_id: int, message_id: int, content: str) -> Message:
        """Replace what one's own message says."""
        path = self._path(chat_id, message_id)
        return await self._http.request("PUT", path, Message, body={"content": content})

    async def delete(self, chat_id: int, message_id: int) -> None:
        """Delete a message; a marker stays in its place."""
        await self._http.request("DELETE", self._path(chat_id, message_id), type(None))

    async def react(self, chat_id: int, message_id: int, emoji: str) -> Message:
        """React to a message; doing so twice is doing so once."""
        return await self._http.request("PUT", self._reaction(chat_id, message_id, emoji), Message)

    async def unreact(self, chat_id: int, message_id: int, emoji: str) -> Message:
        """Take one's reaction back."""
        told = await self._http.delete("DELETE", self._reaction(chat_id, message_id, emoji), Message)
        return told if told is not None else await self.get(chat_id, message_id)

    async def pin(self, chat_id: int, message_id: int) -> Message:
        """Pin a message to its chat."""
        return await self._http.request("PUT", f"{self._path(chat_id, message_id)}/pin", Message)

    async def unpin(self, chat_id: int, message_id: int) -> Message:
        """Unpin it; the message itself stays."""
        told = await self._http.delete("DELETE", f"{self._path(chat_id, message_id)}/pin", Message)
        return told if told is not None else await self.get(chat_id, message_id)

    async def mark_read(self, chat_id: int, up_to: int | None = None) -> ReadCursor:
        """One has read up to a message, or to the newest. It never goes back."""
        path = f"/api/chats/{chat_id}/messages/read"
        return await self._http.request("PUT", path, ReadCursor, body={"up_to": up_to})

    async def read_status(self, chat_id: int, message_id: int) -> ReadStatus:
        """Who has read a message, of those who were there when it was sent, its author left out."""
        return await self._http.request("GET", f"{self._path(chat_id, message_id)}/read-status", ReadStatus)

    def _path(self, chat_id: int, message_id: int) -> str:
        return f"/api/chats/{chat_id}/messages/{message_id}"

    def _reaction(self, chat_id: int, message_id: int, emoji: str) -> str:
        return f"{self._path(chat_id, message_id)}/reactions/{quote(emoji, safe='')}"


class InvitationsResource(Resource):
    """Invitations, for servers where registering needs one. Administrators only."""

    async def create(self, *, days: int = 7) -> Invitation:
        """One that lets one person register within that time; its `code` is told this once."""
        return await self._http.request("POST", "/api/invitations", Invitation, body={"days": days})

    async def page(self, *, before: int | None = None, limit: int = 50) -> Page[Invitation]:
        """The newest first, without their codes."""
        return await self._http.page("/api/invitations", Invitation, {"before": before, "limit": limit})

    async def revoke(self, invitation_id: int) -> None:
        """Take back one that nobody has used yet."""
        await self._http.request("DELETE", f"/api/invitations/{invitation_id}", type(None))
