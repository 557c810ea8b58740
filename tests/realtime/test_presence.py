"""Who is here: connections, choices, how long a choice stands, and how soon one is gone."""

from blazechat.realtime.presence import CHOSEN_STATUS_SECONDS, Presence
from blazechat.vocabulary import Status


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_here_as_long_as_one_connection_is() -> None:
    """The first brings online, the last takes it, after a time to come back; others do not count."""
    clock = Clock()
    presence = Presence(10, clock)
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


def test_a_short_absence_is_none() -> None:
    """Whoever comes back in time was never gone, and nothing is to be told."""
    clock = Clock()
    presence = Presence(10, clock)
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


def test_a_choice_holds_while_connected_and_goes_with_the_last_connection() -> None:
    """Away stays away; coming back later is online again."""
    clock = Clock()
    presence = Presence(0, clock)
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


def test_a_choice_without_a_connection_runs_out() -> None:
    """For programs that have no socket."""
    clock = Clock()
    presence = Presence(0, clock)
    presence.choose(1, Status.AWAY)
    assert presence.status_of(1) is Status.AWAY
    clock.now = CHOSEN_STATUS_SECONDS
    assert presence.status_of(1) is Status.OFFLINE
