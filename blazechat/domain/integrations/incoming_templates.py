"""Templates of incoming webhooks: they make messages from payloads of any program.

A template is text of its author, or the name of a ready-made one (`ready_made/*.jinja`). The text of a
member can need any amount of time and memory, so it runs in a worker process, one at a time per owner.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from blazechat.domain import validation
from blazechat.domain.integrations.template_protocol import Rendered, RenderFailure, RenderJob
from blazechat.errors import Busy, InvalidInput, TemplateFailed
from blazechat.media.worker_pool import WorkerDied, WorkerPool, WorkerTimedOut
from blazechat.media.worker_process import WorkerProgram

MAX_TEMPLATE_CHARACTERS = 10_000
RENDER_SECONDS = 2.0
WORKERS = 2
WORKER_BYTES = 300_000_000
"""Address space of a worker."""
MAX_QUEUED_PER_OWNER = 16
"""Posts to all webhooks of one owner that may wait for a worker."""

READY_MADE = {
    path.stem: path.read_text() for path in sorted((Path(__file__).parent / "ready_made").glob("*.jinja"))
}
"""The ready-made templates by name."""

PROGRAM: WorkerProgram[Rendered | RenderFailure] = WorkerProgram(
    "template worker",
    "blazechat.domain.integrations.template_worker",
    msgspec.msgpack.Decoder(Rendered | RenderFailure),
)


class IncomingTemplates:
    """Checks and renders templates."""

    def __init__(self) -> None:
        self._pool = WorkerPool(
            PROGRAM, processes=WORKERS, job_seconds=RENDER_SECONDS, memory_bytes=WORKER_BYTES
        )
        self._locks: dict[int, asyncio.Lock] = {}  # by owner, while they render
        self._queued: dict[int, int] = {}  # by owner, those that render included

    async def check(self, template: str, owner_id: int) -> str:
        """Return a template that is valid: a ready-made one's name, or a text with correct syntax.

        Raises InvalidInput, Busy.
        """
        valid = well_formed(template)
        try:
            await self._run(RenderJob(_source(valid), None, None, 0), owner_id)
        except TemplateFailed as error:
            raise InvalidInput.of("template", error.detail) from None
        return valid

    async def render(self, template: str, payload: bytes, event: str | None, owner_id: int) -> str:
        """Return the output for a payload, which is JSON; empty if there is nothing to display.

        Raises TemplateFailed, Busy.
        """
        job = RenderJob(_source(template), payload, event, validation.MAX_MESSAGE_CHARACTERS)
        return (await self._run(job, owner_id)).text

    async def close(self) -> None:
        """End the workers."""
        await self._pool.close()

    async def _run(self, job: RenderJob, owner_id: int) -> Rendered:
        async with self._turn_of(owner_id):
            try:
                result = await self._pool.run(job)
            except WorkerTimedOut:
                raise TemplateFailed(f"The template takes longer than {RENDER_SECONDS:g} s.") from None
            except WorkerDied:
                raise TemplateFailed("The template needs too much memory.") from None
        if isinstance(result, RenderFailure):
            raise TemplateFailed(str(result))
        return result

    @asynccontextmanager
    async def _turn_of(self, owner_id: int) -> AsyncIterator[None]:
        """Wait until no other template of this owner runs. Raises Busy if too many wait."""
        queued = self._queued.get(owner_id, 0)
        if queued > MAX_QUEUED_PER_OWNER:
            raise Busy
        self._queued[owner_id] = queued + 1
        lock = self._locks.setdefault(owner_id, asyncio.Lock())
        try:
            async with lock:
                yield
        finally:
            self._queued[owner_id] -= 1
            if not self._queued[owner_id]:
                del self._queued[owner_id], self._locks[owner_id]


def well_formed(template: str) -> str:
    """Return a text that can be a template, or the name of a ready-made one. Raises InvalidInput."""
    name = template.strip()
    if not name:
        raise InvalidInput.of("template", "A template cannot be blank.")
    if "{" not in name:
        if name not in READY_MADE:
            names = ", ".join(READY_MADE)
            raise InvalidInput.of(
                "template", f"This is neither a template with {{{{ … }}}} nor the name of one: {names}."
            )
        return name
    if len(template) > MAX_TEMPLATE_CHARACTERS:
        raise InvalidInput.of("template", f"A template has at most {MAX_TEMPLATE_CHARACTERS:,} characters.")
    return validation.storable(template, "template")


def _source(template: str) -> str:
    return READY_MADE.get(template, template)
