"""The manifest of a backup, written last: what the backup contains, and the checksums of its files.

`SHA256SUMS` lists all other files in the form of `sha256sum`; the manifest has the checksum of that list.
"""

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec

from blazechat.backup.errors import BackupError
from blazechat.backup.progress import Progress

FORMAT = 1
MANIFEST = "manifest.json"
CHECKSUMS = "SHA256SUMS"
DATABASE = "database.dump"
SECRET_KEY = "secret.key"  # noqa: S105
MEDIA = "media"
READ_BYTES = 1024 * 1024


class TableState(msgspec.Struct, frozen=True):
    """What one table contains."""

    rows: int
    last_id: int | None
    """The greatest `id`; None for an empty table, and for one without `id`."""


class MediaState(msgspec.Struct, frozen=True):
    """The stored objects of files that the database refers to."""

    is_included: bool
    location: str
    """Where the server stored them."""
    objects: int
    bytes: int
    missing: list[str]
    """Keys of objects that were missing in the storage."""


class Manifest(msgspec.Struct, frozen=True):
    """A description of one backup."""

    format: int
    blazechat: str
    """The version that made the backup."""
    created_at: str
    revision: str
    """Alembic's revision of the schema."""
    postgres: str
    """The version of the dumped server."""
    tables: dict[str, TableState]
    media: MediaState
    checksums: str
    """SHA-256 of `SHA256SUMS`."""


def write(folder: Path, manifest: Manifest) -> None:
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    write_private(folder / MANIFEST, text + b"\n")


def read(folder: Path) -> Manifest:
    """Read a manifest. Raises BackupError if the folder is no backup, or of a newer format."""
    if not folder.is_dir():
        raise BackupError(f"There is no folder {folder}.")
    try:
        content = (folder / MANIFEST).read_bytes()
        found = msgspec.json.decode(content)
        if isinstance(found, dict) and isinstance(found.get("format"), int) and found["format"] > FORMAT:
            raise BackupError(
                f"{folder} was made by a newer version of BlazeChat ({found.get('blazechat')})."
                " Install that version to restore it."
            )
        return msgspec.convert(found, Manifest)
    except FileNotFoundError:
        raise BackupError(
            f"{folder} is not a complete backup: it has no {MANIFEST}, which is written last."
        ) from None
    except OSError as error:
        raise BackupError(f"{folder / MANIFEST} cannot be read: {error.strerror}.") from error
    except msgspec.MsgspecError as error:
        raise BackupError(f"{folder / MANIFEST} is damaged: {error}.") from error


def write_checksums(folder: Path, checksums: dict[str, str]) -> str:
    """Write `SHA256SUMS` for files by path; return its own checksum."""
    lines = [f"{digest}  {path}\n" for path, digest in sorted(checksums.items())]
    content = "".join(lines).encode()
    write_private(folder / CHECKSUMS, content)
    return hashlib.sha256(content).hexdigest()


def verify(folder: Path, checksums_digest: str, progress: Progress) -> list[str]:
    """Read every listed file of a backup and compare it with its checksum; return their paths.

    Raises BackupError.
    """
    try:
        content = (folder / CHECKSUMS).read_bytes()
        if hashlib.sha256(content).hexdigest() != checksums_digest:
            raise BackupError(f"{folder / CHECKSUMS} is damaged: its checksum differs from the manifest's.")
        listed = [line.split("  ", 1) for line in content.decode().splitlines()]
        sizes = [_size_of(folder, path) for _, path in listed]
        done_bytes = 0
        for position, (digest, path) in enumerate(listed):
            if digest_of(folder / path) != digest:
                raise BackupError(f"{folder / path} is damaged: its checksum differs from {CHECKSUMS}.")
            done_bytes += sizes[position]
            progress.files(position + 1, len(listed), done_bytes, sum(sizes))
    except OSError as error:
        raise BackupError(f"{error.filename} cannot be read: {error.strerror}.") from error
    paths = [path for _, path in listed]
    if missing := {DATABASE, SECRET_KEY} - set(paths):
        raise BackupError(f"{folder / CHECKSUMS} does not list {', '.join(sorted(missing))}.")
    return paths


def _size_of(folder: Path, path: str) -> int:
    """Return the size of a file of the backup. Raises BackupError for a link, a pipe or a path outside: a
    restore as root would read and store what its author cannot."""
    places = [folder / part for part in (Path(path), *Path(path).parents) if part != Path()]
    status = (folder / path).lstat()
    is_inside = not Path(path).is_absolute() and ".." not in Path(path).parts
    if not is_inside or not stat.S_ISREG(status.st_mode) or any(place.is_symlink() for place in places):
        raise BackupError(f"{folder / path} is not a regular file in the backup.")
    return status.st_size


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for chunk in _chunks(file.fileno()):
            digest.update(chunk)
    return digest.hexdigest()


def write_private(path: Path, content: bytes) -> None:
    """Write a file of mode 0600. When this returns, it survives a power failure. Raises BackupError."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
    except OSError as error:
        raise BackupError(f"{path} cannot be written: {error.strerror}.") from error


def flush_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _chunks(descriptor: int) -> Iterator[bytes]:
    while chunk := os.read(descriptor, READ_BYTES):
        yield chunk
