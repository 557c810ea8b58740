"""The ceiling of deliveries: the same requests by the same HTTP client, and nothing read, kept or ordered.

Run as a process: `python -m bench.bare_calls URL COUNT AT_ONCE BYTES`. It prints how many seconds they took.
"""

import asyncio
import sys
import time

import uvloop

from blazechat import signing
from blazechat.jobs.http_caller import HttpCaller, HttpResponse
from blazechat.jobs.ssrf_guard import parse_allowed_hosts

SECRET = f"{signing.KEY_PREFIX}{'A' * 32}"


async def main(url: str, count: int, at_once: int, size: int) -> None:
    calls = HttpCaller(allowed=parse_allowed_hosts("127.0.0.0/8"), user_agent="BlazeChat/bench")
    body = b"x" * size
    numbers = iter(range(count))

    async def call() -> None:
        for number in numbers:
            headers = signing.signed_headers(f"evt_0_{number}", int(time.time()), body, [SECRET])
            answer = await calls.post(url, body, headers)
            assert isinstance(answer, HttpResponse), answer

    began = time.perf_counter()
    await asyncio.gather(*(call() for _ in range(at_once)))
    print(time.perf_counter() - began, flush=True)
    await calls.close()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], *map(int, sys.argv[2:])))
