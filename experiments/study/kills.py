"""Kill the server at 200 random instants while simulated people vote: is every acknowledged answer kept, and kept once?"""

import random
import tempfile
import threading
import time
from pathlib import Path

from served import started, study_in

from diptych.study.folder import Secrets
from diptych.study.protocol import Protocol
from diptych.study.simulate import Browser, take_part
from diptych.study.store import Store

KILLS, PEOPLE, PORT = 200, 6, 20_471


class Voter(Browser):
    """Notes each answer that the server acknowledged, and how often its own was sent again."""

    def once(self, path, body=None):
        """One request, and what came of it."""
        status, value = super().once(path, body)
        if path == "/api/answer" and status == 200:
            self.acknowledged.add((value["withdraw"], body["trial"], body["key"]))
        return status, value


def main() -> None:
    """Print what was acknowledged and what is stored."""
    rng, ended, acknowledged, finished = random.Random(0), threading.Event(), set(), []
    with tempfile.TemporaryDirectory() as folder:
        study = study_in(Path(folder), Protocol(practice=0, trials=30, show_ms=5))
        store, keys = Store(study.folder), Secrets.load(study.folder)

        def people(seed: int) -> None:
            while not ended.is_set():
                browser = Voter(f"http://127.0.0.1:{PORT}", patience=120)
                browser.acknowledged = acknowledged
                finished.append(take_part(study, keys, store, browser, {"one": 0.3, "two": 0.3}, 0.0, random.Random(seed)))

        threads = [threading.Thread(target=people, args=(seed,), daemon=True) for seed in range(PEOPLE)]
        for thread in threads:
            thread.start()
        for _ in range(KILLS):
            server = started(study, PORT)
            time.sleep(rng.uniform(0, 0.6))
            server.kill()
            server.wait()
        ended.set()
        server = started(study, PORT)
        for thread in threads:
            thread.join(120)
        server.terminate()
        server.wait(30)
        kept = [(p.id, a.trial, a.key) for p in store.participants() for a in p.answers]
        whole = [p.id for p in store.participants() if p.done]
        with store.database.reading() as run:
            check = run("PRAGMA integrity_check")[0]["integrity_check"]
        store.close()
    lost, doubled = len(acknowledged - set(kept)), len(kept) - len({answer[:2] for answer in kept})
    print(f"{KILLS} kills, {len(acknowledged)} answers acknowledged, {len(kept)} stored: {lost} lost, {doubled} doubled")
    fewer = len(set(finished) - set(whole))
    print(f"{len(finished)} people finished, {fewer} of them without all answers; integrity check: {check}")


if __name__ == "__main__":
    main()
