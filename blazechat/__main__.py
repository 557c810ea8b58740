"""`python -m blazechat` is the `blazechat` command."""

from blazechat.cli import main

main()
