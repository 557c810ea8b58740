"""Files on this machine: typed paths, safe names for downloads, and the system's file opener."""

import os
import subprocess
import sys
from pathlib import Path

from blazechat.terminal import sanitize

OPENERS_BY_PLATFORM = {"darwin": "open"}
"""Other platforms have xdg-open. On Windows, Python has a function instead."""
DESKTOP_VARIABLES = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
"""Without one of these, xdg-open would start a browser for the terminal, behind this app."""
OPENER_TIMEOUT_SECONDS = 20
MAX_NAME_BYTES = 180
"""Leaves room for a number that makes the name unique."""
MAX_SUFFIX_BYTES = 20


def split_path(text: str) -> tuple[Path | None, str]:
    """Split a text into the path at its start and the rest. The path is None if the text is blank.

    The path can be in quotes, or have escaped spaces, as terminals paste the path of a dragged file.
    """
    text = text.strip()
    if text[:1] in ("'", '"') and text.find(text[0], 1) > 0:
        name, _, rest = text[1:].partition(text[0])
        return Path(name).expanduser(), rest.strip()
    name, at = "", 0
    while at < len(text) and not text[at].isspace():
        at += text[at] == "\\" and at + 1 < len(text)
        name, at = name + text[at], at + 1
    return (Path(name).expanduser() if name else None), text[at:].strip()


def download_target(typed: str = "") -> Path:
    """Return the typed path; without one `~/Downloads`, or the current folder if that does not exist."""
    if typed:
        return Path(typed).expanduser()
    folder = Path.home() / "Downloads"
    return folder if folder.is_dir() else Path.cwd()


def safe_name(name: str) -> str:
    """Return a safe form of an untrusted file name.

    It has no folders, no control characters and no leading dot, and at most `MAX_NAME_BYTES`. It keeps a
    short suffix.
    """
    allowed = "".join(c for c in sanitize.for_input(name) if c not in '/\\:*?"<>|\n').strip(". ")
    stem, dot, suffix = allowed.rpartition(".")
    suffix = f"{dot}{suffix}" if stem and len(suffix.encode()) < MAX_SUFFIX_BYTES else ""
    stem_bytes = MAX_NAME_BYTES - len(suffix.encode())
    stem = allowed.removesuffix(suffix).encode()[:stem_bytes].decode(errors="ignore")
    return f"{stem}{suffix}".strip(". ") or "file"


def reserve_path(name: str, target: Path) -> Path:
    """Create an empty file and return its path. Raises OSError.

    If `target` is a folder, the file gets the safe form of `name` in it. Otherwise `target` is its path. If
    a file has that path already, a number is added.
    """
    path = target / safe_name(name) if target.is_dir() else target
    free, number = path, 1
    while True:
        try:
            free.touch(exist_ok=False)
        except FileExistsError:
            free, number = path.with_name(f"{path.stem} ({number}){path.suffix}"), number + 1
        else:
            return free


def open_with_system(path: Path) -> None:
    """Open a file in the system's program for its type. Raises OSError if there is none."""
    if sys.platform == "win32":
        os.startfile(path)  # noqa: S606 (the user opened it, and confirmed an unsafe type)
        return
    opener = OPENERS_BY_PLATFORM.get(sys.platform, "xdg-open")
    try:
        done = _run_opener(opener, str(path))
    except FileNotFoundError:
        raise OSError(0, f"this machine has no {opener}; the file was saved as {path}") from None
    except subprocess.TimeoutExpired:
        return  # some openers run until the program that they start ends
    if done.returncode:
        raise OSError(0, f"no program opens this type of file; it was saved as {path}")


def open_url(url: str) -> bool:
    """Open a URL in the system's program for it. Return False if there is none, as on a server."""
    if sys.platform == "win32":
        os.startfile(url)  # noqa: S606 (the user opened it; it is of the web or a mail address)
        return True
    opener = OPENERS_BY_PLATFORM.get(sys.platform, "xdg-open")
    has_desktop = any(os.environ.get(name) for name in DESKTOP_VARIABLES)
    if opener == "xdg-open" and not has_desktop:
        return False
    try:
        return _run_opener(opener, url).returncode == 0
    except FileNotFoundError:
        return False
    except subprocess.TimeoutExpired:
        return True  # the opener runs until the browser ends


def _run_opener(opener: str, target: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(  # noqa: S603 (a program of the system, without a shell)
        [opener, target],
        capture_output=True,
        timeout=OPENER_TIMEOUT_SECONDS,
        check=False,
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # without the terminal, which belongs to this app
    )
