"""Reconnect storm: 5,000 sockets drop and resume together while two other users send; default settings."""

import asyncio
import resource
import time
from dataclasses import dataclass

from bench import connect, seed, steady_senders
from bench.connect import wait_until
from bench.figures import Figure, percentile
from bench.server import Bench, serving
from bench.socket_client import ResumingSocket, Sender, Socket, frame, send

SOCKETS = 5_000
CHATS_EACH = 20
MEMBERS = 10
WRITERS = 10
"""Users who change the chats. Several, so that rate limits permit it."""
CHANGED_CHATS = 1000
"""The first chats change. Each has one of the writers as a further member."""
MESSAGES = 3
"""Messages in each changed chat while the sockets are away."""
TIMEOUT_SECONDS = 60.0
"""The scenario fails if not all sockets are synced within this time."""
MAX_SYNC_SECONDS = 20.0
MAX_LATENCY_MS = 500


@dataclass(frozen=True)
class Storm:
    """The measured times in seconds, and how many handshakes were repeated."""

    away: float
    synced: float
    repeated_handshakes: int


async def reconnect() -> list[Figure]:
    """Measure the time until all sockets are synced, and the sends of two other users meanwhile."""
    count = min(SOCKETS, (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 500) // MEMBERS * MEMBERS)
    chats = seed.chat_members(count, CHATS_EACH, MEMBERS)
    for chat_id in range(1, CHANGED_CHATS + 1):
        chats[chat_id - 1].append(count + 1 + chat_id % WRITERS)
    pair = [count + WRITERS + 1, count + WRITERS + 2]
    async with serving() as bench:
        async with bench.database() as connection:
            tokens = await seed.people(bench, connection, pair[1])
            await seed.chats(connection, [*chats, pair])
        dropped = [Socket() for _ in range(count)]
        writers = [Sender(b"") for _ in range(WRITERS)]
        print(f"  opening {count:,} sockets …", flush=True)
        await connect.open_all(bench, [*writers, *dropped], [*tokens[count:-2], *tokens[:count]])
        resuming = _resuming_sockets(chats, count)
        async with steady_senders.sending(bench, len(chats) + 1, tokens[-2:]) as others:
            await asyncio.sleep(2)
            before = await others.latencies()
            with bench.shares("storm"):
                storm = await _run_storm(bench, dropped, writers, resuming, tokens)
            await asyncio.sleep(1)
            during = await others.latencies()
            _print_counts(storm, resuming, during.messages)
            _check(resuming, chats)
    name = f"reconnect storm, {count:,} sockets, {CHATS_EACH} chats each"
    late = [each.latencies[0] for each in resuming]
    return [
        Figure(f"{name}, all synced", storm.synced, "s", maximum=MAX_SYNC_SECONDS),
        Figure(f"{name}, resume p99", 1000 * percentile(late, 0.99), "ms"),
        Figure("sends of others, slowest before the storm", 1000 * before.slowest, "ms"),
        Figure(
            "sends of others, slowest in the storm", 1000 * during.slowest, "ms", maximum=MAX_LATENCY_MS
        ),
    ]


async def _run_storm(
    bench: Bench,
    dropped: list[Socket],
    writers: list[Sender],
    resuming: list[ResumingSocket],
    tokens: list[str],
) -> Storm:
    """Drop all sockets, change chats, and connect again; return once all resumes are acknowledged."""
    began = time.perf_counter()
    for socket in dropped:
        socket.drop()
    await _change_chats(writers)
    away = time.perf_counter() - began
    count = len(resuming)
    repeated = await connect.open_all(bench, resuming, tokens[:count], max_concurrent=count, tries=20)
    await wait_until(
        lambda: not any(each.in_flight for each in resuming), resuming, TIMEOUT_SECONDS, poll_seconds=0.02
    )
    return Storm(away, time.perf_counter() - began, repeated)


def _print_counts(storm: Storm, resuming: list[ResumingSocket], messages: int) -> None:
    print(
        f"  sockets were away for at least {storm.away:.2f} s;"
        f" {storm.repeated_handshakes} handshakes were refused and repeated;"
        f" {sum(each.busy_replies for each in resuming)} resumes were answered with busy and repeated;"
        f" {sum(each.resets for each in resuming)} chats were reset;"
        f" the two others sent {messages} messages"
    )


def _resuming_sockets(chats: list[list[int]], count: int) -> list[ResumingSocket]:
    """Return a socket per user, which resumes all chats of the user from their first version."""
    known: list[dict[str, int]] = [{} for _ in range(count)]
    for chat_id, members in enumerate(chats, 1):
        for user_id in members[:MEMBERS]:
            known[user_id - 1][str(chat_id)] = 1
    return [ResumingSocket(frame({"type": "resume", "ref": 1, "chats": versions})) for versions in known]


async def _change_chats(writers: list[Sender]) -> None:
    """Send MESSAGES to each of CHANGED_CHATS, and wait until they are stored."""
    for number, writer in enumerate(writers):
        chat_ids = range(1 + (number - 1) % WRITERS, CHANGED_CHATS + 1, WRITERS)
        frames = [send(chat_id, "x" * 40) for chat_id in chat_ids for _ in range(MESSAGES)]
        writer.send_frames(b"".join(frames), len(frames))
    await wait_until(lambda: not any(each.in_flight for each in writers), writers)


def _check(resuming: list[ResumingSocket], chats: list[list[int]]) -> None:
    """Check that each socket has received each message that it missed, once."""
    missed = [0] * len(resuming)
    for members in chats[:CHANGED_CHATS]:
        for user_id in members[:MEMBERS]:
            missed[user_id - 1] += MESSAGES
    errors = [each.error for each in resuming if each.error]
    assert not errors, f"{len(errors)} sockets received an error: {errors[0]!r}"
    short = sum(each.events < expected for each, expected in zip(resuming, missed, strict=True))
    assert not short, f"{short} sockets did not receive all messages"
    # A socket that resumes again from the same versions receives the messages again.
    twice = sum(
        each.events > expected and not each.busy_replies
        for each, expected in zip(resuming, missed, strict=True)
    )
    assert not twice, f"{twice} sockets received a message twice"
