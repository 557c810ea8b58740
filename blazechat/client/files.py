"""Files: resumable uploads and downloads.

Uploads use tus 1.0.0 with one request per chunk. After a lost connection, at most one chunk is sent again.
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
from blazechat.client.request import Request
from blazechat.client.resources import Resource
from blazechat.client.schemas import Attachment, Page, Upload

CHUNK_BYTES = 4 * 1024 * 1024
"""The body of one request, and so the most that is sent twice after a lost connection."""
WRITE_BYTES = CHUNK_BYTES // 16
"""A download is written to disk in pieces of at least this size."""
MAX_STALLED_ATTEMPTS = 5
"""How often in a row an upload or download is resumed without progress."""
ABANDON_TIMEOUT = 5
"""Seconds to wait for the deletion of an upload that failed."""
TUS_HEADERS = {"tus-resumable": "1.0.0"}

OnProgress = Callable[[int, int], None]
"""Called with the number of bytes transferred, and the size of the file."""


class FilesResource(Resource):
    """Uploads of this account, and files of messages."""

    async def upload(
        self, source: Path | str | bytes, *, name: str | None = None, on_progress: OnProgress | None = None
    ) -> Upload:
        """Upload a file, given by its path or its bytes. Pass the `id` of the result to `client.send()`.

        Resumes after lost connections. If the upload is cancelled or rejected (ContentTooLarge,
        QuotaExceeded, TypeNotAllowed, UnreadableFile, StorageFull), nothing stays on the server. Raises
        OSError if the file cannot be read.
        """
        name = name or (Path(source).name if not isinstance(source, bytes) else "file")
        with await asyncio.to_thread(_open, source) as file:
            size = await asyncio.to_thread(file.seek, 0, os.SEEK_END)
            path = await self._create(name, size)
            try:
                await self._send_chunks(path, file, size, on_progress or _ignore_progress)
                return await self.get(int(path.rpartition("/")[2]))
            except BaseException:
                await asyncio.shield(self._abandon(path))
                raise

    async def download(
        self,
        file: Attachment | str,
        to: Path | None = None,
        *,
        on_progress: OnProgress | None = None,
    ) -> bytes:
        """Return the bytes of a file, given by its attachment, or by the `url` of it or of a thumbnail.

        With `to`, the bytes are written to that path instead, completely or not at all, and the result is
        empty. Resumes after lost connections. Raises NotFound, and OSError if the file cannot be written.
        """
        url = file if isinstance(file, str) else file.url
        if to is None:
            buffer = io.BytesIO()
            await self._download(url, buffer, on_progress or _ignore_progress)
            return buffer.getvalue()
        part = to.with_name(f".{secrets.token_hex(8)}.part")
        try:
            with part.open("wb") as opened:
                await self._download(url, opened, on_progress or _ignore_progress)
            part.replace(to)
        finally:
            part.unlink(missing_ok=True)
        return b""

    async def page(self, *, before: int | None = None, limit: int = 50) -> Page[Upload]:
        """Return this account's uploads, the newest first."""
        return await self._http.page("/api/media", Upload, {"before": before, "limit": limit})

    async def get(self, media_id: int) -> Upload:
        return await self._http.request("GET", f"/api/media/{media_id}", Upload)

    async def delete(self, media_id: int) -> None:
        """Delete an upload that no message contains. Raises MediaInUse."""
        await self._http.delete(f"/api/media/{media_id}")

    async def _create(self, name: str, size: int) -> str:
        """Create an upload, and return its path."""
        metadata = f"filename {base64.b64encode(name.encode(errors='replace')).decode()}"
        headers = TUS_HEADERS | {"upload-length": str(size), "upload-metadata": metadata}
        response = await self._http.send(Request("POST", "/api/uploads", headers=headers))
        path = str(response.headers.get("location", ""))
        if not path.startswith("/api/uploads/") or not path.rpartition("/")[2].isdecimal():
            raise NotBlazeChat(
                f"{self._http.url} does not answer as a BlazeChat server does. Check the address."
            )
        return path

    async def _send_chunks(self, path: str, file: BinaryIO, size: int, on_progress: OnProgress) -> None:
        offset, stalled_attempts = 0, 0
        on_progress(0, size)
        while offset < size:
            await asyncio.to_thread(file.seek, offset)
            chunk = await asyncio.to_thread(file.read, min(CHUNK_BYTES, size - offset))
            if not chunk:
                raise OSError("the file became shorter during the upload; upload it again")
            headers = TUS_HEADERS | {
                "content-type": "application/offset+octet-stream",
                "upload-offset": str(offset),
            }
            request = Request("PATCH", path, content=chunk, headers=headers, is_idempotent=False)
            try:
                await self._http.send(request)
                offset += len(chunk)
            except (Unreachable, Unavailable, OffsetConflict):
                before, offset = offset, await self._offset_of(path)
                stalled_attempts = 0 if offset > before else stalled_attempts + 1
                if stalled_attempts > MAX_STALLED_ATTEMPTS:
                    raise
            on_progress(offset, size)

    async def _offset_of(self, path: str) -> int:
        """Return how many bytes the server has."""
        response = await self._http.send(Request("HEAD", path, headers=TUS_HEADERS))
        return int(response.headers.get("upload-offset", "0"))

    async def _abandon(self, path: str) -> None:
        """Try to delete a failed upload. The server deletes an abandoned upload later by itself."""
        request = Request("DELETE", path, headers=TUS_HEADERS, is_idempotent=False)
        try:
            async with asyncio.timeout(ABANDON_TIMEOUT):
                await self._http.send(request)
        except Exception:  # noqa: BLE001, S110 (the caller raises the error that caused this)
            pass

    async def _download(self, url: str, file: BinaryIO, on_progress: OnProgress) -> None:
        """Download a file. After a lost connection, resume if its entity tag is the same."""
        entity_tag, stalled_attempts = "", 0
        while True:
            before = file.tell()
            headers = {"range": f"bytes={before}-", "if-range": entity_tag} if before else {}
            try:
                async with self._http.stream(url, headers) as response:
                    entity_tag = str(response.headers.get("etag", ""))
                    await _write_body(response, file, on_progress)
                    return
            except Unreachable:
                stalled_attempts = 0 if file.tell() > before else stalled_attempts + 1
                if stalled_attempts > MAX_STALLED_ATTEMPTS:
                    raise


async def _write_body(response: httpx2.Response, file: BinaryIO, on_progress: OnProgress) -> None:
    if response.status_code != 206:  # the whole file, not a range
        file.seek(0)
        file.truncate()
    size = file.tell() + int(response.headers.get("content-length", "0"))
    on_progress(file.tell(), size)
    async for chunk in _merged(response.aiter_bytes()):
        await asyncio.to_thread(file.write, chunk)
        on_progress(file.tell(), size)


async def _merged(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Merge small chunks, so that not every packet causes a write to disk."""
    buffer = bytearray()
    async for chunk in chunks:
        buffer += chunk
        if len(buffer) >= WRITE_BYTES:
            yield bytes(buffer)
            buffer.clear()
    if buffer:
        yield bytes(buffer)


def _open(source: Path | str | bytes) -> BinaryIO:
    return io.BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb")


def _ignore_progress(transferred: int, size: int) -> None:
    return None
