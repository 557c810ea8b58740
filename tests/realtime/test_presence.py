"""Presence: the status of a user from connections, a chosen status, and the grace period."""

from blazechat.realtime.presence import CHOSEN_STATUS_SECONDS, PresenceTracker
from blazechat.vocabulary import Status


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_user_is_online_while_any_connection_is_open() -> None:
    """After the last one is lost, the user stays online for the grace period."""
    clock = Clock()
    presence = PresenceTracker(10, clock)
    assert presence.status_of(1) is Status.OFFLINE
    presence.connect(1)
    presence.connect(1)
    presence.disconnect(1)
    assert presence.status_of(1) is Status.ONLINE
    presence.disconnect(1)
    presence.expire_leaving()
    assert presence.status_of(1) is Status.ONLINE
    clock.now = 10
    presence.expire_leaving()
    assert presence.status_of(1) is Status.OFFLINE


def test_reconnect_within_the_grace_period_publishes_nothing() -> None:
    """The user stays online, and no change of presence is published."""
    clock = Clock()
    presence = PresenceTracker(10, clock)
    presence.connect(1)
    presence._changed.clear()
    presence.disconnect(1)
    clock.now = 9
    presence.expire_leaving()
    presence.connect(1)
    clock.now = 99
    presence.expire_leaving()
    assert presence.status_of(1) is Status.ONLINE
    assert not presence._changed


def test_chosen_status_holds_until_the_last_connection_is_lost() -> None:
    """Further connections do not change it. A user who connects later is online."""
    clock = Clock()
    presence = PresenceTracker(0, clock)
    presence.connect(1)
    presence.choose(1, Status.AWAY)
    presence.connect(1)
    assert presence.status_of(1) is Status.AWAY
    presence.disconnect(1)
    presence.disconnect(1)
    presence.expire_leaving()
    assert presence.status_of(1) is Status.OFFLINE
    presence.connect(1)
    assert presence.status_of(1) is Status.ONLINE


def test_status_chosen_without_a_connection_expires() -> None:
    """A client without a socket can choose a status over HTTP."""
    clock = Clock()
    presence = PresenceTracker(0, clock)
    presence.choose(1, Status.AWAY)
    assert presence.status_of(1) is Status.AWAY
    clock.now = CHOSEN_STATUS_SECONDS
    assert presence.status_of(1) is Status.OFFLINE
