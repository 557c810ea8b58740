"""The HTTP calls of the file tests: uploads in one request, and resumable ones by tus."""

from pathlib import Path
from typing import Any

import httpx2

from tests.harness import Live, Person

TUS = {"tus-resumable": "1.0.0"}
BODY = {"content-type": "application/offset+octet-stream"}


async def send(person: Person, content: bytes, name: str = "a.txt") -> httpx2.Response:
    return await person.http.post("/api/media", files={"file": (name, content)})


async def uploaded(person: Person, content: bytes, name: str = "a.txt") -> dict[str, Any]:
    answer = await send(person, content, name)
    assert answer.status_code == 201, answer.text
    upload: dict[str, Any] = answer.json()
    return upload


def stored_objects(live: Live) -> set[str]:
    """Return the names of the objects in a server's storage."""
    folder: Path = live.app.state.settings.data_dir / "media"
    return {path.name for path in folder.rglob("*") if path.is_file()}


async def begin_upload(person: Person, size: int | None, **headers: str) -> str:
    length = {"upload-defer-length": "1"} if size is None else {"upload-length": str(size)}
    answer = await person.http.post("/api/uploads", headers={**TUS, **length, **headers})
    assert answer.status_code == 201, answer.text
    return str(answer.headers["location"])


async def patch(person: Person, where: str, offset: int, content: Any, **headers: str) -> httpx2.Response:
    sent = {**TUS, **BODY, "upload-offset": str(offset), **headers}
    return await person.http.patch(where, content=content, headers=sent)


async def concatenate(person: Person, parts: list[str], **headers: str) -> httpx2.Response:
    """Request a final upload of these partial uploads."""
    sent = {**TUS, "upload-concat": f"final;{' '.join(parts)}", **headers}
    return await person.http.post("/api/uploads", headers=sent)


async def offset_of(person: Person, where: str) -> int:
    answer = await person.http.head(where, headers=TUS)
    assert answer.status_code == 200
    return int(answer.headers["upload-offset"])


async def content_of(person: Person, where: str) -> bytes:
    answer = await person.get(f"/api/media/{where.rpartition('/')[2]}/content")
    assert answer.status_code == 200, answer.text
    return answer.content
