"""The ledger's queue."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from blazechat.domain.messaging.fair_queue import SENDS_PER_TURN, FairQueue
from blazechat.domain.messaging.sends import QueuedSend

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 4)),
        st.tuples(st.just("pop"), st.integers(1, 6)),
        st.tuples(st.just("pop and put back"), st.integers(1, 6)),
        st.tuples(st.just("drop"), st.integers(1, 4)),
    ),
    max_size=60,
)


def _send(author_id: int, number: int) -> QueuedSend:
    return QueuedSend(1, author_id, 1, f"{number}", "x", None, None, (), None, 0.0, [])


@given(steps=STEPS)
def test_each_authors_order_holds(steps: list[tuple[str, int]]) -> None:
    """Whatever comes, goes and comes back: nothing is lost, and each author's come in their order."""
    turns, waiting = FairQueue(), dict[int, list[QueuedSend]]()
    for number, (step, count) in enumerate(steps):
        if step == "append":
            send = _send(count, number)
            turns.append(send)
            waiting.setdefault(count, []).append(send)
        elif step == "drop":
            turns.keep(lambda send, author=count: send.author_id != author)  # type: ignore[misc]
            waiting.pop(count, None)
        else:
            taken = [turns.pop() for _ in range(min(count, len(turns)))]
            for send in taken:
                assert send is waiting[send.author_id].pop(0)
            if step != "pop":
                turns.put_back(taken)
                for send in reversed(taken):
                    waiting[send.author_id].insert(0, send)
        assert len(turns) == sum(map(len, waiting.values()))
        for author_id, sends in waiting.items():
            assert [send for send in turns if send.author_id == author_id] == sends


@given(counts=st.lists(st.integers(1, 100), min_size=1, max_size=5))
def test_authors_take_turns(counts: list[int]) -> None:
    """Among those who still wait, nobody has had more than one turn more than another."""
    turns = FairQueue()
    for author_id, count in enumerate(counts):
        for number in range(count):
            turns.append(_send(author_id, number))
    had: Counter[int] = Counter()
    while len(turns):
        had[turns.pop().author_id] += 1
        left = [author_id for author_id, count in enumerate(counts) if had[author_id] < count]
        assert all(max(had.values()) - had[author_id] <= SENDS_PER_TURN for author_id in left)
