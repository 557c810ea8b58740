"""The `blazechat` command: sentences in place of tracebacks, and `uvicorn app.main:app`."""

import asyncio
import contextlib
import itertools
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import psutil
import pytest

from blazechat.banner import banner
from blazechat.database.postmaster import Postmaster
from blazechat.database_url import DatabaseAddress
from blazechat.listening import ListenError, bound_socket
from tests.conftest import NewDatabase
from tests.harness import NO_TLS, settings_for
from tests.processes import child

ROOT = Path(__file__).parent.parent.parent
INTERRUPTIBLE = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from blazechat.__main__ import main
main()
"""
"""The command with Ctrl-C turned on: a test run in the background of a script ignores it."""


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
    assert [line for line in lines if line.startswith("✗")] == [], done.stdout
    assert done.returncode == 0
    assert done.stderr == ""
    assert "✓ server     not running" in done.stdout
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
        (
            {"DATABASE_URL": "postgresql://u:p@127.0.0.1:1/x"},
            "PostgreSQL at 127.0.0.1 port 1 (database x, user u) cannot be used: Connection refused.",
        ),
        (
            {"DATABASE_URL": "postgresql://u:p@127.0.0.1:1/x?sslmode=some"},
            "`sslmode` parameter must be one",
        ),
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


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("192.0.2.77", "it is not an address of this machine. Choose one with --host: "),
        ("nowhere.invalid", "this name is not known. --host takes an address or a name of this machine: "),
    ],
)
def test_a_wrong_host_is_not_advised_another_port(host: str, words: str) -> None:
    with pytest.raises(ListenError) as error, bound_socket(host, 8000):
        pass
    assert f"cannot listen on {host}: {words}" in str(error.value)
    assert "127.0.0.1" in str(error.value)
    assert "--port" not in str(error.value)


def test_a_damaged_secret_key_is_noticed_before_the_database_starts(open_folder: Path) -> None:
    data = open_folder / "blazechat-data"
    data.mkdir()
    (data / "secret.key").write_bytes(b"\xff\xfe damaged")
    done = run("serve", "--port", "0", folder=open_folder)
    assert done.returncode == 1
    assert "secret.key is damaged" in done.stderr
    assert not (data / "postgres").exists()


def alembic(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `alembic upgrade head` with a copy of the configuration in `folder`."""
    text = (ROOT / "alembic.ini").read_text()
    (folder / "alembic.ini").write_text(text.replace("= blazechat/", f"= {ROOT}/blazechat/"))
    return subprocess.run(
        [sys.executable, "-m", "alembic", "upgrade", "head"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"DATABASE_URL": "nonsense"}, "DATABASE_URL: must look like postgresql://"),
        ({"DATABASE_URL": "postgresql://u:p@127.0.0.1:1/x"}, "PostgreSQL at 127.0.0.1 port 1 (database x"),
    ],
)
def test_alembic_prints_a_sentence(open_folder: Path, environment: dict[str, str], words: str) -> None:
    done = alembic(open_folder, **environment)
    output = " ".join((done.stdout + done.stderr).split())
    assert done.returncode != 0
    assert f"FAILED: {words}" in output or f"FAILED: A setting is wrong. {words}" in output
    assert "Traceback" not in output
    assert "u:p@" not in output


async def test_alembic_and_the_server_use_the_five_variables(
    open_folder: Path, new_database: NewDatabase
) -> None:
    """Both reach the same database, and a password that the server does not ask for does no harm."""
    address = DatabaseAddress.parse(await new_database())
    environment = {
        "DATABASE_HOSTNAME": address.host,
        "DATABASE_NAME": address.name,
        "DATABASE_USERNAME": address.user,
        "DATABASE_PASSWORD": "p@s/s #%41",
    }
    done = await asyncio.to_thread(alembic, open_folder, **environment)
    assert done.returncode == 0, done.stderr
    done = await asyncio.to_thread(run, "migrate", folder=open_folder, **environment)
    assert "newest" in done.stdout, done.stderr
    assert not (open_folder / "blazechat-data" / "postgres").exists()


@contextlib.contextmanager
def made(folder: Path, *arguments: str) -> Iterator[tuple[int, int]]:
    """Run `make run` on a terminal of its own, as a shell does; yield its process and the terminal."""
    commands = Path(sys.executable).parent
    options = " ".join(["--port", "0", "--data-dir", str(folder / "data"), *arguments])
    pid, terminal = pty.fork()
    if pid == 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a test run in the background ignores it
        os.environ.pop("MAKELEVEL", None)
        os.environ["BLAZECHAT_PROT"] = "1"
        make = ["make", "-C", str(ROOT), "-o", ".venv/.run", "run", f"BIN={commands}", f"ARGS={options}"]
        os.execvp("make", make)  # noqa: S606
    try:
        yield pid, terminal
    finally:
        os.close(terminal)
        with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
            for child in psutil.Process(pid).children(recursive=True):
                child.terminate()


def read_until(terminal: int, end: str) -> str:
    """Return what a terminal shows up to `end`."""
    output = b""
    while end.encode() not in output:
        chunk = os.read(terminal, 4096)
        assert chunk, output
        output += chunk
    return output.decode()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "0.0.0.0"])  # noqa: S104
def test_banner_says_who_can_connect(host: str) -> None:
    """And how accounts are created, in the app; so it is right for a server that has accounts, too."""
    settings = settings_for("postgresql://nowhere/x", host=host)
    shown = banner(settings, 8000, database="chat", command=".venv/bin/blazechat")
    assert ("on this machine only; for other machines: --host 0.0.0.0" in shown) == (host != "0.0.0.0")  # noqa: S104
    assert ("there is no TLS" in " ".join(shown.split())) == (host == "0.0.0.0")  # noqa: S104
    assert "Ctrl+N in the chat's log-in form creates one" in shown


def test_make_run_on_all_interfaces(open_folder: Path) -> None:
    """It prints the addresses, warns, and ends with 0 on Ctrl-C. `doctor` connects to it meanwhile."""
    with made(open_folder, "--host", "0.0.0.0") as (make, terminal):  # noqa: S104
        shown = read_until(terminal, "Ctrl-C stops it")
        assert "BLAZECHAT_PROT in the environment is not a setting" in shown
        assert "the nearest one is BLAZECHAT_PORT" in shown
        assert "on all interfaces" in shown
        assert "there is no TLS" in " ".join(shown.split())
        url = re.findall(r"(http://127\.0\.0\.1:\d+)\r\n", shown)[0]
        own = {each.address for each in itertools.chain(*psutil.net_if_addrs().values())}
        listed = re.findall(r"^ +(?:listening +)?http://([\d.]+):\d+\r$", shown, re.MULTILINE)
        assert set(listed) <= own
        found = doctor_with_few_files(open_folder)
        assert f"✓ server     {url}, process " in found.stdout
        assert ": ready\n" in found.stdout
        assert "✓ files" in found.stdout
        assert found.stderr == ""
        assert found.stdout.splitlines()[0].startswith("✓ versions")  # no line of a log
        os.write(terminal, b"\x03")
        read_until(terminal, "BlazeChat has stopped, all is stored.")
        _, status = os.waitpid(make, 0)
        assert os.waitstatus_to_exitcode(status) == 0


def doctor_with_few_files(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run `doctor` with the soft limit that many systems have."""
    command = f'ulimit -Sn 1024 && exec "{sys.executable}" -m blazechat doctor --data-dir data'
    return subprocess.run(
        ["/bin/sh", "-c", command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_ctrl_c_while_starting_leaves_no_process(open_folder: Path) -> None:
    """Nothing of the embedded database keeps running, and no traceback is printed."""
    with child(
        *(
            sys.executable,
            "-m",
            "blazechat",
            "serve",
            "--port",
            "0",
            "--data-dir",
            str(open_folder / "data"),
        ),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        while not (open_folder / "data" / "postgres").exists():
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "BlazeChat was interrupted." in output
    assert errors == ""
    assert Postmaster.of((open_folder / "data" / "postgres").resolve() / "cluster") is None


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
    with child(
        *(sys.executable, "-m", "uvicorn", "app.main:app", "--port", str(port), "--log-level", "debug"),
        cwd=ROOT,
        env={**os.environ, "BLAZECHAT_DATA_DIR": str(open_folder / "data")},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
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
