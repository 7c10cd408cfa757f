"""What `import diptych` promises: these names, this version, and no waiting for torch."""

import subprocess
import sys
from importlib.metadata import version

import pytest

import diptych

NAMES = {
    "ConfigError",
    "DataError",
    "DiptychError",
    "Domain",
    "Recipe",
    "Snapshot",
    "SnapshotError",
    "Translator",
    "evaluate",
    "train",
}


def in_a_fresh_interpreter(code):
    """What a program prints, its last line being the seconds of CPU it took and whether it loaded torch."""
    code = f"import sys, time\n{code}\nprint(time.process_time(), 'torch' in sys.modules)"
    lines = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.splitlines()
    seconds, torch = lines[-1].split()
    return lines[:-1], float(seconds), torch == "True"


def test_the_public_names_are_these():
    assert set(diptych.__all__) == NAMES


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_public_name_is_there_and_documented(name):
    assert getattr(diptych, name).__doc__


def test_any_other_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'diptych' has no attribute 'Recipee'"):
        diptych.Recipee  # noqa: B018


def test_importing_diptych_takes_no_time_and_no_torch():
    _, seconds, torch = in_a_fresh_interpreter("import diptych")
    assert seconds < 1 and not torch


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["train", "--help"], ["translate", "--help"]])
def test_help_takes_no_time_and_no_torch(words):
    code = f"from diptych.cli import main\ntry:\n    main({words!r})\nexcept SystemExit as leaving:\n    assert leaving.code == 0"
    lines, seconds, torch = in_a_fresh_interpreter(code)
    assert lines and seconds < 1 and not torch


def test_the_check_sees_torch_when_it_is_there():
    assert in_a_fresh_interpreter("import diptych\ndiptych.Domain")[2]


def test_the_version_is_the_installed_one():
    lines, _, _ = in_a_fresh_interpreter(
        "from diptych.cli import main\ntry:\n    main(['--version'])\nexcept SystemExit:\n    pass"
    )
    assert lines == [f"diptych {version('diptych')}"]
