"""Imports point down only. FLOORS below is the architecture of docs/architecture.md, as a table that can fail."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "diptych"

# One row per floor, lowest first. A new module takes its place here before anything may import it.
FLOORS = {
    "pieces": {
        "errors",
        "settings",
        "pixels",
        "reading",
        "palette",
        "nets",
        "losses",
        "contrastive",
        "device",
        "diffaugment",
        "sheets",
        "files",
        "trees",
        "schemas",
        "state_dicts",
        "stored_weights",
        "file_kinds",
        "memory",
        "choices",
        "extras",
        "messages",
        "licences",
        "overlap",
        "motion",
        "downloads",
        "walking",
    },
    "rooms": {"methods", "data", "metrics"},
    "contracts": {
        "locks",
        "loss_networks",
        "recipe",
        "recipe_files",
        "recorded",
        "renamed",
        "setting_hints",
        "presets",
        "recipes",
        "snapshot",
        "snapshot_schema",
        "stats_lines",
        "hub",
        "zoo",
        "foreign",
        "run",
    },
    "engines": {"training", "inference", "evaluation"},
    "compositions": {"pages", "scoring"},
    "applications": {"study", "server", "music", "prepare", "ablation", "bench"},
    "command line": {"cli", "__main__"},
}
SOCIABLE = {"pieces", "contracts", "compositions", "command line"}  # on every other floor, neighbours never import one another
FORBIDDEN = {  # besides the floors: importer -> what it must not know
    "inference": {"methods", "training"},  # a snapshot of any method loads without that method's code
    "training": {"metrics"},  # scoring composes them
}
DOOR = ""  # diptych/__init__.py: may import anything, and only the command line may come in through it

FLOOR = {name: floor for floor, names in FLOORS.items() for name in names}
HEIGHT = {floor: height for height, floor in enumerate(FLOORS)}


def parts_of(file: Path) -> tuple[str, ...]:
    """The module's dotted path below diptych, with a trailing __init__ kept."""
    return file.relative_to(PACKAGE).with_suffix("").parts


def imports(source: str, parts: tuple[str, ...]) -> list[tuple[int, str]]:
    """Line and top-level name below diptych of every import in a module; the door itself is ``DOOR``.

    Imports inside functions, under TYPE_CHECKING and through import_module("...") count as well.
    """
    found: list[tuple[int, str]] = []

    def add(line: int, dotted: str, names: list[str]) -> None:
        head, *rest = dotted.split(".")
        if head == "diptych":
            inside = rest[:1] or [name if name in FLOOR else DOOR for name in names if name != "__version__"]
            found.extend((line, name) for name in inside)

    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import():
                for alias in node.names:
                    add(node.lineno, alias.name, [DOOR])
            case ast.ImportFrom(level=0, module=str(module)):
                add(node.lineno, module, [alias.name for alias in node.names])
            case ast.ImportFrom():
                base = ("diptych", *parts)[: len(parts) + 1 - node.level]
                add(node.lineno, ".".join([*base, *filter(None, [node.module])]), [alias.name for alias in node.names])
            case ast.Call(ast.Name("import_module") | ast.Attribute(attr="import_module"), [ast.Constant(str(name)), *_]):
                add(node.lineno, name, [DOOR])
    return found


def may_import(importer: str, imported: str) -> str | None:
    """None, or why a module below ``importer`` may not import ``imported``."""
    if imported in FORBIDDEN.get(importer, ()):
        return f"{importer} must not know {imported}"
    if importer == imported or FLOOR[importer] == "command line":
        return None
    if imported == DOOR:
        return "only the command line comes in through the door; import the module itself"
    if imported not in FLOOR:
        return f"{imported} is in no row of FLOORS"
    below, above = HEIGHT[FLOOR[imported]], HEIGHT[FLOOR[importer]]
    if below > above:
        return f"{imported} ({FLOOR[imported]}) stands above {importer} ({FLOOR[importer]})"
    if below == above and FLOOR[importer] not in SOCIABLE:
        return f"{importer} and {imported} are neighbours ({FLOOR[importer]}) and don't know each other"
    return None


def breaches(source: str, parts: tuple[str, ...]) -> list[str]:
    """Every line of a module that breaks the architecture, as ``path:line: why``."""
    path = "/".join(parts) + ".py"
    if parts == ("__init__",):
        return []
    if parts[0] not in FLOOR:
        return [f"{path}:1: {parts[0]} is in no row of FLOORS"]
    whys = ((line, may_import(parts[0], imported)) for line, imported in imports(source, parts))
    found = [(line, why) for line, why in whys if why]
    if FLOOR[parts[0]] != "command line":
        found += console(source)
    return [f"{path}:{line}: {why}" for line, why in sorted(found)]


def console(source: str) -> list[tuple[int, str]]:
    """Uses of argv, print and exit, which belong to the command line."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Name("print" | "input" | "exit" | "quit" | "SystemExit" as name, ctx=ast.Load()):
                found.append((node.lineno, f"only the command line may use {name}"))
            case ast.Attribute(ast.Name("sys"), "argv" | "exit" | "orig_argv" as name):
                found.append((node.lineno, f"only the command line may use sys.{name}"))
            case ast.ImportFrom(module="sys") if {"argv", "exit"} & {alias.name for alias in node.names}:
                found.append((node.lineno, "only the command line may import argv or exit"))
    return found


def modules_after(statement: str) -> set[str]:
    """Names in sys.modules after a statement ran in a fresh interpreter."""
    code = f"import sys\n{statement}\nsys.stdout.write(' '.join(sys.modules))"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


def test_imports_point_down_and_only_the_command_line_talks():
    files = sorted(PACKAGE.rglob("*.py"))
    assert len(files) > 5, f"{PACKAGE}: the package is not where this test looks"
    found = [breach for file in files for breach in breaches(file.read_text(encoding="utf-8"), parts_of(file))]
    assert not found, "\n" + "\n".join(found)


def test_the_command_line_starts_without_torch():
    assert "torch" in modules_after("import diptych.pixels")  # so the check sees torch when it is there
    assert "torch" not in modules_after("import diptych.cli")
    listing = (
        "import contextlib, io\nfrom diptych.cli import main\nwith contextlib.redirect_stdout(io.StringIO()): main(['fetch'])"
    )
    assert "torch" not in modules_after(listing)


@pytest.mark.parametrize(
    ("module", "line", "why"),
    [
        ("losses", "import diptych.methods.cut", "methods (rooms) stands above losses (pieces)"),
        ("nets/unet", "from diptych import training", "training (engines) stands above nets (pieces)"),
        ("data/folders", "from ..recipe import Recipe", "recipe (contracts) stands above data (rooms)"),
        ("data/__init__", "from ..recipe import Recipe", "recipe (contracts) stands above data (rooms)"),
        ("losses", "from .run import Run", "run (contracts) stands above losses (pieces)"),
        ("methods/cut", "from diptych.data.folders import find_pairs", "methods and data are neighbours (rooms)"),
        ("evaluation/report", "def f():\n    import diptych.inference", "evaluation and inference are neighbours (engines)"),
        ("study/app", "from diptych.server import app", "study and server are neighbours (applications)"),
        ("inference/tiles", "from diptych.methods.base import Method", "inference must not know methods"),
        ("inference/tiles", 'importlib.import_module("diptych.training.loop")', "inference must not know training"),
        ("training/loop", "from diptych.metrics import fid", "training must not know metrics"),
        ("training/loop", "from diptych import Translator", "only the command line comes in through the door"),
        ("training/loop", "import diptych", "only the command line comes in through the door"),
        ("metrics/fid", "from diptych.attic import old", "attic is in no row of FLOORS"),
        ("attic", "", "attic is in no row of FLOORS"),
        ("training/loop", "print('step')", "only the command line may use print"),
        ("run", "sys.exit(2)", "only the command line may use sys.exit"),
        ("run", "raise SystemExit(2)", "only the command line may use SystemExit"),
        ("recipe", "from sys import argv", "only the command line may import argv or exit"),
    ],
)
def test_a_breach_is_reported(module, line, why):
    (breach,) = breaches(line, tuple(module.split("/")))
    assert why in breach


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("pixels", "from diptych.errors import ConfigError"),
        ("methods/cut", "from diptych.methods.base import Method"),
        ("methods/cut", "from .base import Method"),
        ("data/folders", "import diptych_extras"),
        ("snapshot", "from diptych import __version__, pixels"),
        ("recipe", "from diptych.run import Run"),
        ("server/app", "from diptych.inference.translator import Translator"),
        ("cli/train", "import sys\nfrom diptych import train\nprint(sys.argv)\nsys.exit(0)"),
        ("__init__", "from diptych.training.loop import train"),
    ],
)
def test_what_the_architecture_allows_passes(module, line):
    assert breaches(line, tuple(module.split("/"))) == []
