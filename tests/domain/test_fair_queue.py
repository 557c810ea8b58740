"""The ledger's queue: authors take turns, and each author's sends stay in order."""

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
def test_sends_of_an_author_stay_in_order(steps: list[tuple[str, int]]) -> None:
    """No send is lost, in any sequence of appending, taking, putting back and dropping sends."""
    queue, expected = FairQueue(), dict[int, list[QueuedSend]]()
    for number, (step, count) in enumerate(steps):
        if step == "append":
            send = _send(count, number)
            queue.append(send)
            expected.setdefault(count, []).append(send)
        elif step == "drop":
            queue.keep(lambda send, author=count: send.author_id != author)  # type: ignore[misc]
            expected.pop(count, None)
        else:
            taken = [queue.pop() for _ in range(min(count, len(queue)))]
            for send in taken:
                assert send is expected[send.author_id].pop(0)
            if step != "pop":
                queue.put_back(taken)
                for send in reversed(taken):
                    expected[send.author_id].insert(0, send)
        assert len(queue) == sum(map(len, expected.values()))
        for author_id, sends in expected.items():
            assert [send for send in queue if send.author_id == author_id] == sends


@given(counts=st.lists(st.integers(1, 100), min_size=1, max_size=5))
def test_authors_take_turns(counts: list[int]) -> None:
    """No author gets more than one turn ahead of an author who still has queued sends."""
    queue = FairQueue()
    for author_id, count in enumerate(counts):
        for number in range(count):
            queue.append(_send(author_id, number))
    taken: Counter[int] = Counter()
    while len(queue):
        taken[queue.pop().author_id] += 1
        waiting = [author_id for author_id, count in enumerate(counts) if taken[author_id] < count]
        assert all(max(taken.values()) - taken[author_id] <= SENDS_PER_TURN for author_id in waiting)
