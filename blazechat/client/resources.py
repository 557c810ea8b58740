"""The HTTP API (docs/api.md), one class per resource: `client.chats`, `client.messages` and so on.

All methods raise the server's errors (`blazechat.client.errors`), Unreachable, NotBlazeChat, and LoggedOut
or SessionEnded. While the server is unreachable, they retry requests that can be repeated safely.
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
    ServerInfo,
    Session,
    User,
)
from blazechat.vocabulary import History, Role, Status

MAX_PAGE_ROWS = 100
MAX_USERNAME_CHARACTERS = 50


class Resource:
    """Base of all resources."""

    def __init__(self, http: HttpClient) -> None:
        self._http = http


class AccountResource(Resource):
    """This client's own account."""

    async def register(
        self, username: str, email: str, password: str, *, invitation: str | None = None
    ) -> Account:
        """Create an account, without logging in. The first account of a server is an administrator."""
        body = {"username": username, "email": email, "password": password, "invitation": invitation}
        return await self._http.request_anonymously("POST", "/api/auth/register", Account, body=body)

    async def get(self) -> Account:
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
        """Change the fields that are not None.

        A new password requires the current one, and ends all other sessions.
        """
        body = {
            "username": username,
            "email": email,
            "display_name": display_name,
            "password": password,
            "current_password": current_password,
        }
        # After a change of password, `current_password` is wrong, so a repetition would be rejected.
        is_idempotent = password is None
        return await self._http.request(
            "PUT", self._path(), Account, body=body, is_idempotent=is_idempotent
        )

    async def delete(self) -> None:
        """Delete the account: its name, e-mail address and sessions. Messages stay, by a "deleted user"."""
        await self._http.delete(self._path())

    async def set_status(self, status: Status) -> Presence:
        """Set the status that other users see while this account is connected."""
        return await self._http.request("PUT", f"{self._path()}/status", Presence, body={"status": status})

    def _path(self) -> str:
        return f"/api/users/{self._http.user_id}"


class SessionsResource(Resource):
    """The account's sessions, one per device."""

    async def list_all(self) -> list[Session]:
        """Return the active sessions, the last used first."""
        return await self._http.request("GET", "/api/auth/sessions", list[Session])

    async def revoke(self, session_id: int) -> None:
        """Log out another device."""
        await self._http.delete(f"/api/auth/sessions/{session_id}")

    async def revoke_all(self) -> None:
        """Log out all devices, this one included."""
        await self._http.request("POST", "/api/auth/logout-all", type(None))

    async def revoke_current(self) -> None:
        """Log out this device on the server. `client.log_out()` also deletes the login here."""
        await self._http.request("POST", "/api/auth/logout", type(None))


class UsersResource(Resource):
    """The users of the server that this account can list, which is a setting of the server."""

    async def page(self, *, prefix: str = "", after: int = 0, limit: int = 50) -> list[User]:
        """Return the users with ids greater than `after`, in the order of ids.

        With `prefix`, only those whose user name begins with it, or words of whose display name do.
        """
        query = {"q": prefix or None, "after": after or None, "limit": limit}
        return await self._http.request("GET", "/api/users", list[User], query=query)

    async def find(self, username: str) -> User | None:
        """Return the user with this name, in any case and with or without `@`; None if there is none.

        It finds users that this account cannot list, too.
        """
        wanted = username.removeprefix("@")
        if not 1 <= len(wanted) <= MAX_USERNAME_CHARACTERS:
            return None
        found = await self._http.request("GET", "/api/users", list[User], query={"username": wanted})
        return found[0] if found else None

    async def get(self, user_id: int) -> User:
        return await self._http.request("GET", f"/api/users/{user_id}", User)

    async def presence(self, user_id: int) -> Presence:
        """Return a user's online status."""
        return await self._http.request("GET", f"/api/users/{user_id}/status", Presence)


class ChatsResource(Resource):
    """The account's chats and their members."""

    async def page(self, *, limit: int = 50, skip: int = 0) -> Page[MyChat]:
        """Return chats, the ones with the latest messages first. `older` is the `skip` of the next page."""
        return await self._http.page("/api/chats", MyChat, {"limit": limit, "skip": skip})

    async def overview(self, *, limit: int = 1000, skip: int = 0) -> Overview:
        """Return the account and its chats, the ones with the latest messages first."""
        return await self._http.request("GET", "/api/sync", Overview, query={"limit": limit, "skip": skip})

    async def get(self, chat_id: int) -> MyChat:
        """Return a chat with its first 100 members and its last message."""
        return await self._http.request("GET", f"/api/chats/{chat_id}", MyChat)

    async def create_direct(self, user_id: int) -> MyChat:
        """Return the direct chat with a user; create it if there is none. Each pair of users has one."""
        body = {"user_ids": [user_id], "is_group_chat": False}
        return await self._http.request("POST", "/api/chats", MyChat, body=body, is_idempotent=True)

    async def create_group(
        self, name: str | None = None, user_ids: Sequence[int] = (), history: History = History.ALL
    ) -> MyChat:
        """Create a group with these users. This account is its owner."""
        body = {"name": name, "is_group_chat": True, "user_ids": list(user_ids), "history": history}
        return await self._http.request("POST", "/api/chats", MyChat, body=body)

    async def update(
        self, chat_id: int, *, name: str | None = None, history: History | None = None
    ) -> MyChat:
        """Change the fields that are not None.

        `history` decides whether new members may read the messages from before they joined.
        """
        body = {"name": name, "history": history}
        return await self._http.request("PUT", f"/api/chats/{chat_id}", MyChat, body=body)

    async def delete(self, chat_id: int) -> None:
        """Delete a chat for all its members, with all messages."""
        await self._http.delete(f"/api/chats/{chat_id}")

    async def members(self, chat_id: int) -> AsyncIterator[Member]:
        """Yield all members in the order of ids, requested page by page."""
        path = f"/api/chats/{chat_id}/members"
        after, has_more = 0, True
        while has_more:
            query = {"after": after, "limit": MAX_PAGE_ROWS}
            found = await self._http.request("GET", path, list[Member], query=query)
            for member in found:
                yield member
            has_more = len(found) == MAX_PAGE_ROWS
            after = found[-1].id if found else after

    async def add_members(self, chat_id: int, user_ids: Sequence[int]) -> MyChat:
        """Add these users: all of them, or none if one cannot be added."""
        body = {"user_ids": list(user_ids)}
        return await self._http.request("POST", f"/api/chats/{chat_id}/members", MyChat, body=body)

    async def set_role(self, chat_id: int, user_id: int, role: Role) -> MyChat:
        """Change a member's role. If the new role is owner, the current owner becomes an admin."""
        path = f"/api/chats/{chat_id}/members/{user_id}"
        return await self._http.request("PUT", path, MyChat, body={"role": role})

    async def remove_member(self, chat_id: int, user_id: int) -> Chat:
        """Remove a member, and return the chat."""
        path = f"/api/chats/{chat_id}/members/{user_id}"
        chat = await self._http.delete_returning(path, Chat)
        return chat if chat is not None else await self.get(chat_id)

    async def leave(self, chat_id: int) -> None:
        """Leave a chat. The longest-serving admin, else member, becomes the owner if the owner leaves."""
        path = f"/api/chats/{chat_id}/members/{self._http.user_id}"
        await self._http.delete_returning(path, Chat)

    async def changes(self, chat_id: int, after: int) -> ChangesPage:
        """Return what changed in a chat after a version, for programs without a live connection."""
        path = f"/api/chats/{chat_id}/changes"
        return await self._http.request("GET", path, ChangesPage, query={"after": after})

    async def pins(self, chat_id: int) -> list[Message]:
        """Return the pinned messages, the last pinned first."""
        return await self._http.request("GET", f"/api/chats/{chat_id}/pins", list[Message])


class MessagesResource(Resource):
    """Messages, reactions, pins and read cursors."""

    async def page(
        self,
        chat_id: int,
        *,
        before: int | None = None,
        after: int | None = None,
        around: int | None = None,
        limit: int = 50,
    ) -> Page[Message]:
        """Return messages, newest first: those before, after or around an id, else the newest of the chat.

        `older` is the `before` of the next page, `newer` is the `after` of the previous one.
        """
        query = {"before": before, "after": after, "around": around, "limit": limit}
        return await self._http.page(f"/api/chats/{chat_id}/messages", Message, query)

    async def get(self, chat_id: int, message_id: int) -> Message:
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
        """Send a message, and return it once it is stored.

        Retries while the server is unreachable, and stores the message once: `client_id` is its idempotency
        key, generated if it is None. `client.send()` does the same over the live connection.
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
        """Replace the content of a message of this account."""
        path = self._path(chat_id, message_id)
        return await self._http.request("PUT", path, Message, body={"content": content})

    async def delete(self, chat_id: int, message_id: int) -> None:
        """Delete a message. A tombstone keeps its position."""
        await self._http.delete(self._path(chat_id, message_id))

    async def react(self, chat_id: int, message_id: int, emoji: str) -> Message:
        """Add a reaction. A second identical reaction has no effect."""
        return await self._http.request("PUT", self._reaction_path(chat_id, message_id, emoji), Message)

    async def unreact(self, chat_id: int, message_id: int, emoji: str) -> Message:
        """Remove a reaction of this account."""
        path = self._reaction_path(chat_id, message_id, emoji)
        message = await self._http.delete_returning(path, Message)
        return message if message is not None else await self.get(chat_id, message_id)

    async def pin(self, chat_id: int, message_id: int) -> Message:
        return await self._http.request("PUT", f"{self._path(chat_id, message_id)}/pin", Message)

    async def unpin(self, chat_id: int, message_id: int) -> Message:
        """Unpin a message. The message itself stays."""
        path = f"{self._path(chat_id, message_id)}/pin"
        message = await self._http.delete_returning(path, Message)
        return message if message is not None else await self.get(chat_id, message_id)

    async def mark_read(self, chat_id: int, up_to: int | None = None) -> ReadCursor:
        """Move this account's read cursor to a message, or to the newest. It never moves back."""
        path = f"/api/chats/{chat_id}/messages/read"
        return await self._http.request("PUT", path, ReadCursor, body={"up_to": up_to})

    async def read_status(self, chat_id: int, message_id: int) -> ReadStatus:
        """Return who has read a message, of the members at the time it was sent, without its author."""
        return await self._http.request("GET", f"{self._path(chat_id, message_id)}/read-status", ReadStatus)

    def _path(self, chat_id: int, message_id: int) -> str:
        return f"/api/chats/{chat_id}/messages/{message_id}"

    def _reaction_path(self, chat_id: int, message_id: int, emoji: str) -> str:
        return f"{self._path(chat_id, message_id)}/reactions/{quote(emoji, safe='')}"


class ServerResource(Resource):
    """The server itself."""

    async def info(self) -> ServerInfo:
        """Return its address, who may register, and whom a user can list. No login is needed."""
        return await self._http.request_anonymously("GET", "/api/server", ServerInfo, body=None)


class InvitationsResource(Resource):
    """Invitations, for servers whose registration requires one. For administrators only."""

    async def create(self, *, days: int = 7) -> Invitation:
        """Create an invitation, valid for one registration. Only this call returns its `code`."""
        return await self._http.request("POST", "/api/invitations", Invitation, body={"days": days})

    async def page(self, *, before: int | None = None, limit: int = 50) -> Page[Invitation]:
        """Return invitations, the newest first, without their codes."""
        return await self._http.page("/api/invitations", Invitation, {"before": before, "limit": limit})

    async def revoke(self, invitation_id: int) -> None:
        """Revoke an unused invitation."""
        await self._http.delete(f"/api/invitations/{invitation_id}")
