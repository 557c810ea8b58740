"""What `blazechat serve` prints once it accepts connections."""

import shutil
import textwrap

from blazechat import __version__, compiled_core, listening, python_build
from blazechat.config import Settings

MAX_COLUMNS = 100
LABEL_COLUMNS = 14
NO_TLS_WARNING = (
    "Other machines can connect, and there is no TLS: passwords and messages travel unencrypted. Put a"
    " reverse proxy with TLS in front (docs/operations.md)."
)


def banner(settings: Settings, port: int, *, database: str, command: str) -> str:
    """Return the banner of a server on `port`. `database` is the database in words; `command` is how this
    program was called."""
    urls = listening.urls(settings.host, port)
    # Commands for this machine: the loopback address, which comes last, works on every network.
    url = urls[-1]
    width = min(shutil.get_terminal_size().columns, MAX_COLUMNS)
    lines = [
        f"\nBlazeChat {__version__}",
        "─" * width,
        f"  listening   {urls[0]}"
        if len(urls) == 1
        else "  listening   on all interfaces of this machine:",
    ]
    if len(urls) > 1:
        lines += [f"              {each}" for each in urls]
    if not listening.is_reachable_from_outside(settings.host):
        lines.append("              on this machine only; for other machines: --host 0.0.0.0")
    else:
        lines += _wrapped("  warning", NO_TLS_WARNING, width)
    lines += [
        f"  database    {database}",
        *_wrapped("  core", f"{compiled_core.install()} ({python_build.summary()})", width),
        f"  API docs    {url}/docs",
        f"  chat        {command} chat {url}",
        "  accounts    Ctrl+N in the chat's log-in form creates one; the first one is the administrator\n",
        "  Ctrl-C stops it.",
        "─" * width,
    ]
    return "\n".join(lines)


def _wrapped(label: str, text: str, width: int) -> list[str]:
    line = f"{label:{LABEL_COLUMNS}}{text}"
    return textwrap.wrap(line, width, subsequent_indent=" " * LABEL_COLUMNS, break_on_hyphens=False)
