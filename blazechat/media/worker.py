"""The media worker: a sandboxed process that inspects uploaded files for the server.

`python -m blazechat.media.worker MEMORY SECONDS`: the bytes of address space that the process may use, and
the seconds that a job may take. worker_loop.py reads its jobs and writes its results.
"""

import sys
import traceback
from typing import BinaryIO

from blazechat.media import audio_video, images
from blazechat.media.file_types import AUDIO_VIDEO_PREFIXES, media_type_of
from blazechat.media.metadata import strip
from blazechat.media.worker_loop import serve
from blazechat.media.worker_protocol import FileInfo, InspectionJob, RejectedFile

METADATA_ONLY_TYPES = ("image/heic", "image/heif")
"""Images whose metadata the worker can remove, but which it cannot decode."""


def _run(job: InspectionJob, jobs: BinaryIO) -> FileInfo | RejectedFile:
    try:
        return _inspect(job, jobs.read(job.head_bytes), jobs.read(job.tail_bytes))
    except Exception as error:  # noqa: BLE001 -- decoders raise errors of any type
        reason = images.rejection_reason(error)
        if reason is None:
            traceback.print_exc()
        return RejectedFile(reason or images.UNREADABLE_IMAGE)


def _inspect(job: InspectionJob, head: bytes, tail: bytes) -> FileInfo:
    media_type = media_type_of(head)
    if media_type.startswith(AUDIO_VIDEO_PREFIXES):
        return audio_video.inspect(media_type, job.file_bytes, head, tail)
    if media_type not in images.DECODERS and media_type not in METADATA_ONLY_TYPES:
        return FileInfo(media_type)
    if len(head) < job.file_bytes:
        raise images.ImageRejected("The image is larger than this server accepts.")
    if media_type in METADATA_ONLY_TYPES:
        return FileInfo(media_type, patches=strip.find_patches(head, "HEIF", orientation=1))
    return images.inspect(head, media_type, job.max_pixels, job.thumbnail_sides)


if __name__ == "__main__":
    serve(sys.argv[1:], InspectionJob, _run)
