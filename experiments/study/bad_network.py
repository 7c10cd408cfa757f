"""Take part through a proxy that loses a tenth of requests and of answers, delays and doubles some, in two tabs, with reloads."""

import random
import socket
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from served import serving, study_in

from diptych.study.folder import Secrets
from diptych.study.protocol import Protocol
from diptych.study.simulate import Browser, take_part
from diptych.study.store import Store

PEOPLE, TRIALS, PORT = 40, 40, 20_573
FATES = {"the request is lost": 0.1, "the answer is lost": 0.1, "sent twice": 0.1, "delayed past later ones": 0.2}


class Proxy(threading.Thread):
    """Passes single requests on to the server, most of them well."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.socket, self.rng, self.fates = socket.create_server(("127.0.0.1", 0), backlog=200), random.Random(1), Counter()

    def run(self) -> None:
        """Take every connection in a thread of its own."""
        while True:
            threading.Thread(target=self.pass_on, args=(self.socket.accept()[0],), daemon=True).start()

    def pass_on(self, client: socket.socket) -> None:
        """One request and its answer, with the fate that was drawn."""
        fate = self.rng.choices([*FATES, "passed on"], [*FATES.values(), 1 - sum(FATES.values())])[0]
        self.fates[fate] += 1
        with client:
            request = whole(client)
            if not request or fate == "the request is lost":
                return
            if fate == "delayed past later ones":
                time.sleep(self.rng.uniform(0.05, 0.4))
            answer = asked(request)
            if fate == "sent twice":
                answer = asked(request)
            if fate != "the answer is lost":
                client.sendall(answer)


def whole(client: socket.socket) -> bytes:
    """A request with its body."""
    data = b""
    while b"\r\n\r\n" not in data:
        if not (more := client.recv(65536)):
            return b""
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
    while len(body) < length:
        body += client.recv(65536)
    return head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1) + b"\r\n\r\n" + body


def asked(request: bytes) -> bytes:
    """The answer of the server."""
    with socket.create_connection(("127.0.0.1", PORT)) as server:
        server.sendall(request)
        return b"".join(iter(lambda: server.recv(65536), b""))


class Person(Browser):
    """A browser that is now and then reloaded, and has a second tab that answers as well."""

    moved = 0

    def call(self, path, body=None):
        """One request until it is answered; before an answer, a reload shows the same trial, and the other tab may be faster."""
        if path == "/api/answer" and self.rng.random() < 0.2:
            state = super().call("/api/state")[1]
            Person.moved += state["trial"]["number"] != body["trial"]
        if path == "/api/answer" and self.rng.random() < 0.2:
            super().call(path, body | {"key": f"{self.rng.getrandbits(64):016x}"})  # the other tab
            status, state = super().call(path, body)
            return (200, super().call("/api/state")[1]) if status == 409 else (status, state)
        return super().call(path, body)


def main() -> None:
    """Print what the network did and what is stored."""
    proxy = Proxy()
    proxy.start()
    with tempfile.TemporaryDirectory() as folder:
        study = study_in(Path(folder), Protocol(practice=0, trials=TRIALS, show_ms=1))
        store, keys = Store(study.folder), Secrets.load(study.folder)
        with serving(study, PORT) as url:

            def person(seed: int) -> str:
                browser = Person(url, via=proxy.socket.getsockname()[:2], patience=120)
                browser.rng = random.Random(-seed)
                return take_part(study, keys, store, browser, {"one": 0.3, "two": 0.3}, 0.0, random.Random(seed))

            with ThreadPoolExecutor(10) as pool:
                done = set(pool.map(person, range(PEOPLE)))
        kept = {p.id: [a.trial for a in p.answers] for p in store.participants()}
        store.close()
    print(", ".join(f"{fate}: {number}" for fate, number in proxy.fates.most_common()))
    right = sum(kept[id] == list(range(TRIALS)) for id in done)
    print(
        f"{right} of {len(done)} people who finished have exactly {TRIALS} answers; {Person.moved} reloads came to another trial"
    )


if __name__ == "__main__":
    main()
