"""Shells complete commands, options, choices and paths, by the scripts that shtab makes of the parsers."""

import shutil
import subprocess

import pytest

from diptych.cli import COMMANDS
from diptych.cli.completion import whole_parser

shtab = pytest.importorskip("shtab")

TRY = """\
source ./script
COMP_WORDS=(diptych {words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); COMPREPLY=()
_shtab_diptych diptych "${{COMP_WORDS[COMP_CWORD]}}" "${{COMP_WORDS[COMP_CWORD - 1]}}"
echo "${{COMPREPLY[@]}}"
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the script for bash and a photo."""
    folder = tmp_path_factory.mktemp("completion")
    (folder / "script").write_text(shtab.complete(whole_parser(), "bash"))
    (folder / "photo.jpg").touch()
    return folder


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("tra", "train translate"),
        ("evaluate --metr", "--metrics"),
        ("import x.pth --padding re", "reflect replicate"),
        ("study s", "serve simulate"),
        ("translate snapshot.safetensors pho", "photo.jpg"),
        ("translate snapshot.safetensors --out pho", "photo.jpg"),
    ],
)
def test_bash_completes(words, found, place):
    answer = subprocess.run(["bash", "-c", TRY.format(words=words)], cwd=place, capture_output=True, text=True, check=True)
    assert answer.stdout.split() == found.split(), answer.stderr


def test_zsh_is_told_every_command_and_path(tmp_path):
    script = shtab.complete(whole_parser(), "zsh")
    assert script.startswith("#compdef diptych") and all(f"\n    {name}:" in script for name in COMMANDS)
    assert "--edge-padding" in script and "(reflect replicate zero)" in script and script.count(":_files") > 30
    if shutil.which("zsh"):
        (tmp_path / "_diptych").write_text(script)
        subprocess.run(["zsh", "-n", tmp_path / "_diptych"], check=True)
