"""The `blazechat` command, as such and as `python -m blazechat`."""

import sys

NEEDS = "blazechat: this takes more than is installed here ({missing} is missing).\nInstall it: {how}"
HOW = {
    "server": "pip install 'blazechat[server]'",
    "terminal": "pip install 'blazechat[terminal]'",
    "both": "pip install 'blazechat[server]' for a server, 'blazechat[terminal]' for chatting",
}
ABOUT_THE_TERMINAL = frozenset({"textual", "keyring", "platformdirs", "filelock", "emoji"})


def main() -> None:
    """Run the command; the SDK alone comes without it, and then it says how to get it."""
    try:
        from blazechat import cli

        cli.main()
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if not missing or missing == "blazechat":
            raise
        how = "both" if missing == "typer" else "terminal" if missing in ABOUT_THE_TERMINAL else "server"
        print(NEEDS.format(missing=missing, how=HOW[how]), file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
