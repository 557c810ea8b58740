"""resume loses a rename that lies below `since` if a live info event came above it."""
import pytest
from tests.harness import Live


async def test_rename_lost(live: Live) -> None:
    alice, bob, carol = await live.people("alice", "bob", "carol")
    chat_id = await alice.group(bob)
    version = (await bob.get(f"/api/chats/{chat_id}")).json()["version"]
    await alice.put(f"/api/chats/{chat_id}", {"name": "Renamed"})          # version+1, bob is away
    async with bob.online() as b:
        await alice.post(f"/api/chats/{chat_id}/members", [carol.id])      # version+2, live
        print(await b.next(type="member.added"))
        await b.send({"type": "resume", "ref": 1, "chats": {str(chat_id): version}})
        frames = []
        while not frames or frames[-1]["type"] != "ack":
            frames.append(await b.next())
        print(frames)
        assert any(f["type"] == "chat.updated" for f in frames)

async def test_rejoin_joined(live: Live) -> None:
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.group(bob, history="joined")
    await alice.say(chat_id, "one")
    version = (await bob.get(f"/api/chats/{chat_id}")).json()["version"]
    await alice.delete(f"/api/chats/{chat_id}/members/{bob.id}")
    await alice.post(f"/api/chats/{chat_id}/members", [bob.id])
    await alice.delete(f"/api/chats/{chat_id}/messages/1")
    async with bob.online() as b:
        await b.send({"type": "resume", "ref": 1, "chats": {str(chat_id): version}})
        frames = []
        while not frames or frames[-1]["type"] != "ack":
            frames.append(await b.next())
        print(frames)
        print(await bob.history(chat_id))
        assert frames[0]["type"] == "reset"
