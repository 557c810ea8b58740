"""Settings: names, defaults, and errors that say what would be right."""

import stat
from pathlib import Path

import pytest

from blazechat.config import Settings, SettingsError, load, secret_key_of, variable_of


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_seeds_names_and_the_env_file(tmp_path: Path) -> None:
    """As the seed prints its `.env`."""
    (tmp_path / ".env").write_text(
        "DATABASE_URL=postgresql://user:password@localhost/blazechat\n"
        f"SECRET_KEY={'ab' * 32}\nALGORITHM=HS512\nACCESS_TOKEN_EXPIRE_MINUTES=15\n"
        "BLAZECHAT_PORT=9000\nSOMEBODY_ELSES=1\n"
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
    """With what would be right, and without repeating what may be a secret."""
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
def test_database_urls_are_taken_as_written(url: str) -> None:
    """Whatever libpq takes; SQLAlchemy's spelling too."""
    kept = load(database_url=url).database_url
    assert kept is not None
    assert kept.partition("://")[2] == url.partition("://")[2]
    assert kept.startswith("postgresql://")


def test_a_key_is_made_once_and_kept_private(tmp_path: Path) -> None:
    """0600, the same at every start; SECRET_KEY goes before it."""
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
    """Settings may end up in a traceback."""
    assert "k" * 32 not in repr(load(secret_key="k" * 32))


def test_every_setting_says_what_it_is_for() -> None:
    """The description is what the docs are held against."""
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert variable_of(name).isupper()
