"""Files: uploading them so that a lost connection costs little, and downloading them.

Uploads speak tus 1.0.0, a chunk a request: what has arrived is not sent again.
"""

import asyncio
import base64
import io
import os
import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import BinaryIO

import httpx2

from blazechat.client.errors import NotBlazeChat, OffsetConflict, Unavailable, Unreachable
from blazechat.client.resources import Resource
from blazechat.client.schemas import Attachment, Page, Upload

CHUNK_BYTES = 4 * 1024 * 1024
"""Bytes of a request, and at most what is sent twice."""
MAX_STALLED_ATTEMPTS = 5
"""How often in a row an upload or a download is taken up again without getting on."""
TUS_HEADERS = {"tus-resumable": "1.0.0"}

OnProgress = Callable[[int, int], None]
"""Is told how many bytes are there, and of how many."""


class FilesResource(Resource):
    """Files of one's own, and those of messages."""

    async def upload(
        self, source: Path | str | bytes, *, name: str | None = None, on_progress: OnProgress | None = None
    ) -> Upload:
        """Upload a file, by its path, or bytes; attach it to a message by its `id`.

        Goes on through lost connections. If it is cancelled, or refused (ContentTooLarge, QuotaExceeded,
        TypeNotAllowed, UnreadableFile, StorageFull), nothing stays on the server. Raises OSError where the
        file cannot be read.
        """
        named = name or (Path(source).name if not isinstance(source, bytes) else "file")
        with await asyncio.to_thread(_open, source) as file:
            size = await asyncio.to_thread(file.seek, 0, os.SEEK_END)
            where = await self._create(named, size)
            try:
                await self._send_chunks(where, file, size, on_progress or _ignore_progress)
                return await self.get(int(where.rpartition("/")[2]))
            except BaseException:
                await asyncio.shield(self._abandon(where))
                raise

    async def download(
        self,
        file: Attachment | str,
        to: Path | None = None,
        *,
        on_progress: OnProgress | None = None,
    ) -> bytes:
        """A file's bytes, by its Attachment or the `url` of that or of a thumbnail.

        With `to` they go there, whole or not at all, and nothing is returned. Goes on through lost
        connections. Raises NotFound, OSError.
        """
        url = file if isinstance(file, str) else file.url
        if to is None:
            found = io.BytesIO()
            await self._download(url, found, on_progress or _ignore_progress)
            return found.getvalue()
        draft = to.with_name(f".{secrets.token_hex(8)}.part")
        try:
            with draft.open("wb") as opened:
                await self._download(url, opened, on_progress or _ignore_progress)
            draft.replace(to)
        finally:
            draft.unlink(missing_ok=True)
        return b""

    async def page(self, *, before: int | None = None, limit: int = 50) -> Page[Upload]:
        """One's own files, the newest first."""
        return await self._http.page("/api/media", Upload, {"before": before, "limit": limit})

    async def get(self, media_id: int) -> Upload:
        """One of them."""
        return await self._http.request("GET", f"/api/media/{media_id}", Upload)

    async def delete(self, media_id: int) -> None:
        """Delete one that no message has."""
        await self._http.request("DELETE", f"/api/media/{media_id}", type(None))

    async def _create(self, name: str, size: int) -> str:
        metadata = f"filename {base64.b64encode(name.encode(errors='replace')).decode()}"
        headers = TUS_HEADERS | {"upload-length": str(size), "upload-metadata": metadata}
        answer = await self._http.request_raw("POST", "/api/uploads", headers=headers, is_idempotent=False)
        where = str(answer.headers.get("location", ""))
        if not where.startswith("/api/uploads/") or not where.rpartition("/")[2].isdecimal():
            raise NotBlazeChat(f"{self._http.url} does not answer as a BlazeChat server does.")
        return where

    async def _send_chunks(self, where: str, file: BinaryIO, size: int, tell: OnProgress) -> None:
        offset, failures = 0, 0
        tell(0, size)
        while offset < size:
            await asyncio.to_thread(file.seek, offset)
            chunk = await asyncio.to_thread(file.read, min(CHUNK_BYTES, size - offset))
            if not chunk:
                raise OSError("the file has become shorter while it was sent")
            headers = TUS_HEADERS | {
                "content-type": "application/offset+octet-stream",
                "upload-offset": str(offset),
            }
            try:
                await self._http.request_raw(
                    "PATCH", where, content=chunk, headers=headers, is_idempotent=False
                )
                offset += len(chunk)
            except (Unreachable, Unavailable, OffsetConflict):
                before, offset = offset, await self._offset_of(where)
                failures = 0 if offset > before else failures + 1
                if failures > MAX_STALLED_ATTEMPTS:
                    raise
            tell(offset, size)

    async def _offset_of(self, where: str) -> int:
        answer = await self._http.request_raw("HEAD", where, headers=TUS_HEADERS, is_idempotent=True)
        return int(answer.headers.get("upload-offset", "0"))

    async def _abandon(self, where: str) -> None:
        """Whatever comes of it: what is left on the server disappears by itself."""
        try:
            async with asyncio.timeout(5):
                await self._http.request_raw("DELETE", where, headers=TUS_HEADERS, is_idempotent=False)
        except Exception:  # noqa: BLE001, S110 (another error is on its way already)
            pass

    async def _download(self, url: str, file: BinaryIO, tell: OnProgress) -> None:
        """All of it, going on where a connection is lost, if it is the same file still."""
        tag, failures = "", 0
        while True:
            before = file.tell()
            headers = {"range": f"bytes={before}-", "if-range": tag} if before else {}
            try:
                async with self._http.stream(url, headers) as answer:
                    tag = str(answer.headers.get("etag", ""))
                    await _write_body(answer, file, tell)
                    return
            except Unreachable:
                failures = 0 if file.tell() > before else failures + 1
                if failures > MAX_STALLED_ATTEMPTS:
                    raise


async def _write_body(answer: httpx2.Response, file: BinaryIO, tell: OnProgress) -> None:
    if answer.status_code != 206:
        file.seek(0)
        file.truncate()
    size = file.tell() + int(answer.headers.get("content-length", "0"))
    tell(file.tell(), size)
    async for chunk in _merged(answer.aiter_bytes()):
        await asyncio.to_thread(file.write, chunk)
        tell(file.tell(), size)


async def _merged(arriving: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same in larger parts, so that the disk is not asked for each packet."""
    waiting = bytearray()
    async for chunk in arriving:
        waiting += chunk
        if len(waiting) >= CHUNK_BYTES // 16:
            yield bytes(waiting)
            waiting.clear()
    if waiting:
        yield bytes(waiting)


def _open(source: Path | str | bytes) -> BinaryIO:
    return io.BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb")


def _ignore_progress(have: int, size: int) -> None:
    return None
