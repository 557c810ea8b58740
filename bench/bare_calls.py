"""The ceiling of webhook deliveries: the same requests by the same HTTP client, without database and order.

Run as a process: `python -m bench.bare_calls URL COUNT CONCURRENT BYTES`. It prints the duration in
seconds.
"""

import asyncio
import sys
import time

import uvloop

from blazechat import signing
from blazechat.jobs.http_caller import HttpCaller, HttpResponse
from blazechat.jobs.ssrf_guard import parse_allowed_hosts

SECRET = f"{signing.KEY_PREFIX}{'A' * 32}"


async def main(url: str, count: int, concurrent: int, size: int) -> None:
    """Post `count` bodies of `size` bytes, `concurrent` at a time."""
    http = HttpCaller(allowed=parse_allowed_hosts("127.0.0.0/8"), user_agent="BlazeChat/bench")
    body = b"x" * size
    numbers = iter(range(count))

    async def call() -> None:
        for number in numbers:
            headers = signing.signed_headers(f"evt_0_{number}", int(time.time()), body, [SECRET])
            response = await http.post(url, body, headers)
            assert isinstance(response, HttpResponse), response

    began = time.perf_counter()
    await asyncio.gather(*(call() for _ in range(concurrent)))
    print(time.perf_counter() - began, flush=True)
    await http.close()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], *map(int, sys.argv[2:])))
