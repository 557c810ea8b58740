"""What a backup contains and what a restore has done, in sentences."""

from pathlib import Path

from blazechat.backup.manifest import Manifest
from blazechat.backup.media_copy import missing_in_words
from blazechat.backup.progress import in_words
from blazechat.config import Settings, media_location
from blazechat.database.source import database_name


def of_backup(folder: Path, manifest: Manifest) -> str:
    lines = [f"The backup is complete and verified: {folder.absolute()}", *_contents(manifest)]
    return "\n".join([*lines, "  secret    included: keep the folder private"])


def of_restore(settings: Settings, folder: Path, manifest: Manifest, *, command: str) -> str:
    """Return what was restored, and what to know before the server is started.

    `command` is how this program was called.
    """
    lines = [
        f"{folder.absolute()} is restored and checked:",
        f"  into      {_targets(settings)}",
        *_contents(manifest),
    ]
    if settings.secret_key is not None:
        lines.append(
            "SECRET_KEY is set, and takes precedence over the restored key. Remove it, unless it is the"
            " same as before: with another key, access tokens become invalid."
        )
    if not manifest.media.is_included:
        lines.append(f"Files are expected where they were, in {media_location(settings)}.")
    lines.append(f"Start the server with: {command} serve --data-dir {settings.data_dir}")
    return "\n".join(lines)


def _targets(settings: Settings) -> str:
    targets: list[object] = [settings.data_dir.absolute()]
    targets += [database_name(settings)] * (settings.database_url is not None)
    targets += [media_location(settings)] * bool(settings.media_store)
    return ", ".join(map(str, targets))


def _contents(manifest: Manifest) -> list[str]:
    tables = manifest.tables
    counted = {name: tables[name].rows for name in ("users", "chats", "messages") if name in tables}
    media = manifest.media
    if media.is_included:
        files = f"{media.objects - len(media.missing):,} objects, {in_words(media.bytes)}"
    else:
        files = f"not included (--without-media): {media.objects:,} objects stay in {media.location} alone"
    rows_in_words = ", ".join(
        f"{rows:,} {name.removesuffix('s') if rows == 1 else name}" for name, rows in counted.items()
    )
    lines = [
        f"  database  {rows_in_words} (revision {manifest.revision})",
        f"  files     {files}",
    ]
    if media.missing:
        lines.append(f"  missing   {missing_in_words(media.missing)}")
    return lines
