"""All settings with their defaults; setting_loader.py reads them from the environment and `.env`.

Environment names begin with `BLAZECHAT_`; nine of them work without that prefix as well. docs/operations.md
has the same list for operators.
"""

from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from blazechat.setting_types import (
    DatabaseUrl,
    MediaStore,
    MediaTypes,
    Origins,
    PostgresOptions,
    PublicUrl,
    RetrySchedule,
    SecretKey,
)


class SettingsError(Exception):
    """A setting is wrong. The message names it and says what is expected."""


def _unprefixed(name: str) -> AliasChoices:
    """Accept the variable without the prefix, and with it."""
    return AliasChoices(name, f"BLAZECHAT_{name}")


class Settings(BaseSettings):
    """The settings of one server. setting_loader.py builds them and words errors for operators."""

    model_config = SettingsConfigDict(
        env_prefix="BLAZECHAT_",
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        validate_default=False,
        hide_input_in_errors=True,
    )

    # Address and folder
    host: str = Field(
        "127.0.0.1",
        description="Address to listen on; `0.0.0.0` for all interfaces. By default only this machine can"
        " connect.",
    )
    port: int = Field(8000, ge=0, le=65535, description="TCP port, 0 to 65,535; 0 takes a free port.")
    data_dir: Path = Field(
        Path("blazechat-data"),
        description="Folder of the embedded database, the secret key and uploaded files.",
    )
    core: Literal["auto", "compiled", "interpreted"] = Field(
        "auto",
        description="How the hot path runs: `compiled` (without a compiled core, the server does not"
        " start), `interpreted`, or `auto`: compiled if there is a compiled core that fits.",
    )

    # Database
    database_url: DatabaseUrl = Field(
        None,
        repr=False,
        validation_alias=_unprefixed("DATABASE_URL"),
        description="`postgresql://user:password@host:5432/database` of PostgreSQL 14 or newer; without"
        " it, the embedded PostgreSQL.",
    )
    database_hostname: str = Field(
        "",
        validation_alias=_unprefixed("DATABASE_HOSTNAME"),
        description="Host of the database. With the next four it replaces `DATABASE_URL`; special"
        " characters are written as they are.",
    )
    database_port: int | None = Field(
        None,
        ge=1,
        le=65535,
        validation_alias=_unprefixed("DATABASE_PORT"),
        description="Port of the database, 1 to 65,535; without it, 5432.",
    )
    database_name: str = Field(
        "", validation_alias=_unprefixed("DATABASE_NAME"), description="Name of the database."
    )
    database_username: str = Field(
        "", validation_alias=_unprefixed("DATABASE_USERNAME"), description="User of the database."
    )
    database_password: str = Field(
        "",
        validation_alias=_unprefixed("DATABASE_PASSWORD"),
        repr=False,
        description="Password of that user.",
    )
    database_pool: int = Field(
        8, ge=2, le=200, description="Pooled connections, 2 to 200, for everything but storing messages."
    )
    postgres_options: PostgresOptions = Field(
        "",
        description="Further settings of the embedded PostgreSQL, separated by spaces: `shared_buffers=1GB"
        " work_mem=16MB`.",
    )

    # Tokens and passwords
    secret_key: SecretKey = Field(
        None,
        validation_alias=_unprefixed("SECRET_KEY"),
        repr=False,
        description="Key that signs access tokens, at least 32 characters; without it, a random key is"
        " created and kept in the data folder.",
    )
    algorithm: Literal["HS256", "HS384", "HS512"] = Field(
        "HS256",
        validation_alias=_unprefixed("ALGORITHM"),
        description="Signature algorithm of access tokens: `HS256`, `HS384` or `HS512`.",
    )
    access_token_expire_minutes: int = Field(
        30,
        ge=1,
        le=1440,
        validation_alias=_unprefixed("ACCESS_TOKEN_EXPIRE_MINUTES"),
        description="Lifetime of an access token in minutes, 1 to 1,440.",
    )
    session_days: int = Field(
        30,
        ge=1,
        le=3650,
        description="Days, 1 to 3,650, after which a session expires unless it is refreshed.",
    )
    bcrypt_rounds: int = Field(
        12,
        ge=4,
        le=16,
        description="Cost of a password hash, 4 to 16; each step doubles the time. OWASP asks for 10 or"
        " more.",
    )
    hashing_threads: int = Field(
        1,
        ge=1,
        le=64,
        description="Threads that compute password hashes, 1 to 64; one, so that log-ins leave the other"
        " cores to messages.",
    )
    password_min_length: int = Field(
        6,
        ge=1,
        le=72,
        description="Minimum length of a new password in characters, 1 to 72. A password has at most 72"
        " bytes, as many as bcrypt reads.",
    )
    registration: Literal["open", "invitation", "closed"] = Field(
        "open",
        description="Who may register: everyone (`open`), holders of an invitation (`invitation`), or no"
        " one (`closed`). The first user always may.",
    )
    directory: Literal["everyone", "shared_chats", "nobody"] = Field(
        "everyone",
        description="Whom a user can list and search: everyone (`everyone`), users with whom they share a"
        " chat (`shared_chats`), or nobody (`nobody`). A user is found by their exact name in any case.",
    )
    login_attempts_per_user: int = Field(
        10,
        ge=1,
        le=10_000,
        description="Failed log-ins to one account within five minutes before further ones are refused, 1"
        " to 10,000.",
    )
    login_attempts_per_address: int = Field(
        100,
        ge=1,
        le=1_000_000,
        description="Failed log-ins from one IP address within five minutes before further ones are"
        " refused, 1 to 1,000,000; more, because many users can share an address.",
    )

    # Limits
    max_body_bytes: int = Field(
        1_048_576,
        ge=1024,
        le=1_073_741_824,
        description="Maximum body of an HTTP request in bytes, 1 KiB to 1 GiB; uploads of files have their"
        " own limit.",
    )
    max_frame_bytes: int = Field(
        262_144,
        ge=65_536,
        le=16_777_216,
        description="Maximum message from a WebSocket client in bytes, 64 KiB to 16 MiB.",
    )
    max_chat_members: int = Field(
        10_000, ge=2, le=1_000_000, description="Maximum members of one chat, 2 to 1,000,000."
    )
    max_queued_sends: int = Field(
        10_000,
        ge=1,
        le=1_000_000,
        description="Maximum queued sends, 1 to 1,000,000; further sends fail with `busy`.",
    )
    send_timeout: float = Field(
        10.0,
        ge=0.1,
        le=300,
        description="Seconds, 0.1 to 300, for which a send is retried while the database cannot be"
        " reached; then it fails with `unavailable`.",
    )
    outbox_bytes: int = Field(
        1_048_576,
        ge=65_536,
        le=1_073_741_824,
        description="Maximum bytes that wait for one slow socket, 64 KiB to 1 GiB; with more, the socket"
        " is closed, and the client resumes later.",
    )

    # Files
    media_store: MediaStore = Field(
        "",
        description="Where files are stored: `s3://bucket/folder`, `gs://…`, `az://…`, or a folder;"
        " without it, `media` in the data folder.",
    )
    max_file_bytes: int = Field(
        2_147_483_648, ge=1, le=2**50, description="Maximum size of an uploaded file in bytes, 1 to 1 PiB."
    )
    media_quota_bytes: int = Field(
        10_737_418_240, ge=1, le=2**60, description="Maximum bytes of all files of one user, 1 to 1 EiB."
    )
    media_types: MediaTypes = Field(
        ["*/*"],
        min_length=1,
        description="Accepted media types, separated by commas: `image/*,audio/*,application/pdf`. The"
        " type is detected from the bytes of the file.",
    )
    media_hours: float = Field(
        24.0,
        gt=0,
        le=8760,
        description="Hours, up to 8,760, after which a file without a message, or an upload without"
        " progress, is deleted.",
    )
    media_rate_beside_chat: int = Field(
        15_000_000,
        ge=0,
        le=10**12,
        description="Maximum bytes per second of all uploads together while messages are sent, up to"
        " 1,000,000,000,000, so that messages go first; 0 for no limit. Without messages, uploads have no"
        " limit.",
    )
    max_image_pixels: int = Field(
        64_000_000, ge=1, le=1_000_000_000, description="Maximum pixels of an image, 1 to 1,000,000,000."
    )
    media_processes: int = Field(
        1,
        ge=1,
        le=64,
        description="Processes that inspect files and make thumbnails, 1 to 64; one, so that they leave"
        " the other cores to messages.",
    )
    media_seconds: float = Field(
        20.0, gt=0, le=600, description="Maximum seconds for the inspection of one file, up to 600."
    )
    media_memory_bytes: int = Field(
        1_073_741_824,
        ge=134_217_728,
        le=2**40,
        description="Maximum memory of each process that inspects files, in bytes, 128 MiB to 1 TiB.",
    )

    # Sockets
    heartbeat_seconds: float = Field(
        25.0,
        ge=1,
        le=3600,
        description="Seconds without a frame from the client after which the server sends a ping, 1 to"
        " 3,600; after twice as long it closes the socket.",
    )
    login_frame_seconds: float = Field(
        5.0, ge=0.1, le=60, description="Seconds within which an open socket must log in, 0.1 to 60."
    )
    commands_per_second: int = Field(
        100,
        ge=1,
        le=1_000_000,
        description="Sustained rate of commands of one socket, 1 to 1,000,000 per second; further commands"
        " fail with `too_many_commands`.",
    )
    command_burst: int = Field(
        500,
        ge=1,
        le=1_000_000,
        description="Commands that one socket may send in one burst, 1 to 1,000,000.",
    )
    sockets_per_user: int = Field(
        100, ge=1, le=100_000, description="Maximum open sockets of one user on one server, 1 to 100,000."
    )
    resume_limit: int = Field(
        2_000,
        ge=1,
        le=1_000_000,
        description="Maximum missed changes of a chat that a resuming client receives one by one, 1 to"
        " 1,000,000; with more it gets `reset` and reloads the chat.",
    )
    presence_grace_seconds: float = Field(
        10.0,
        ge=0,
        le=600,
        description="Seconds, 0 to 600, for which a user stays online after the last socket has closed, so"
        " that a reconnect is not shown as offline.",
    )

    # Webhooks
    hook_messages_per_minute: int = Field(
        120,
        ge=1,
        le=1_000_000,
        description="Maximum messages per minute of one incoming webhook, 1 to 1,000,000.",
    )
    webhook_allowed_hosts: str = Field(
        "",
        description="Private hosts and networks that webhooks may call, separated by commas:"
        " `hooks.internal,10.0.0.0/8`. By default webhooks may call public addresses only.",
    )
    webhook_timeout: float = Field(
        15.0, gt=0, le=300, description="Maximum seconds for one call of a webhook, up to 300."
    )
    webhook_retry_seconds: RetrySchedule = Field(
        [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400],
        max_length=100,
        description="Seconds before each retry of an event, separated by commas: at most 100 retries, at"
        " most 30 days each. After the last one the event is dead. The default is that of Standard"
        " Webhooks, about three days.",
    )
    webhook_disable_days: float = Field(
        5.0, gt=0, le=365, description="Days of failed calls, up to 365, after which a webhook is disabled."
    )
    webhook_log_days: float = Field(
        30.0, gt=0, le=3650, description="Days, up to 3,650, for which delivered and dead events are kept."
    )

    # Web
    public_url: PublicUrl = Field(
        "",
        description="URL of this server for other programs, as in incoming webhooks:"
        " `https://chat.example.com`; without it, the URL by which their creator reached the server.",
    )
    allowed_origins: Origins = Field(
        [],
        description="Origins of other web pages that may use this server, separated by commas:"
        " `https://chat.example.com`; `*` for all. By default only the server's own pages may.",
    )

    # Logs
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Minimum level of logged events: `debug`, `info`, `warning` or `error`."
    )
    log_format: Literal["auto", "text", "json"] = Field(
        "auto",
        description="`text`, `json` (one object per line), or `auto`: text on a terminal, JSON otherwise.",
    )
    access_log: bool = Field(
        False, description="Log every request, `true` or `false`; failed requests are always logged."
    )


def environment_name(field: str) -> str:
    """Return the environment variable that sets a field of `Settings`."""
    alias = Settings.model_fields[field].validation_alias
    if isinstance(alias, AliasChoices):
        return str(alias.choices[0])
    return f"BLAZECHAT_{field.upper()}"


def media_location(settings: Settings) -> Path | str:
    """Return where files are stored: a folder, or the URL of a bucket."""
    if "://" in settings.media_store:
        return settings.media_store
    return Path(settings.media_store) if settings.media_store else settings.data_dir / "media"
