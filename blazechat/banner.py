"""What `blazechat serve` prints once it accepts connections."""

import shutil
import textwrap

from blazechat import __version__, listening
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
    if listening.is_reachable_from_outside(settings.host):
        text = f"{'  warning':{LABEL_COLUMNS}}{NO_TLS_WARNING}"
        lines += textwrap.wrap(text, width, subsequent_indent=" " * LABEL_COLUMNS, break_on_hyphens=False)
    lines += [
        f"  database    {database}",
        f"  API docs    {url}/docs",
        f"  chat        {command} chat {url}",
        "  first user  (becomes the administrator)\n",
        f"    curl {url}/api/auth/register -H 'content-type: application/json' \\",
        '      -d \'{"username":"alice","email":"alice@example.com","password":"wonderland"}\'\n',
        "  Ctrl-C stops it.",
        "─" * width,
    ]
    return "\n".join(lines)
