"""The template worker: a sandboxed process that renders templates of incoming webhooks.

`python -m blazechat.domain.integrations.template_worker MEMORY SECONDS` (see media/worker_loop.py).
"""

import sys
from typing import BinaryIO

from blazechat.domain.integrations import template_language
from blazechat.domain.integrations.template_protocol import Rendered, RenderFailure, RenderJob
from blazechat.media.worker_loop import serve


def _run(job: RenderJob, jobs: BinaryIO) -> Rendered | RenderFailure:
    return template_language.run(job)


if __name__ == "__main__":
    serve(sys.argv[1:], RenderJob, _run)
