"""The help texts in docs/cli are those that the commands print."""

from pathlib import Path

import pytest

from diptych.cli import COMMANDS
from tools.write_help import FOLDER, help_texts

TEXTS = help_texts()


@pytest.mark.parametrize("name", ["diptych", *COMMANDS])
def test_the_help_text_in_the_docs_is_the_one_printed(name):
    file = FOLDER / f"{name}.txt"
    written = file.read_text(encoding="utf-8") if file.exists() else "nothing"
    assert written == TEXTS[name], f"docs/cli/{name}.txt is out of date; run: make help-texts"


def test_there_is_no_help_text_without_a_command():
    assert {path.stem for path in Path(FOLDER).iterdir()} == {"diptych", *COMMANDS}
