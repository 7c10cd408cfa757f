"""Snapshots go to the hub and come back, through huggingface_hub and a local server that speaks the hub's protocol."""

import base64
import hashlib
import http.server
import json
import socket
import threading
import time
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch

from diptych import Translator
from diptych.cli import main
from diptych.cli.push import licensed
from diptych.errors import ConfigError, WeightsError
from diptych.hub import pull, repository
from diptych.nets import ResNet
from diptych.pixels import Domain
from diptych.snapshot import Snapshot

pytestmark = pytest.mark.filterwarnings("ignore:Use .content=:DeprecationWarning")  # of huggingface_hub when it speaks git-lfs
COMMIT = "c" * 40


class Hub(http.server.BaseHTTPRequestHandler):
    """The part of the hub's protocol that a commit and a download need; large files go by git-lfs, as there."""

    repositories: dict[str, dict[str, bytes]]
    large: dict[str, bytes]
    private: set[str]

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        path = urlsplit(self.path).path
        if self.headers.get("Authorization") != "Bearer hf_owner":
            return self.answer(401, {"error": "who are you?"})
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"user/{asked['name']}" if "organization" not in asked else f"{asked['organization']}/{asked['name']}"
            if name in self.repositories:
                return self.answer(409, {"error": "there already", "url": f"{self.here}/{name}"})
            self.repositories[name] = {}
            if asked.get("private") or asked.get("visibility") == "private":
                self.private.add(name)
            return self.answer(200, {"url": f"{self.here}/{name}"})
        if path == "/api/validate-yaml":
            return self.answer(200, {"errors": [], "warnings": []})
        if path.endswith("/preupload/main"):
            files = [
                {"path": one["path"], "uploadMode": "lfs" if one["path"].endswith(".safetensors") else "regular"}
                for one in json.loads(body)["files"]
            ]
            return self.answer(200, {"files": [one | {"shouldIgnore": False} for one in files]})
        if path.endswith(".git/info/lfs/objects/batch"):
            objects = [
                {"oid": one["oid"], "size": one["size"], "actions": {"upload": {"href": f"{self.here}/store/{one['oid']}"}}}
                for one in json.loads(body)["objects"]
            ]
            return self.answer(200, {"transfer": "basic", "objects": objects}, "application/vnd.git-lfs+json")
        name = path.removeprefix("/api/models/").removesuffix("/commit/main")
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                self.repositories[name][value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                self.repositories[name][value["path"]] = self.large[value["oid"]]
        return self.answer(200, {"commitUrl": f"{self.here}/{name}/commit/{COMMIT}", "commitOid": COMMIT, "success": True})

    def do_PUT(self):
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.large[self.path.rpartition("/")[2]] = content
        self.answer(200, {})

    def do_HEAD(self):
        name, _, file = urlsplit(self.path).path.strip("/").partition("/resolve/")
        content = self.repositories.get(name, {}).get(file.partition("/")[2])
        if content is None or (name in self.private and "Authorization" not in self.headers):
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound" if name not in self.repositories else "EntryNotFound")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        self.send_response(200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    do_GET = do_HEAD  # noqa: N815

    @property
    def here(self):
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def answer(self, status, content, kind="application/json"):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty hub, and this machine logged in as its user."""
    from huggingface_hub import constants

    handler = type("Here", (Hub,), {"repositories": {}, "large": {}, "private": set()})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    here = f"http://127.0.0.1:{server.server_address[1]}"
    for name, value in (
        ("ENDPOINT", here),
        ("HUGGINGFACE_CO_URL_TEMPLATE", here + "/{repo_id}/resolve/{revision}/{filename}"),
        ("HF_HUB_CACHE", str(tmp_path / "cache")),
        ("HF_HUB_OFFLINE", False),  # whatever the environment said when the package was imported
        ("HF_HUB_DISABLE_XET", True),  # the newer way to store large files; servers without it are spoken to by git-lfs
    ):
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setenv("HF_TOKEN", "hf_owner")
    monkeypatch.chdir(tmp_path)
    yield handler
    server.shutdown()
    server.server_close()


@pytest.fixture
def run(tmp_path):
    """A run folder with a small snapshot and its card."""
    torch.manual_seed(0)
    snapshot = Snapshot({"a2b": ResNet(1, 3, width=4, num_blocks=1).eval()}, Domain(1), Domain(3), 16)
    snapshot.save(tmp_path / "run" / "snapshot.safetensors")
    card = "---\nlicense: unknown # choose one that the licences of your images allow\n---\n\n# cyclegan on horses\n"
    (tmp_path / "run" / "MODEL_CARD.md").write_text(card)
    return tmp_path / "run"


def test_what_is_pushed_is_a_snapshot_for_every_command_and_comes_back_as_a_file(hub, run, tmp_path, capsys):
    assert main(["push", str(run), "user/gray2rgb", "--licence", "CC0-1.0"]) == 0
    assert "/user/gray2rgb; use it as hf:user/gray2rgb" in capsys.readouterr().out
    kept = hub.repositories["user/gray2rgb"]
    assert kept["snapshot.safetensors"] == (run / "snapshot.safetensors").read_bytes()
    assert kept["README.md"].decode() == "---\nlicense: cc0-1.0\n---\n\n# cyclegan on horses\n"
    gray = np.random.default_rng(0).integers(0, 256, (16, 16), dtype=np.uint8)
    expected = Translator.load(run)(gray)
    assert (Translator.load("hf:user/gray2rgb")(gray) == expected).all()
    assert main(["pull", "user/gray2rgb"]) == 0
    assert capsys.readouterr().out.splitlines() == ["snapshot  gray2rgb.safetensors", "licence   cc0-1.0"]
    assert (tmp_path / "gray2rgb.safetensors").read_bytes() == kept["snapshot.safetensors"]
    assert (tmp_path / "gray2rgb.md").read_bytes() == kept["README.md"]
    assert main(["pull", "user/gray2rgb"]) == 2 and "is there already" in capsys.readouterr().err
    for mine in ("other.safetensors", "third.md"):  # neither a snapshot nor the card beside it replaces what pull did not write
        (tmp_path / mine).write_text("mine")
        out = f"{mine.partition('.')[0]}.safetensors"
        assert main(["pull", "user/gray2rgb", "--out", out]) == 2
        assert f"{mine}: is there already and was not made by this command" in capsys.readouterr().err
        assert (tmp_path / mine).read_text() == "mine" and not (tmp_path / "third.safetensors").exists()
    assert main(["pull", "user/gray2rgb", "--out", "gray2rgb.safetensors"]) == 0


def test_a_second_push_goes_to_the_same_repository_and_private_ones_are_made_private(hub, run):
    for words in (["--licence", "mit", "--private"], ["--licence", "cc-by-4.0"]):
        assert main(["push", str(run), "user/x", *words]) == 0
    assert hub.private == {"user/x"} and b"license: cc-by-4.0" in hub.repositories["user/x"]["README.md"]


def test_who_may_not_write_or_asks_for_nothing_gets_one_line(hub, run, monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    assert main(["push", str(run), "user/x", "--licence", "mit"]) == 2
    error = capsys.readouterr().err
    assert "hf:user/x: cannot be written (" in error and "check network, name, and $HF_TOKEN" in error and error.count("\n") == 1
    with pytest.raises(WeightsError, match=r"hf:user/none: snapshot.safetensors cannot be fetched \(.*check network, name"):
        pull("hf:user/none")


def test_a_hub_that_cannot_be_reached_is_said_at_once_and_what_was_fetched_is_used(hub, run, monkeypatch, caplog, capsys):
    """huggingface_hub retries a refused connection for 27 seconds, with ten lines of its own."""
    from huggingface_hub import constants

    assert main(["push", str(run), "user/x", "--licence", "mit"]) == 0
    fetched = pull("user/x")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{free.getsockname()[1]}")
    capsys.readouterr()
    began = time.monotonic()
    assert pull("user/x") == fetched and "the hub cannot be reached (127.0.0.1: Connection refused)" in caplog.text
    for words in (["pull", "user/y"], ["push", str(run), "user/y", "--licence", "mit"], ["translate", "hf:user/y", "x.png"]):
        assert main([*words, "--out", "y"] if words[0] == "translate" else words) in (2, 6)
        said = [line for line in capsys.readouterr().err.splitlines() if "hf:user/x" not in line]
        assert len(said) == 1 and "hf:user/y: " in said[0] and "(127.0.0.1: Connection refused)" in said[0]
    assert time.monotonic() - began < 10


def test_a_busy_hub_is_asked_again(hub, run, monkeypatch):
    assert main(["push", str(run), "user/x", "--licence", "mit"]) == 0
    answers = []

    def busy_once(self):
        answers.append(self.path)
        if len(answers) > 1:
            return Hub.do_HEAD(self)
        self.send_response(503)
        self.send_header("Content-Length", "0")
        self.end_headers()

    monkeypatch.setattr(hub, "do_HEAD", busy_once, raising=False)
    assert pull("user/x").read_bytes() == (run / "snapshot.safetensors").read_bytes() and len(answers) > 1


def test_a_file_that_is_no_snapshot_is_neither_pushed_nor_written(hub, run, tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"nothing")
    assert main(["push", str(tmp_path / "x.safetensors"), "user/x", "--licence", "mit"]) == 6 and not hub.repositories
    hub.repositories["user/x"] = {"snapshot.safetensors": b"nothing"}
    assert main(["pull", "user/x", "--out", "y.safetensors"]) == 6 and not (tmp_path / "y.safetensors").exists()


@pytest.mark.parametrize(
    ("word", "found"),
    [("hf:a/b", ("a/b", None)), ("a-1/b.c_d", ("a-1/b.c_d", None)), ("hf:a/b@v1.0", ("a/b", "v1.0"))],
)
def test_a_repository_is_user_slash_name(word, found):
    assert repository(word) == found


@pytest.mark.parametrize("word", ["a", "hf:", "a/b/c", "a/..", "/a", "a/b@", "a b/c", "hf:a/b\n"])
def test_other_words_are_refused(word):
    with pytest.raises(ConfigError, match="expected USER/NAME of the hub"):
        repository(word)


def test_a_licence_is_asked_for_once(tmp_path):
    path = tmp_path / "MODEL_CARD.md"
    with pytest.raises(ConfigError, match="--licence: choose one that the training images allow"):
        licensed(path, "a/b", None)
    assert "license: mit" in licensed(path, "a/b", "MIT") and "## Licence\n\nMIT\n" in licensed(path, "a/b", "MIT")
    path.write_text("---\nlicense: cc-by-4.0\n---\n\n# Mine\n")
    assert licensed(path, "a/b", None) == path.read_text()
    with pytest.raises(ConfigError, match=r"MODEL_CARD\.md says a licence already"):
        licensed(path, "a/b", "mit")
    with pytest.raises(ConfigError, match="must be one word"):
        licensed(tmp_path / "none.md", "a/b", "free for all")
