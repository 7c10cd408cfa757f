"""Snapshots: one self-describing file with trained generators and everything that translating with them needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import nn

from diptych.errors import ConfigError, SnapshotError
from diptych.nets.modes import Mode
from diptych.pixels import Domain
from diptych.schemas import checked
from diptych.settings import Size
from diptych.snapshot_schema import SNAPSHOT, built
from diptych.stored_weights import Bits, restored, stored
from diptych.trees import Tree, read_header, read_tree, write_tree
from diptych.zoo import generator_beside, instead_of, resolve

FORMAT = 3  # the newest: 3 has weights in 8 bits, 2 says how files are read (Domain.icc and what follows it); older files load
PLAIN = 2  # of all files without weights in 8 bits


@dataclass(frozen=True)
class Snapshot:
    """Generators by direction (``a2b``, ``b2a``), with the domains that they translate between.

    ``size`` is the image size in pixels that they were trained at, a side or (height, width); 0 if images had their own sizes or
    it is unknown.
    ``mode`` is how they are applied by default (see diptych.nets.modes). ``about`` holds facts such as the recipe, the number
    of images seen and the origin. ``discriminators`` holds those that an import found, by name; translating does not need them.
    ``file`` is where it was loaded from.
    """

    generators: Mapping[str, nn.Module]
    a: Domain
    b: Domain
    size: Size = 0
    mode: Mode = "eval"
    about: dict[str, Any] = field(default_factory=dict)
    discriminators: Mapping[str, nn.Module] = field(default_factory=dict)
    file: Path | None = field(default=None, compare=False)

    def domains(self, direction: str) -> tuple[Domain, Domain]:
        """The domains of the input and of the output in a direction.

        Raises ConfigError when this snapshot does not translate in this direction.
        """
        if direction not in self.generators:
            beside = generator_beside(self.file, direction) if self.file else ""
            if not self.generators:
                advice = f"take {beside} of the zoo" if beside else "import a generator"
                raise ConfigError(f"this snapshot holds only discriminators, which translate nothing; {advice}")
            advice = f"{beside} of the zoo translates the other way" if beside else "choose one of these directions"
            raise ConfigError(f"this snapshot translates {' and '.join(self.generators)}, not {direction}; {advice}")
        return (self.a, self.b) if direction == "a2b" else (self.b, self.a)

    def save(self, path: str | Path, bits: Bits = 32) -> str:
        """Write the file atomically, and return the SHA-256 of its content.

        ``bits`` are those of a weight (see diptych.stored_weights); 32 keeps all weights as they are. Raises WeightsError for
        weights that so few bits cannot hold.
        """
        header = {
            "kind": "snapshot",
            "format": FORMAT if bits == 8 else PLAIN,
            "version": version("diptych"),
            "a": _described(self.a),
            "b": _described(self.b),
        }
        header |= {"size": self.size, "mode": self.mode, "about": self.about}
        return write_tree(
            Path(path), header | {"generators": _dump(self.generators, bits), "discriminators": _dump(self.discriminators, bits)}
        )

    @classmethod
    def load(cls, path: str | Path) -> Snapshot:
        """Read and verify a file, the last snapshot in a run folder, or a network of the zoo by its name.

        The generators are on the CPU, in eval mode, without gradients. Raises SnapshotError when the file is missing, damaged,
        not a snapshot, or written by a newer version.
        """
        path = snapshot_in(path)
        try:
            check_header(path, "snapshot", FORMAT)
        except SnapshotError as error:
            raise SnapshotError(f"{error}{instead_of(path)}") from error
        try:
            tree = checked(read_tree(path), SNAPSHOT)
            a, b = Domain(**tree["a"]), Domain(**tree["b"])
            nets = [
                {name: built(name, entry["spec"], restored(name, entry)) for name, entry in tree.get(part, {}).items()}
                for part in ("generators", "discriminators")
            ]
        except (ValueError, TypeError, ConfigError) as error:
            raise SnapshotError(f"{path}: no whole snapshot: {' '.join(str(error).split())[:300]}; use another copy") from error
        return cls(nets[0], a, b, tree["size"], tree["mode"], tree["about"], nets[1], path)


def snapshot_in(path: str | Path) -> Path:
    """The last snapshot of a run folder, or the file of a network of the zoo by its name; any other path as it is."""
    path = resolve(path)
    inside = path / "snapshot.safetensors"
    return inside if inside.is_file() else path


def _described(domain: Domain) -> dict[str, Any]:
    """The values of a domain; those of labels only where there are any, so that earlier versions can read all others."""
    values = asdict(domain)
    return {name: value for name, value in values.items() if value != () and (name, value) != ("instances", False)}


def _dump(nets: Mapping[str, nn.Module], bits: Bits) -> Tree:
    return {name: {"spec": net.spec, **stored(name, net, bits)} for name, net in nets.items()}


def check_header(path: Path, kind: str, newest: int) -> None:
    """Raise SnapshotError unless a file is of this kind, in a format that this version knows."""
    header = read_header(path)
    if header.get("kind") != kind:
        found = f"is a {header['kind']}" if header.get("kind") else f"is not a diptych {kind}"
        raise SnapshotError(f"{path}: {found}, expected a {kind}; give a {kind} file")
    if not isinstance(header.get("format", 0), int):
        raise SnapshotError(f"{path}: damaged: format must be a whole number, found {header['format']!r:.60}; use another copy")
    if header.get("format", 0) > newest:
        raise SnapshotError(
            f"{path}: format {header['format']} is newer than this version of diptych understands ({newest}); upgrade diptych"
        )
