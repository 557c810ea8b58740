"""Who is here: connections, choices, how long a choice stands, and how soon one is gone."""

from blazechat.realtime.presence import CHOICE_LASTS, Presence
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
    presence.arrive(1)
    presence.arrive(1)
    presence.depart(1)
    assert presence.status_of(1) is Status.ONLINE
    presence.depart(1)
    presence.let_go()
    assert presence.status_of(1) is Status.ONLINE
    clock.now = 10
    presence.let_go()
    assert presence.status_of(1) is Status.OFFLINE


def test_a_short_absence_is_none() -> None:
    """Whoever comes back in time was never gone, and nothing is to be told."""
    clock = Clock()
    presence = Presence(10, clock)
    presence.arrive(1)
    presence._changed.clear()
    presence.depart(1)
    clock.now = 9
    presence.let_go()
    presence.arrive(1)
    clock.now = 99
    presence.let_go()
    assert presence.status_of(1) is Status.ONLINE
    assert not presence._changed


def test_a_choice_holds_while_connected_and_goes_with_the_last_connection() -> None:
    """Away stays away; coming back later is online again."""
    clock = Clock()
    presence = Presence(0, clock)
    presence.arrive(1)
    presence.choose(1, Status.AWAY)
    presence.arrive(1)
    assert presence.status_of(1) is Status.AWAY
    presence.depart(1)
    presence.depart(1)
    presence.let_go()
    assert presence.status_of(1) is Status.OFFLINE
    presence.arrive(1)
    assert presence.status_of(1) is Status.ONLINE


def test_a_choice_without_a_connection_runs_out() -> None:
    """For programs that have no socket."""
    clock = Clock()
    presence = Presence(0, clock)
    presence.choose(1, Status.AWAY)
    assert presence.status_of(1) is Status.AWAY
    clock.now = CHOICE_LASTS
    assert presence.status_of(1) is Status.OFFLINE
