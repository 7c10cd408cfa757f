"""Part of `diptych music`: build a data set of rolls and sheets, and say what came of it."""

from __future__ import annotations

import argparse

from diptych.cli.sheet_reading import LAYOUTS


def build(args: argparse.Namespace) -> int:
    """Engrave, and say what came of it."""
    from diptych.cli.console import bar, console
    from diptych.messages import counted
    from diptych.music.build import BuildConfig
    from diptych.music.build import build as run

    settings = {
        name: getattr(args, name)
        for name in ("space", "test", "val", "most", "seed", "font", "free", "pairs", "clef", "varied", "signs")
    }
    if args.val is None:
        settings["val"] = 0.0 if args.test == 1 else 0.05
    config = BuildConfig(LAYOUTS[args.layout], **settings)
    with bar("works") as progress:
        task = progress.add_task("engraving", total=None, note="")
        manifest = run(
            args.sources,
            args.out,
            config,
            jobs=args.jobs,
            watch=lambda done, total, name: progress.update(task, completed=done, total=total, note=name),
        )
    for name, reasons in manifest["without_systems"].items():
        console.print(f"skipped: {name}: {', '.join(reasons) or 'no measures'}", soft_wrap=True)
    for split in ("train", "val", "test"):
        works, systems = (manifest[key].get(split, 0) for key in ("works_used", "systems"))
        console.print(f"{split:<6}{systems:>7,} systems of {works:,} works")
    for split in (name for name in ("val", "test") if settings[name] and not manifest["systems"].get(name)):
        if came := manifest["works"].get(split, 0):
            console.print(
                f"{split} is empty: {counted(came, 'work')} of it gave no system, for reasons in works.jsonl", soft_wrap=True
            )
        else:
            what = "give more works, of more composers, or a larger share"
            console.print(f"{split} is empty: no work came to it; {what} with --{split}, and build anew", soft_wrap=True)
    console.print(f"{manifest['measures']:,} measures, {manifest['notes']:,} notes; left out, by reason:")
    for reason, number in list(manifest["left_out"].items())[:12]:
        console.print(f"{number:>8,}  {reason}", soft_wrap=True)
    alike = manifest["near_duplicates"]
    for pair in alike[:12]:
        text = "{first} ({first_split}) and {second} ({second_split}) share {shared:.0%} of the shorter one's melody".format(
            **pair
        )
        console.print(text, soft_wrap=True)
    if alike:
        further = f", {len(alike) - 12:,} further pairs are" if len(alike) > 12 else ""
        console.print(f"works that are alike across splits make scores too good{further} in manifest.json", soft_wrap=True)
    console.print(f"sheets and rolls in {args.out}", soft_wrap=True)
    return 0
