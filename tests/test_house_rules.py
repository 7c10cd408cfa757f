"""Rules of SECURITY.md and CONTRIBUTING.md that a program can check, each shown to fail once."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import jaxtyping
import pytest
import torch

from diptych.pixels import Domain

ROOT = Path(__file__).parents[1]
LONGEST = 350  # lines of one source file
PICKLES = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
FETCHERS = {"aiohttp", "ftplib", "http.client", "httpx", "huggingface_hub", "requests", "urllib.request", "urllib3"}
MAY_FETCH = {
    "src/diptych/downloads.py": {"http.client", "urllib.request"},  # published files, verified by SHA-256
    "src/diptych/study/simulate.py": {"http.client"},  # simulated participants visit the study that its owner serves
}
READS_FOREIGN_WEIGHTS = "src/diptych/state_dicts.py"
FORBIDDEN_CALLS = {  # dotted name as written -> why
    "eval": "runs text as code",
    "exec": "runs text as code",
    "os.popen": "runs a shell",
    "os.system": "runs a shell",
    "tempfile.mktemp": "is a race; use mkstemp or TemporaryDirectory",
    "torch.export.load": "unpickles; the snapshot is safetensors",
    "torch.jit.load": "runs code from a file; the snapshot is safetensors",
    "torch.save": "pickles; the snapshot is safetensors",
    "yaml.full_load": "is no safe loader; use yaml.safe_load",
    "yaml.unsafe_load": "runs code; use yaml.safe_load",
}
WATCHED_CALLS = {"torch.load", "yaml.load", "yaml.load_all"}  # allowed with the arguments that make them safe
FORBIDDEN_PREFIXES = {"torch.hub.": "downloads and runs code", "torch.package.": "unpickles"}


def product_files() -> list[Path]:
    """Python that users run: the package, the tools and the examples."""
    return sorted(file for folder in ("src", "tools", "examples") for file in (ROOT / folder).rglob("*.py"))


def dotted(node: ast.expr) -> str:
    """``torch.hub.load`` for that expression; anything but names and attributes is an empty part."""
    match node:
        case ast.Name(name):
            return name
        case ast.Attribute(value, attr):
            return f"{dotted(value)}.{attr}"
    return ""


def is_constant(node: ast.expr | None, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def unsafe_imports(node: ast.Import | ast.ImportFrom, name: str) -> Iterator[str]:
    """Why this import is not allowed in the file of this name."""
    module = (node.module or "") if isinstance(node, ast.ImportFrom) else None
    names = {alias.name if module is None else f"{module}.{alias.name}" for alias in node.names}
    modules = names | {module or ""}
    for module in sorted({module.split(".")[0] for module in modules} & PICKLES):
        yield f"{module} runs code from the file it loads"
    for module in sorted(modules & FETCHERS - MAY_FETCH.get(name, set())):
        yield f"{module} fetches; only {', '.join(MAY_FETCH)} may, diptych works on what is on the disk"
    for call in sorted(names & (FORBIDDEN_CALLS.keys() | WATCHED_CALLS)):  # so that the checks of calls see every call
        yield f"write {call} in full where it is called"


def unsafe(call: ast.Call) -> str | None:
    """None, or why this call is not allowed anywhere."""
    name = dotted(call.func)
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    if name in FORBIDDEN_CALLS:
        return f"{name} {FORBIDDEN_CALLS[name]}"
    for prefix, why in FORBIDDEN_PREFIXES.items():
        if name.startswith(prefix):
            return f"{name} {why}"
    if name == "torch.load" and not is_constant(given.get("weights_only"), True):
        return "torch.load without weights_only=True runs code from the file"
    if "allow_pickle" in given and not is_constant(given["allow_pickle"], False):
        return "allow_pickle runs code from the file"
    if "shell" in given and not is_constant(given["shell"], False):
        return "shell= joins arguments to a command line; pass a list"
    if name in {"yaml.load", "yaml.load_all"}:
        loader = given.get("Loader", call.args[1] if len(call.args) > 1 else None)
        if loader is None or not dotted(loader).endswith("SafeLoader"):
            return f"{name} without a safe loader runs code; use yaml.safe_load"
    return None


def breaches(source: str, name: str = "module.py") -> Iterator[tuple[int, str]]:
    """Line and reason of everything in a source file, named by its path in the repository, that breaks a rule."""
    if Path(name).stem.lower().strip("_") in {"util", "utils", "helper", "helpers", "manager", "managers", "misc", "common"}:
        yield 1, "the name says nothing; name the file after what it holds"
    if (length := source.count("\n")) > LONGEST:
        yield LONGEST, f"{length} lines; a source file has at most {LONGEST}"
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import() | ast.ImportFrom():
                yield from ((node.lineno, why) for why in unsafe_imports(node, name))
            case ast.Call():
                if why := unsafe(node):
                    yield node.lineno, why
            case ast.Constant(float(value)) if value == 127.5 and Path(name).name != "pixels.py":
                yield node.lineno, "127.5: only pixels.py knows value ranges"
            case ast.Attribute(attr="LOAD_TRUNCATED_IMAGES"):
                yield node.lineno, "LOAD_TRUNCATED_IMAGES turns a damaged image into a silent wrong one"


def calls_torch_load(source: str) -> bool:
    return any(isinstance(node, ast.Call) and dotted(node.func) == "torch.load" for node in ast.walk(ast.parse(source)))


def unfinished(text: str) -> list[str]:
    """Lines of a page that promise instead of saying."""
    return [line for line in text.splitlines() if re.search(r"\b(TODO|FIXME|TBD|XXX)\b", line)]


def test_every_source_file_keeps_the_house_rules():
    files = product_files()
    assert files, f"{ROOT}: the sources are not where this test looks"
    found = [
        f"{file.relative_to(ROOT)}:{line}: {why}"
        for file in files
        for line, why in breaches(file.read_text(encoding="utf-8"), file.relative_to(ROOT).as_posix())
    ]
    assert not found, "\n" + "\n".join(found)


def test_one_file_reads_other_tools_weights():
    readers = [
        file.relative_to(ROOT).as_posix() for file in product_files() if calls_torch_load(file.read_text(encoding="utf-8"))
    ]
    assert readers == [READS_FOREIGN_WEIGHTS], f"torch.load belongs in {READS_FOREIGN_WEIGHTS}, found in {', '.join(readers)}"


def test_pages_promise_nothing():
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "experiments").rglob("*.md")]
    assert pages, f"{ROOT}: the pages are not where this test looks"
    found = [f"{page.relative_to(ROOT)}: {line}" for page in pages for line in unfinished(page.read_text(encoding="utf-8"))]
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("import pickle", "pickle runs code"),
        ("from pickle import loads", "pickle runs code"),
        ("import torch\ntorch.load(path)", "without weights_only=True"),
        ("import torch\ntorch.load(path, weights_only=False)", "without weights_only=True"),
        ("import torch\ntorch.load(path, weights_only=flag)", "without weights_only=True"),
        ("import urllib.request", "fetches; only src/diptych/downloads.py, src/diptych/study/simulate.py may"),
        ("import http.client", "fetches"),
        ("from urllib import request", "fetches"),
        ("from torch import load", "write torch.load in full"),
        ("torch.save(net, path)", "torch.save pickles"),
        ("torch.hub.load('a/b', 'c')", "torch.hub.load downloads"),
        ("np.load(path, allow_pickle=True)", "allow_pickle"),
        ("yaml.load(text)", "without a safe loader"),
        ("yaml.load(text, Loader=yaml.Loader)", "without a safe loader"),
        ("x = y * 127.5", "only pixels.py"),
        ("subprocess.run(command, shell=True)", "pass a list"),
        ("os.system(command)", "runs a shell"),
        ("eval(text)", "runs text as code"),
        ("ImageFile.LOAD_TRUNCATED_IMAGES = True", "silent wrong one"),
        ("\n" * (LONGEST + 1), "at most 350"),
    ],
)
def test_a_breach_is_reported(source, why):
    ((_, found),) = breaches(source)
    assert why in found


@pytest.mark.parametrize("name", ["utils.py", "_helpers.py", "manager.py"])
def test_a_name_that_says_nothing_is_reported(name):
    assert [why for _, why in breaches("", name)] == ["the name says nothing; name the file after what it holds"]


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("torch.load(path, map_location='cpu', weights_only=True)", "files.py"),
        ("import http.client\nimport urllib.request", "src/diptych/downloads.py"),
        ("yaml.safe_load(text)\nyaml.load(text, Loader=yaml.CSafeLoader)", "recipe.py"),
        ("net.eval()\nre.compile(x)\nsubprocess.run(['ffmpeg'], shell=False)", "video.py"),
        ("HALF = 127.5", "pixels.py"),
    ],
)
def test_what_the_rules_allow_passes(source, name):
    assert list(breaches(source, name)) == []


def test_an_unfinished_page_is_reported():
    assert unfinished("# Music\n\nTODO: say more\n") == ["TODO: say more"]
    assert unfinished("A todo list is fine.") == []


@pytest.mark.parametrize("name", ["weights.py", "src/diptych/data/weights.py", "tools/weights.py"])
def test_only_one_file_may_fetch(name):
    assert "fetches" in next(breaches("import urllib.request", name))[1]


@pytest.mark.parametrize("name", MAY_FETCH)
def test_a_file_that_may_fetch_imports_nothing_else_that_does(name):
    assert "requests fetches" in next(breaches("import requests", name))[1]
    assert all((ROOT / name).exists() for name in MAY_FETCH)


def test_shapes_in_signatures_are_checked_here():
    pytest.importorskip("beartype", reason="shapes are checked by beartype, which a bare machine with a GPU may lack")
    with pytest.raises(jaxtyping.TypeCheckError, match="n c h w"):
        Domain().decode(torch.zeros(3, 4, 4))
