"""`make bench`: run the scenarios (`ONLY=name` one of them), print a table, write `bench/results.json`."""

import asyncio
import json
import os
import sys
from pathlib import Path

import uvloop

from bench import sends_http
from bench.figures import Figure

SCENARIOS = {"sends_http": sends_http.run}
RESULTS = Path(__file__).with_name("results.json")


def main() -> None:
    only = os.environ.get("ONLY") or (sys.argv[1] if len(sys.argv) > 1 else "")
    if only and only not in SCENARIOS:
        sys.exit(f"There is no scenario {only}; there are: {', '.join(SCENARIOS)}")
    figures: list[Figure] = []
    for name, run in SCENARIOS.items():
        if not only or name == only:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                figures += runner.run(run())
    print(f"\n{'scenario':<44}{'figure':>10} {'unit':<8}{'ceiling':>10}{'ratio':>7}{'must':>6}  holds")
    for figure in figures:
        print(figure.line())
    RESULTS.write_text(json.dumps([figure.told() for figure in figures], indent=2) + "\n")


main()
