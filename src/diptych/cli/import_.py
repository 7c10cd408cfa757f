"""diptych import: turn weights of another tool into a snapshot, and infer everything about their networks."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from diptych.cli import command_parser, out_or_default
from diptych.cli.own_files import out_file
from diptych.errors import ConfigError

if TYPE_CHECKING:  # the real import waits until the command runs, so that --help is instant
    from diptych.foreign import Foreign, Said

EXAMPLES = """\
  diptych import latest_net_G.pth                                  writes latest_net_G.safetensors
  diptych import latest_net_G_A.pth latest_net_G_B.pth --out horse2zebra.safetensors
  diptych import cyclegan.ckpt                                     both generators of one file, and its discriminators
The second file, if there is one, translates back (b2a). What a file cannot say is assumed, and printed with the option that
changes it. Discriminators are kept beside the generators, and can be imported alone, although they translate nothing."""


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = command_parser("import", EXAMPLES)
    p.add_argument("a2b", metavar="FILE.pth", type=Path, help="weights that another tool wrote: .pth, .pt, .ckpt or .safetensors")
    p.add_argument("b2a", metavar="BACK.pth", type=Path, nargs="?", help="the generator for the other direction, if there is one")
    p.add_argument(
        "--out",
        type=out_file,
        metavar="FILE",
        help="the snapshot to write (default: FILE.safetensors beside the first file, if there is none yet)",
    )
    p.add_argument(
        "--take", metavar="a2b=NAME,b2a=NAME", help="which generators of a file with several to take, if their names don't tell"
    )
    paddings = ("reflect", "replicate", "zero")
    p.add_argument(
        "--padding", choices=paddings, help="how residual blocks pad the border (default: as the file says, or reflect)"
    )
    p.add_argument(
        "--edge-padding",
        choices=paddings,
        help="how the first and last convolution and resize-convolutions do (default: likewise)",
    )
    p.add_argument(
        "--norm",
        choices=("instance", "batch", "none"),
        help="the norm that has no parameters in the file; batch uses its running statistics (default: instance)",
    )
    p.add_argument("--heads", type=int, metavar="N", help="how many heads a transformer has (default: 6, as published)")
    p.add_argument(
        "--code",
        type=int,
        metavar="N",
        help="how many of a U-Net's input channels are a code beside the image: 8 for BicycleGAN given it there, or 0",
    )
    p.add_argument("--dropout", action=argparse.BooleanOptionalAction, help="whether a U-Net had dropout (default: as published)")
    return p


def main(argv: Sequence[str]) -> int:
    """Recognise the networks, print what was found and what was assumed, and write the snapshot."""
    args = parser().parse_args(argv)
    from diptych.cli.console import console
    from diptych.cli.own_files import refuse_foreign, refuse_suffix
    from diptych.files import refuse_overwrite
    from diptych.foreign import Said, to_snapshot

    refuse_overwrite(args.out or args.a2b.with_suffix(".safetensors"), args.a2b, args.b2a)
    out = out_or_default(args.out, args.a2b.with_suffix(".safetensors"))
    refuse_suffix(out, (".safetensors",), "a snapshot")
    refuse_foreign(out, (b"diptych", b'\\"origin\\":'))
    said = Said(args.padding, args.edge_padding, args.norm, args.dropout, args.heads, args.code)
    found, lines = networks_of(args.a2b, args.b2a, said, taken(args.take))
    for line in lines:
        console.print(line, soft_wrap=True)
    to_snapshot(found).save(out)
    console.print(f"snapshot  {out}", soft_wrap=True)
    return 0


def networks_of(a2b: Path, b2a: Path | None, said: Said, take: dict[str, str]) -> tuple[dict[str, Foreign], list[str]]:
    """The networks of one or two files by direction and name, and what to say about them.

    Raises ConfigError when two files are given and one of them holds both directions already, or none.
    """
    from diptych.foreign import load_networks
    from diptych.foreign.layers import STATISTICS
    from diptych.messages import show
    from diptych.nets.latent import LatentUNet

    if b2a is None:
        loaded = load_networks(a2b, said, take)
        found, labels, notes = loaded.all(), dict(loaded.labels), list(loaded.notes)
    else:
        if take:
            raise ConfigError("--take chooses from one file; leave it out where each direction has a file of its own")
        found, labels, notes = {}, {}, []
        for direction, path in (("a2b", a2b), ("b2a", b2a)):
            loaded = load_networks(path, said)
            if list(loaded.generators) != ["a2b"]:
                held = "both directions" if loaded.generators else "no generator"
                raise ConfigError(f"{show(path)}: holds {held}; give two files of one generator each, or one file of two")
            for name, foreign in loaded.all().items():
                place = direction if name == "a2b" else f"D_{direction[-1]}"
                found[place], labels[place] = foreign, loaded.labels[name]
            notes += loaded.notes
    lines = []
    for name, foreign in found.items():
        label = f"{labels[name]}, " if labels.get(name) else ""
        lines.append(f"{name}: {label}{foreign.origin}")
        if foreign.assumed:
            guesses = "; ".join(f"{guess.what} (to change it: {guess.option})" for guess in foreign.assumed.values())
            lines.append(f"{name}: assumed: {guesses}")
        if foreign.stale:
            what = "running statistics" if all(key.endswith(STATISTICS) for key in foreign.stale) else "tensors"
            lines.append(f"{name}: {len(foreign.stale):,} {what} in the file are not used")
        if isinstance(foreign.net, LatentUNet):
            lines.append(f"{name}: draws a code of {foreign.net.latent} numbers (translate --seed gives another answer)")
        elif foreign.role == "generator" and foreign.mode == "paper":
            lines.append(f"{name}: is applied as in training, as its makers' test script does (translate --mode eval changes it)")
    return found, lines + notes


def taken(words: str | None) -> dict[str, str]:
    """The choice of generators by direction. Raises ConfigError for words that are none."""
    pairs = [word.partition("=") for word in words.split(",")] if words else []
    chosen = {direction.strip(): name.strip() for direction, _, name in pairs}
    if any(direction not in ("a2b", "b2a") or not name for direction, name in chosen.items()) or len(chosen) < len(pairs):
        raise ConfigError(f"--take must be a2b=NAME, b2a=NAME or both with a comma between them, found {words!r}")
    return chosen
