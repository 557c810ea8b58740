"""Entry point of the `blazechat` command and of `python -m blazechat`."""

import sys

MISSING_MESSAGE = (
    "blazechat: the package {package} is not installed.\nInstall it, in a checkout, with: {command}"
)
INSTALL_COMMANDS = {
    "server": "pip install '.[server]'",
    "terminal": "pip install '.[terminal]'",
    "both": "pip install '.[server]' for a server, pip install '.[terminal]' for the terminal client",
}
TERMINAL_PACKAGES = frozenset({"textual", "keyring", "platformdirs", "filelock", "emoji"})


def main() -> None:
    """Run the command. If a package or a required compiled core is missing, exit with a sentence that says
    what to do."""
    try:
        from blazechat import cli

        cli.main()
    except ImportError as error:
        if type(error).__name__ == "CoreError":  # its module is not imported without need
            print(f"blazechat: {error}", file=sys.stderr)
            sys.exit(1)
        if not isinstance(error, ModuleNotFoundError):
            raise
        package = (error.name or "").partition(".")[0]
        if not package or package == "blazechat":
            raise
        extra = "both" if package == "typer" else "terminal" if package in TERMINAL_PACKAGES else "server"
        print(MISSING_MESSAGE.format(package=package, command=INSTALL_COMMANDS[extra]), file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
