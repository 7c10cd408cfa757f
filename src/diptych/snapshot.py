"""Snapshots: trained generators in one self-describing file, all that translating needs and nothing that training needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import nn

from diptych.errors import ConfigError, SnapshotError
from diptych.nets import build_net
from diptych.nets.modes import Mode
from diptych.pixels import Domain
from diptych.trees import Tree, read_header, read_tree, write_tree

FORMAT = 1


@dataclass(frozen=True)
class Snapshot:
    """Generators by direction with the domains they map between.

    ``size`` is the image size in pixels they were trained at, 0 when it is the images' own or unknown; ``mode`` how they are
    applied unless asked otherwise (see diptych.nets.modes); ``about`` anything worth knowing: recipe, images seen, origin.
    ``discriminators`` by name are kept where an import found some; translating needs none.
    """

    generators: Mapping[str, nn.Module]
    a: Domain
    b: Domain
    size: int = 0
    mode: Mode = "eval"
    about: dict[str, Any] = field(default_factory=dict)
    discriminators: Mapping[str, nn.Module] = field(default_factory=dict)

    def domains(self, direction: str) -> tuple[Domain, Domain]:
        """What goes in and what comes out in a direction.

        Raises ConfigError when this snapshot does not translate in it.
        """
        if not self.generators:
            raise ConfigError("this snapshot holds only discriminators, which translate nothing; import a generator")
        if direction not in self.generators:
            raise ConfigError(
                f"this snapshot translates {' and '.join(self.generators)}, not {direction}; choose one of these directions"
            )
        return (self.a, self.b) if direction == "a2b" else (self.b, self.a)

    def save(self, path: str | Path) -> str:
        """Write the file atomically; returns its SHA-256."""
        header = {"kind": "snapshot", "format": FORMAT, "version": version("diptych"), "a": asdict(self.a), "b": asdict(self.b)}
        header |= {"size": self.size, "mode": self.mode, "about": self.about}
        return write_tree(
            Path(path), header | {"generators": _dump(self.generators), "discriminators": _dump(self.discriminators)}
        )

    @classmethod
    def load(cls, path: str | Path) -> Snapshot:
        """Read and verify a file, generators on the CPU in eval mode.

        Raises SnapshotError when it is missing, damaged, newer than this version, or not a snapshot.
        """
        check_header(Path(path), "snapshot", FORMAT)
        tree = read_tree(Path(path))
        generators, discriminators = _build(tree["generators"]), _build(tree.get("discriminators", {}))
        return cls(
            generators, Domain(**tree["a"]), Domain(**tree["b"]), tree["size"], tree["mode"], tree["about"], discriminators
        )


def _dump(nets: Mapping[str, nn.Module]) -> Tree:
    return {name: {"spec": net.spec, "weights": net.state_dict()} for name, net in nets.items()}


def _build(saved: Tree) -> dict[str, nn.Module]:
    nets = {}
    for name, entry in saved.items():
        nets[name] = build_net(entry["spec"]).eval().requires_grad_(False)
        nets[name].load_state_dict(entry["weights"])
    return nets


def check_header(path: Path, kind: str, newest: int) -> None:
    """Raise SnapshotError unless the file says that it is of this kind and not newer than we know."""
    header = read_header(path)
    if header.get("kind") != kind:
        raise SnapshotError(f"{path}: holds a {header.get('kind', 'nameless thing')}, expected a {kind}; give a {kind} file")
    if header.get("format", 0) > newest:
        raise SnapshotError(f"{path}: format {header['format']} is newer than this diptych knows ({newest}); upgrade diptych")
