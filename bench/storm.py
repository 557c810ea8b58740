"""5,000 sockets drop and come back at once, while two others talk; settings are the default ones."""

import asyncio
import resource
import time

from bench import connect, seed, steady_senders
from bench.connect import until
from bench.figures import Figure, percentile
from bench.server import serving
from bench.socket_client import Returner, Sender, Socket, frame, send

SOCKETS = 5_000
CHATS_EACH = 20
MEMBERS = 10
TELLERS = 10
"""Who say something in a part of the chats: several, so that flood control lets them."""
TALKED_IN = 1000
"""Chats, the first ones, a teller more in each."""
MESSAGES = 3
"""In each of those, while the crowd is away."""
LIMIT = 60.0
"""Seconds after which the storm is given up."""
MOST = 20.0
MOST_OF_OTHERS = 500


async def reconnect() -> list[Figure]:
    count = min(SOCKETS, (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 500) // MEMBERS * MEMBERS)
    chats = seed.circles(count, CHATS_EACH, MEMBERS)
    for chat_id in range(1, TALKED_IN + 1):
        chats[chat_id - 1].append(count + 1 + chat_id % TELLERS)
    pair = [count + TELLERS + 1, count + TELLERS + 2]
    async with serving() as bench:
        async with bench.database() as connection:
            tokens = await seed.people(bench, connection, pair[1])
            await seed.chats(connection, [*chats, pair])
        crowd_before = [Socket() for _ in range(count)]
        tellers = [Sender(b"") for _ in range(TELLERS)]
        print(f"  opening {count:,} sockets …", flush=True)
        await connect.open_all(bench, [*tellers, *crowd_before], [*tokens[count:-2], *tokens[:count]])
        back = _returning(chats, count)
        async with steady_senders.talking(bench, len(chats) + 1, tokens[-2:]) as others:
            await asyncio.sleep(2)
            calm = await others.took()
            began = time.perf_counter()
            with bench.shares("storm"):
                for socket in crowd_before:
                    socket.drop()
                await _tell(tellers)
                away = time.perf_counter() - began
                again = await connect.open_all(bench, back, tokens[:count], at_once=count, tries=20)
                await until(lambda: not any(each.in_flight for each in back), back, LIMIT, pause=0.02)
                synced = time.perf_counter() - began
            await asyncio.sleep(1)
            rough = await others.took()
            print(
                f"  away for {away:.2f} s at least; {again} came in vain and came again;"
                f" {sum(each.refused for each in back)} resumes met a busy server and were sent again;"
                f" {sum(each.resets for each in back)} chats were reset;"
                f" the others sent {rough.messages} messages"
            )
            _check(back, chats)
    name = f"reconnect storm, {count:,} sockets, {CHATS_EACH} chats each"
    late = [each.latencies[0] for each in back]
    return [
        Figure(f"{name}, all synced", synced, "s", most=MOST),
        Figure(f"{name}, resume p99", 1000 * percentile(late, 0.99), "ms"),
        Figure("sends of others, the worst before the storm", 1000 * calm.worst, "ms"),
        Figure("sends of others, the worst in the storm", 1000 * rough.worst, "ms", most=MOST_OF_OTHERS),
    ]


def _returning(chats: list[list[int]], count: int) -> list[Returner]:
    """A socket for each of the crowd, which asks what changed in all their chats since their beginning."""
    known: list[dict[str, int]] = [{} for _ in range(count)]
    for chat_id, members in enumerate(chats, 1):
        for user_id in members[:MEMBERS]:
            known[user_id - 1][str(chat_id)] = 1
    return [Returner(frame({"type": "resume", "ref": 1, "chats": versions})) for versions in known]


async def _tell(tellers: list[Sender]) -> None:
    """Send something into a part of the chats, and wait until it is stored."""
    for number, teller in enumerate(tellers):
        chat_ids = range(1 + (number - 1) % TELLERS, TALKED_IN + 1, TELLERS)
        frames = [send(chat_id, "x" * 40) for chat_id in chat_ids for _ in range(MESSAGES)]
        teller.say(b"".join(frames), len(frames))
    await until(lambda: not any(each.in_flight for each in tellers), tellers)


def _check(back: list[Returner], chats: list[list[int]]) -> None:
    """Each has been told what they missed, once."""
    missed = [0] * len(back)
    for members in chats[:TALKED_IN]:
        for user_id in members[:MEMBERS]:
            missed[user_id - 1] += MESSAGES
    troubles = [each.trouble for each in back if each.trouble]
    assert not troubles, f"{len(troubles)} sockets are in trouble: {troubles[0]!r}"
    short = sum(each.events < wanted for each, wanted in zip(back, missed, strict=True))
    assert not short, f"{short} sockets were not told everything"
    # Whoever asks a second time from the same versions is told a second time, too.
    twice = sum(
        each.events > wanted and not each.refused for each, wanted in zip(back, missed, strict=True)
    )
    assert not twice, f"{twice} sockets were told something twice"
