"""The `blazechat` command: sentences in place of tracebacks, and `uvicorn app.main:app`."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from tests.harness import NO_TLS

ROOT = Path(__file__).parent.parent.parent


def run(*arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command in `folder` and return its result."""
    return subprocess.run(
        [sys.executable, "-m", "blazechat", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "BLAZECHAT_BCRYPT_ROUNDS": "10", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_doctor_finds_no_problem(open_folder: Path) -> None:
    """On a new folder every line begins with a tick."""
    done = run("doctor", folder=open_folder)
    lines = done.stdout.splitlines()
    subjects = {line.split()[1] for line in lines if line.startswith(("✓", "✗"))}
    assert subjects >= {
        "versions",
        "disk",
        "secret",
        "passwords",
        "database",
        "encoding",
        "locale",
        "schema",
    }
    wrong = [line for line in lines if line.startswith("✗") and line.split()[1] != "files"]
    assert wrong == [], done.stdout
    again = run("migrate", folder=open_folder)
    assert again.returncode == 0
    assert "newest" in again.stdout


def test_doctor_says_what_to_do(open_folder: Path) -> None:
    """An unreachable database and a weak setting get a remedy each; passwords are not printed."""
    done = run(
        "doctor",
        folder=open_folder,
        DATABASE_URL="postgresql://nobody:secret-password@127.0.0.1:1/none",
        BLAZECHAT_BCRYPT_ROUNDS="4",
    )
    assert done.returncode == 1
    assert re.search(r"✗ database .*\n +→ ", done.stdout)
    assert re.search(r"✗ passwords .*\n +→ .*BLAZECHAT_BCRYPT_ROUNDS", done.stdout)
    assert "secret-password" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"SECRET_KEY": "short"}, "SECRET_KEY: must have at least 32"),
        ({"BLAZECHAT_DATABASE_POOL": "many"}, "BLAZECHAT_DATABASE_POOL: "),
        ({"DATABASE_URL": "mysql://x"}, "DATABASE_URL: must look like postgresql://"),
        ({"DATABASE_URL": "postgresql://u:p@127.0.0.1:1/x"}, "the database cannot be reached"),
        ({"BLAZECHAT_POSTGRES_OPTIONS": "nonsense=1"}, "nonsense"),
        ({"BLAZECHAT_DATA_DIR": "/proc/nowhere"}, "/proc/nowhere"),
    ],
)
def test_problems_are_reported_in_sentences(
    open_folder: Path, environment: dict[str, str], words: str
) -> None:
    """Exit code 1 and the reason, without traceback and without secrets."""
    done = run("serve", "--port", "0", folder=open_folder, **environment)
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert "u:p@" not in done.stderr


def test_port_in_use_is_reported(open_folder: Path) -> None:
    """Before the database is started."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run("serve", "--port", str(port), folder=open_folder)
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1 port {port}" in done.stderr
    assert not (open_folder / "blazechat-data" / "postgres").exists()


def test_uvicorn_runs_the_app(open_folder: Path) -> None:
    """`uvicorn app.main:app` works on plain ASGI, and its log has no token."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "app.main:app", "--port", str(port), "--log-level", "debug"],
        cwd=ROOT,
        env={**os.environ, "BLAZECHAT_DATA_DIR": str(open_folder / "data")},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "running on" in line:
                break
        url = f"http://127.0.0.1:{port}"
        answer = httpx2.get(f"{url}/readyz?token=a-secret-token", trust_env=False, verify=NO_TLS)
        assert answer.json() == {"status": "ok"}
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
    assert "/readyz" in rest
    assert "a-secret-token" not in rest


def test_version(open_folder: Path) -> None:
    """`--version` prints name and version."""
    assert run("--version", folder=open_folder).stdout.startswith("BlazeChat ")
