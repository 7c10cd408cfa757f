"""Fifty people at once answer 100 trials each: how long does a request take, and how many votes a second are on the disk?

Without `--show-ms` nobody looks at pictures: each request follows the answer to the one before, which is the most that a server
can meet. The people share one event loop and keep their connections, so that they cost little beside the server.
"""

import argparse
import asyncio
import json
import os
import tempfile
import time
from contextlib import suppress
from itertools import chain
from pathlib import Path

import numpy as np
from rich.progress import Progress
from served import started, study_in

from diptych.study.folder import Study
from diptych.study.protocol import Protocol
from diptych.study.store import Store

PORT = 20_675
KINDS = "join", "picture", "vote"


class Person:
    """Somebody with one connection that is kept, and the session that the server gave."""

    def __init__(self, study: Study, times: dict[str, list[float]]) -> None:
        self.study, self.times, self.cookie = study, times, b""

    async def take_part(self, trials: int) -> None:
        """One participation, with two pictures before each answer, as the page loads them."""
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", PORT)
        head = await self.ask("join", b"/api/join", {"language": "en", "consent": self.study.consent_version("en")})
        self.cookie = head.split(b"set-cookie: ")[1].split(b";")[0]
        for number in range(trials):
            for place in range(2):
                await self.ask("picture", b"/picture/%d/%d" % (number, place))
            await asyncio.sleep(2 * self.study.protocol.show_ms / 1000)
            shown = [float(self.study.protocol.show_ms)] * 2
            times = {"shown_ms": shown, "frame_ms": 16.7, "response_ms": 500.0, "interrupted": False}
            await self.ask("vote", b"/api/answer", {"trial": number, "answer": "left", "key": f"key-{number:08}", **times})
        self.writer.close()

    async def ask(self, kind: str, path: bytes, body: object = None) -> bytes:
        """One request; returns the head of its answer. Raises RuntimeError when the server refuses it."""
        data = b"" if body is None else json.dumps(body).encode()
        more = b"Origin: http://127.0.0.1:%d\r\nContent-Type: application/json\r\nContent-Length: %d\r\n" % (PORT, len(data))
        host = b" HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nCookie: %s\r\n" % (PORT, self.cookie)
        began = time.perf_counter()
        self.writer.write((b"POST " if data else b"GET ") + path + host + (more if data else b"") + b"\r\n" + data)
        head = (await self.reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.split(b"content-length: ")[1].split(b"\r")[0])
        said = await self.reader.readexactly(length)
        self.times[kind].append(1000 * (time.perf_counter() - began))
        if not head.startswith(b"http/1.1 200"):
            raise RuntimeError(f"{path.decode()}: {head.splitlines()[0].decode()} {said[:200]!r}")
        return head


async def everybody(study: Study, people: int, trials: int, limit: float, times: dict[str, list[float]]) -> None:
    """Let everybody take part at once, and show how far they are."""
    with Progress(transient=True) as progress:
        task = progress.add_task("votes", total=people * trials)
        at_once = asyncio.gather(*(Person(study, times).take_part(trials) for _ in range(people)))
        deadline = time.monotonic() + limit
        while not at_once.done() and time.monotonic() < deadline:
            await asyncio.wait([at_once], timeout=0.5)
            progress.update(task, completed=len(times["vote"]))
        if not at_once.done():
            print(f"not all had finished after {limit:.0f} s")
            at_once.cancel()
        with suppress(asyncio.CancelledError):
            await at_once


def computed(process: int) -> float:
    """Seconds that a process has computed so far."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Print how many votes are stored, how long requests took, and who computed how much."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=50, metavar="N", help="how many at once (default: 50)")
    parser.add_argument("--trials", type=int, default=100, metavar="N", help="trials of each (default: 100)")
    parser.add_argument("--show-ms", type=int, default=1, metavar="MS", help="how long each picture is shown (default: 1)")
    parser.add_argument("--limit", type=float, default=300, metavar="S", help="give up after so many seconds (default: 300)")
    args = parser.parse_args()
    times: dict[str, list[float]] = {kind: [] for kind in KINDS}
    with tempfile.TemporaryDirectory() as folder:
        protocol = Protocol(practice=0, trials=args.trials, show_ms=args.show_ms)
        study = study_in(Path(folder), protocol, number=120, side=256)
        print(f"load of the machine before: {', '.join(f'{load:.1f}' for load in os.getloadavg())}; {os.cpu_count()} cores")
        server = started(study, PORT)
        try:
            before, mine, began = computed(server.pid), time.process_time(), time.perf_counter()
            asyncio.run(everybody(study, args.people, args.trials, args.limit, times))
            wall = time.perf_counter() - began
            costs = {"server": computed(server.pid) - before, "client": time.process_time() - mine}
        finally:
            server.terminate()
            server.wait(30)
        store = Store(study.folder)
        stored = sum(len(person.answers) for person in store.participants())
        store.close()
    wanted, requests = args.people * args.trials, sum(map(len, times.values()))
    print(f"{stored} of {wanted} votes stored in {wall:.1f} s: {stored / wall:.0f} a second")
    print(f"{'':8} {'number':>7} {'p50':>8} {'p95':>8} {'p99':>8} {'longest':>8}")
    for kind, taken in {**times, "all": list(chain(*times.values()))}.items():
        figures = [f"{ms:5.0f} ms" for ms in (*np.quantile(taken, (0.5, 0.95, 0.99)), max(taken))]
        print(f"{kind:8} {len(taken):7} {' '.join(figures)}")
    for who, seconds in costs.items():
        print(
            f"{who}: {seconds:.1f} s of a core ({seconds / wall:.0%} of the time), {1000 * seconds / requests:.2f} ms a request"
        )


if __name__ == "__main__":
    main()
