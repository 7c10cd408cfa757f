"""The floors that SECURITY.md promises are those of pyproject.toml, and the tested versions stand on them."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
ROW = re.compile(r"^\| ([a-z0-9_-]+) \| ([0-9.]+) \|", re.MULTILINE)


def promised(text):
    """Package -> the floor of the table in SECURITY.md."""
    table = text.partition("## Versions")[2].partition("\n## ")[0]
    return {name: Version(floor) for name, floor in ROW.findall(table)}


def ranges(text):
    """Package -> its ranges in pyproject.toml, without the tools of development, which name no versions."""
    project = tomllib.loads(text)["project"]
    extras = {name: lines for name, lines in project["optional-dependencies"].items() if name != "dev"}
    found = {}
    for line in [*project["dependencies"], *(line for lines in extras.values() for line in lines)]:
        requirement = Requirement(line)
        found.setdefault(canonicalize_name(requirement.name), []).append(requirement.specifier)
    return found


def pinned(text):
    """Package -> the version in constraints.txt."""
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    return {canonicalize_name(name): Version(version) for name, _, version in (line.partition("==") for line in lines) if version}


def faults(security, pyproject, constraints):
    """What disagrees, in words."""
    floors, allowed, tested = promised(security), ranges(pyproject), pinned(constraints)
    found = [f"{name}: no range in pyproject.toml" for name in floors if name not in allowed]
    for name, floor in floors.items():
        for specifier in allowed.get(name, []):
            least = [Version(part.version) for part in specifier if part.operator == ">="]
            if least != [floor]:
                found.append(f"{name}: pyproject.toml says {specifier}, SECURITY.md at least {floor}")
    for name, specifiers in allowed.items():
        version = tested.get(name)
        if version is None and name not in floors:
            continue  # an extra that the tests do without
        if version is None or not all(version in specifier for specifier in specifiers):
            found.append(f"{name}: constraints.txt has {version}, pyproject.toml allows {' and '.join(map(str, specifiers))}")
    return found


FILES = [(ROOT / name).read_text() for name in ("SECURITY.md", "pyproject.toml", "constraints.txt")]


def test_security_pyproject_and_constraints_agree():
    assert {"torch", "onnx", "onnxruntime", "pillow", "starlette"} <= promised(FILES[0]).keys()
    assert faults(*FILES) == []


@pytest.mark.parametrize(
    ("place", "old", "new", "fault"),
    [
        (1, '"torch>=2.11"', '"torch>=2.9"', "torch: pyproject.toml says >=2.9, SECURITY.md at least 2.11"),
        (1, 'openvino = ["onnx>=1.23"', 'openvino = ["onnx"', "onnx: pyproject.toml says , SECURITY.md at least 1.23"),
        (0, "| pillow | 13.0.0 |", "| pillow | 12.1 |", "pillow: pyproject.toml says >=13.0.0, SECURITY.md at least 12.1"),
        (2, "torch==2.13.0", "torch==2.10.0", "torch: constraints.txt has 2.10.0, pyproject.toml allows >=2.11"),
        (2, "starlette==1.10.0\n", "", "starlette: constraints.txt has None, pyproject.toml allows >=1.3.1"),
        (0, "| onnx | 1.23 |", "| cairosvg | 1.23 |", "cairosvg: no range in pyproject.toml"),
    ],
)
def test_a_disagreement_is_found(place, old, new, fault):
    changed = list(FILES)
    changed[place] = FILES[place].replace(old, new)
    assert changed[place] != FILES[place]
    assert fault in faults(*changed)


def test_the_citation_and_the_readme_name_the_versions_of_the_project():
    project = tomllib.loads(FILES[1])["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= citation.keys(), "what the format demands"
    assert (citation["title"].partition(":")[0], citation["version"]) == (project["name"], project["version"])
    assert citation["license"] == project["license"] and [author["name"] for author in citation["authors"]] == [
        "The diptych authors"
    ]
    readme = (ROOT / "README.md").read_text()
    assert set(re.findall(r"torch==([\d.]+\d)", readme)) == {str(pinned(FILES[2])["torch"])}
    assert f"Python {project['requires-python'].removeprefix('>=')} or newer" in readme
    extras = set(re.findall(r"'\.\[(\w+)\]'", readme))
    assert extras and extras <= project["optional-dependencies"].keys()
