"""Says what a person does to join the server: the address, the commands and the invitation's code."""

from urllib.parse import urlsplit

from blazechat.client import Invitation, RegistrationPolicy, ServerInfo

LOOPBACK_HOSTS = ("127.0.0.1", "::1", "localhost")


def summary(info: ServerInfo, *, is_admin: bool) -> str:
    """Return one sentence: who may join, and what this user has to do for it."""
    if info.registration is RegistrationPolicy.OPEN:
        return "Anyone with this address can create an account:"
    if info.registration is RegistrationPolicy.CLOSED:
        return "This server accepts no new accounts (BLAZECHAT_REGISTRATION)."
    if is_admin:
        return "A new account needs an invitation: /invite creates one."
    return "A new account needs an invitation. Ask an administrator of this server."


def steps(info: ServerInfo, invitation: Invitation | None = None) -> str:
    """Return what the new user types, as lines of text."""
    lines = [
        f"Address: {info.url}",
        *([f"Invitation: {invitation.code}"] if invitation else []),
        "",
        "In a browser, the address says how to begin. In a terminal:",
        f"  blazechat chat {info.url}",
        f"  Ctrl+N creates the account{', with the invitation in its field' if invitation else ''}.",
    ]
    if invitation:
        expires = f"{invitation.expires_at.astimezone():%d %B %Y, %H:%M}"
        lines += ["", f"The invitation creates one account, until {expires}."]
    return "\n".join(lines)


def caution(info: ServerInfo) -> str:
    """Return why the address might not work for others; empty if nothing is known against it."""
    if urlsplit(info.url).hostname not in LOOPBACK_HOSTS:
        return ""
    return "This address works on this machine only. For others, start the server with --host 0.0.0.0."
