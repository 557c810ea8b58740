"""The backup, its schedules and the restore drill of docs/operations.md run as they are printed there."""

import configparser
import contextlib
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import httpx2
import pytest

from blazechat.backup import manifest as manifests
from blazechat.data_folder import running_server
from tests.harness import NO_TLS
from tests.project.code_blocks import ROOT, blocks_of

SETTINGS = {
    "BLAZECHAT_POSTGRES_OPTIONS": "fsync=off",
    "BLAZECHAT_PORT": "0",
    "BLAZECHAT_BCRYPT_ROUNDS": "4",
}


def printed(heading: str) -> list[str]:
    return [block.code for block in blocks_of("docs/operations.md") if block.heading == heading]


def start(script: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["/bin/sh", "-c", script],
        cwd=folder,
        env={**os.environ, **SETTINGS, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@contextlib.contextmanager
def serving(script: str, folder: Path) -> Iterator[str]:
    """Run a server until the end of the block; yield its URL."""
    with start(f"exec {script}", folder) as process:
        try:
            assert process.stdout is not None
            output = ""
            while "Ctrl-C stops it" not in output:
                line = process.stdout.readline()
                assert line, output
                output += line
            server = next(filter(None, map(running_server, (folder / "drill", folder / "blazechat-data"))))
            yield server.url
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)


def run(script: str, folder: Path) -> None:
    with start(script, folder) as process:
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output


@pytest.fixture
def installation(open_folder: Path) -> Path:
    """A folder with an environment, in which a server can run."""
    (open_folder / ".venv").symlink_to(Path(sys.executable).parent.parent)
    return open_folder


def test_backups_their_schedules_and_the_drill(installation: Path) -> None:
    """By hand, by cron and by systemd, while the server runs; and a server from a backup beside it."""
    (by_hand, crontab, timer, service), (drill,) = printed("Backups"), printed("Restoring a backup")
    today = installation / "backups" / datetime.now().astimezone().date().isoformat()
    user = {"username": "alice", "email": "alice@example.com", "password": "wonderland"}
    with serving(".venv/bin/blazechat serve", installation) as url:
        httpx2.post(
            f"{url}/api/auth/register", json=user, trust_env=False, verify=NO_TLS
        ).raise_for_status()
        run(by_hand, installation)
        command = crontab.split(maxsplit=5)[5].replace("\\%", "%").replace("/srv/chat", str(installation))
        run(command, installation)
        today.rename(installation / "by-cron")
        run(shlex.join(shlex.split(exec_start(service))), installation)
    for folder in (installation / "backups" / "monday", installation / "by-cron", today):
        assert manifests.read(folder).tables["users"].rows >= 1
    configparser.ConfigParser().read_string(timer)
    restore, serve = drill.splitlines()
    run(restore, installation)
    with serving(serve.replace("8002", "0"), installation) as url:
        form = {"username": "alice", "password": "wonderland"}
        answer = httpx2.post(f"{url}/api/auth/login", data=form, trust_env=False, verify=NO_TLS)
        assert answer.status_code == 200


def exec_start(service: str) -> str:
    """Return the command of a unit, without the escapes of systemd."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(service)
    return parser["Service"]["ExecStart"].replace("$$", "$").replace("%%", "%")
