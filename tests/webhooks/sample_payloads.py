"""Payloads of GitHub, Alertmanager and Grafana, with the fields that their documentation names."""

from typing import Any

REPOSITORY = {
    "id": 7,
    "name": "garden",
    "full_name": "alice/garden",
    "private": False,
    "owner": {"login": "alice", "id": 1},
    "html_url": "https://git.example/alice/garden",
    "default_branch": "main",
}
SENDER = {"login": "alice", "id": 1, "html_url": "https://git.example/alice", "type": "User"}
GITHUB: dict[str, Any] = {"repository": REPOSITORY, "sender": SENDER}


def github_push(commits: int = 2, **fields: Any) -> dict[str, Any]:
    return {
        "ref": "refs/heads/main",
        "before": "0" * 40,
        "after": "1" * 40,
        "created": False,
        "deleted": False,
        "forced": False,
        "compare": "https://git.example/alice/garden/compare/000...111",
        "commits": [
            {
                "id": f"{number:x}" * 40,
                "message": f"Water row {number}\n\nIt was dry.",
                "timestamp": "2026-11-30T10:00:00+01:00",
                "url": f"https://git.example/c/{number}",
                "author": {"name": "Alice", "email": "alice@example.com", "username": "alice"},
                "added": [],
                "removed": [],
                "modified": ["beds.txt"],
            }
            for number in range(1, commits + 1)
        ],
        "pusher": {"name": "alice", "email": "alice@example.com"},
        **GITHUB,
        **fields,
    }


def github_pull_request(action: str, **fields: Any) -> dict[str, Any]:
    pull_request = {
        "html_url": "https://git.example/alice/garden/pull/4",
        "number": 4,
        "state": "open",
        "title": "Add a pond",
        "user": SENDER,
        "body": None,
        "draft": False,
        "merged": False,
        "head": {"ref": "pond"},
        "base": {"ref": "main"},
        **fields,
    }
    return {"action": action, "number": 4, "pull_request": pull_request, **GITHUB}


def github_issue(action: str, **fields: Any) -> dict[str, Any]:
    issue = {
        "html_url": "https://git.example/alice/garden/issues/5",
        "number": 5,
        "title": "Slugs [urgent]",
        "state_reason": None,
        "labels": [],
    }
    return {"action": action, "issue": issue | fields, **GITHUB}


def github_workflow_run(action: str, conclusion: str | None) -> dict[str, Any]:
    run = {
        "name": "Tests",
        "run_number": 9,
        "event": "push",
        "status": action,
        "conclusion": conclusion,
        "head_branch": "main",
        "head_sha": "1" * 40,
        "html_url": "https://git.example/alice/garden/actions/runs/9",
        "head_commit": {"message": "Water row 1\n\nIt was dry.", "author": {"name": "Alice"}},
    }
    return {"action": action, "workflow_run": run, "workflow": {"name": "Tests"}, **GITHUB}


GITHUB_PING = {"zen": "Design for failure.", "hook_id": 1, "hook": {"type": "Repository"}, **GITHUB}

ALERTMANAGER: dict[str, Any] = {
    "version": "4",
    "groupKey": '{}:{alertname="HighCPU"}',
    "truncatedAlerts": 3,
    "status": "firing",
    "receiver": "chat",
    "groupLabels": {"alertname": "HighCPU"},
    "commonLabels": {"alertname": "HighCPU", "severity": "critical"},
    "commonAnnotations": {},
    "externalURL": "http://alerts.example:9093",
    "alerts": [
        {
            "status": "firing",
            "labels": {"alertname": "HighCPU", "instance": "db-1", "severity": "critical"},
            "annotations": {
                "summary": "CPU of db-1 is at 97 %",
                "runbook_url": "https://wiki.example/cpu",
            },
            "startsAt": "2026-11-30T10:00:00Z",
            "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "http://prometheus.example/graph?g0.expr=cpu",
            "fingerprint": "c0ffee",
        },
        {
            "status": "resolved",
            "labels": {"alertname": "HighCPU", "instance": "db-2", "severity": "critical"},
            "annotations": {},
            "startsAt": "2026-11-30T09:00:00Z",
            "endsAt": "2026-11-30T10:00:00Z",
            "generatorURL": "",
            "fingerprint": "c0ffef",
        },
    ],
}

GRAFANA: dict[str, Any] = {
    "receiver": "chat",
    "status": "firing",
    "orgId": 1,
    "alerts": [
        {
            "status": "firing",
            "labels": {"alertname": "DiskFull", "grafana_folder": "infra", "instance": "db-1"},
            "annotations": {"summary": "Disk of db-1 is nearly full"},
            "startsAt": "2026-11-30T10:00:00Z",
            "endsAt": "0001-01-01T00:00:00Z",
            "values": {"A": 91.5, "C": 1},
            "valueString": "[ var='A' labels={instance=db-1} value=91.5 ]",
            "generatorURL": "https://grafana.example/alerting/grafana/1/view",
            "fingerprint": "c0ffee",
            "silenceURL": "https://grafana.example/alerting/silence/new",
            "dashboardURL": "",
            "panelURL": "https://grafana.example/d/1?viewPanel=2",
        }
    ],
    "groupLabels": {"alertname": "DiskFull"},
    "commonLabels": {"alertname": "DiskFull", "grafana_folder": "infra", "instance": "db-1"},
    "commonAnnotations": {"summary": "Disk of db-1 is nearly full"},
    "externalURL": "https://grafana.example/",
    "version": "1",
    "groupKey": '{}/{}:{alertname="DiskFull"}',
    "truncatedAlerts": 0,
    "title": "[FIRING:1] DiskFull infra (db-1)",
    "state": "alerting",
    "message": "**Firing**\n\nValue: A=91.5, C=1\nLabels:\n - alertname = DiskFull\n",
}
