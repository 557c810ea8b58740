"""The state of a chat, event by event."""

from datetime import UTC, datetime

import msgspec

from blazechat.client import (
    ChatState,
    ChatUpdated,
    History,
    Member,
    MemberRemoved,
    MembersUpdated,
    MyChat,
    Role,
    Status,
)
from blazechat.client.events import ChatInfo
from blazechat.client.frames import Hidden

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ME, OTHER = 1, 2


def member(user_id: int, role: Role) -> Member:
    return Member(user_id, f"user{user_id}", f"User {user_id}", NOW, None, Status.OFFLINE, False, role)


def loaded(version: int, role: Role) -> MyChat:
    users = [member(OTHER, Role.OWNER)]  # this account is not among the first 100
    return MyChat(7, "Team", True, History.ALL, NOW, users, 150, 0, version, role, 0, 0, None)


def changed(version: int) -> ChatUpdated:
    """The members may have changed, and these are the first 100."""
    return ChatUpdated(7, version, ChatInfo(7, "Team", True, History.ALL, 150, [member(OTHER, Role.OWNER)]))


def test_role_is_taken_from_a_response_older_than_the_chat() -> None:
    chat = ChatState(loaded(10, Role.MEMBER), ME, 50)
    assert chat.is_role_known
    chat.receive(changed(11))
    assert not chat.is_role_known, "this account is not among the first members"
    for version in (12, 13):
        chat.receive(Hidden(7, version))
    chat.update_membership(loaded(11, Role.ADMIN))
    assert (chat.role, chat.is_role_known) == (Role.ADMIN, True)


def test_role_from_before_a_change_is_ignored() -> None:
    chat = ChatState(loaded(10, Role.MEMBER), ME, 50)
    chat.receive(changed(11))
    chat.update_membership(loaded(10, Role.OWNER))
    assert not chat.is_role_known
    chat.receive(MembersUpdated(7, 12, [member(ME, Role.ADMIN)]))
    assert (chat.role, chat.is_role_known) == (Role.ADMIN, True)
    chat.update_membership(loaded(11, Role.MEMBER))
    assert chat.role is Role.ADMIN


def test_role_of_an_event_older_than_the_response_is_ignored() -> None:
    chat = ChatState(loaded(10, Role.MEMBER), ME, 50)
    chat.update_membership(loaded(20, Role.OWNER))
    chat.receive(MembersUpdated(7, 15, [member(ME, Role.MEMBER)]))
    assert chat.role is Role.OWNER


def test_members_loaded_before_a_change_of_the_members_are_not_added() -> None:
    """A member who was removed meanwhile does not return; without a change, bots do not count as people."""
    chat = ChatState(loaded(10, Role.MEMBER), ME, 50)
    bot = msgspec.structs.replace(member(9, Role.MEMBER), is_bot=True)
    before = chat.members_version
    chat.receive(MemberRemoved(7, 11, 9))
    assert not chat.add_all_members([member(ME, Role.MEMBER), bot], before)
    assert 9 not in chat.members
    assert (chat.people_count, chat.bot_count) == (149, 0)
    assert chat.add_all_members([member(ME, Role.MEMBER), bot], chat.members_version)
    assert (chat.people_count, chat.bot_count) == (148, 1)
