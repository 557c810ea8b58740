"""Entry point for `python terminal_client.py [URL]`: the same as `blazechat chat`."""

import sys

from blazechat.__main__ import main

sys.argv[1:1] = ["chat"]
main()
