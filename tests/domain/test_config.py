"""Settings: names, defaults, descriptions, and errors that say what is expected."""

import re
import stat
from pathlib import Path

import pytest

from blazechat.config import Settings, SettingsError, environment_name, load
from blazechat.secret_key import secret_key_of


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_names_without_prefix_and_the_env_file(tmp_path: Path) -> None:
    """`.env` is read, unknown names in it are ignored, and arguments take precedence over it."""
    (tmp_path / ".env").write_text(
        "DATABASE_URL=postgresql://user:password@localhost/blazechat\n"
        f"SECRET_KEY={'ab' * 32}\nALGORITHM=HS512\nACCESS_TOKEN_EXPIRE_MINUTES=15\n"
        "BLAZECHAT_PORT=9000\nUNRELATED=1\n"
    )
    settings = load()
    assert settings.database_url == "postgresql://user:password@localhost/blazechat"
    assert settings.secret_key == "ab" * 32
    assert (settings.algorithm, settings.access_token_expire_minutes) == ("HS512", 15)
    assert settings.port == 9000
    assert load(port=1).port == 1


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("DATABASE_URL", "mysql://x", "postgresql://"),
        ("DATABASE_URL", "nonsense", "postgresql://"),
        ("SECRET_KEY", "your_secret_key_here", "32"),
        ("ALGORITHM", "none", "HS256"),
        ("ALGORITHM", "RS256", "HS256"),
        ("ACCESS_TOKEN_EXPIRE_MINUTES", "0", "1"),
        ("ACCESS_TOKEN_EXPIRE_MINUTES", "soon", "integer"),
        ("BLAZECHAT_PORT", "99999", "65535"),
        ("BLAZECHAT_REGISTRATION", "maybe", "open"),
        ("BLAZECHAT_ALLOWED_ORIGINS", "chat.example.com", "https://"),
        ("BLAZECHAT_BCRYPT_ROUNDS", "99", "16"),
        ("BLAZECHAT_POSTGRES_OPTIONS", "work_mem", "name=value"),
    ],
)
def test_a_wrong_setting_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, hint: str
) -> None:
    """The error names the variable, says what is expected, and does not repeat a secret."""
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as error:
        load()
    assert str(error.value).startswith(f"{name}: ")
    assert hint in str(error.value)
    assert value not in str(error.value).replace("number", "") or name != "SECRET_KEY"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p@h:5432/d?sslmode=require",
        "postgres://u:p@h/d",
        "postgresql+asyncpg://u:p@h/d",
        "postgresql:///d?host=/var/run/postgresql",
    ],
)
def test_database_urls_are_passed_on_as_written(url: str) -> None:
    """Any URL that libpq accepts, and SQLAlchemy's scheme."""
    kept = load(database_url=url).database_url
    assert kept is not None
    assert kept.partition("://")[2] == url.partition("://")[2]
    assert kept.startswith("postgresql://")


def test_a_key_is_created_once_and_kept_private(tmp_path: Path) -> None:
    """Its file has mode 0600 and is reused by every start. SECRET_KEY takes precedence."""
    settings = load(data_dir=tmp_path / "data")
    key = secret_key_of(settings)
    assert len(key) == 64
    assert secret_key_of(settings) == key
    mode = (tmp_path / "data" / "secret.key").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600
    assert secret_key_of(load(secret_key="k" * 32)) == "k" * 32
    (tmp_path / "data" / "secret.key").write_text("short")
    with pytest.raises(SettingsError):
        secret_key_of(settings)


def test_secrets_are_not_printed() -> None:
    """A traceback can contain the settings."""
    assert "k" * 32 not in repr(load(secret_key="k" * 32))


def test_every_setting_is_described_with_its_bounds() -> None:
    """The settings table in the docs is compared with these descriptions."""
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert environment_name(name).isupper()
        for constraint in field.metadata:
            for kind in ("ge", "le"):
                bound = getattr(constraint, kind, None)
                if bound is not None:
                    number = rf"(?<![\d,.]){re.escape(_in_words(name, bound))}(?![\d,]*\d)"
                    assert re.search(number, field.description), (name, bound)


def _in_words(name: str, bound: float) -> str:
    """Return a bound as descriptions write it: sizes in binary units, other numbers with commas."""
    if name.endswith("_bytes"):
        for exponent, unit in enumerate(("KiB", "MiB", "GiB", "TiB", "PiB", "EiB"), 1):
            if 1 <= bound / 1024**exponent < 1024:
                return f"{bound // 1024**exponent} {unit}"
    return f"{bound:,}"
