"""The help texts in docs/cli are those that the commands print, and every command that a page shows is understood."""

import json
import re
import shlex
from argparse import Namespace
from pathlib import Path

import pytest

from diptych import errors
from diptych.cli import COMMANDS, load, recipe_options
from diptych.cli.recipe_options import choose_recipe, parse
from diptych.recipe import Recipe
from diptych.recipes import RECIPES
from tools.write_help import FOLDER, help_texts

TEXTS = help_texts()
DOCS = FOLDER.parent
RECIPE_JSON = json.dumps(Recipe.create("pix2pix").to_dict())


@pytest.mark.parametrize("name", ["diptych", *COMMANDS])
def test_the_help_text_in_the_docs_is_the_one_printed(name):
    file = FOLDER / f"{name}.txt"
    written = file.read_text(encoding="utf-8") if file.exists() else "nothing"
    assert written == TEXTS[name], f"docs/cli/{name}.txt is out of date; run: make help-texts"


def test_there_is_no_help_text_without_a_command():
    assert {path.stem for path in Path(FOLDER).iterdir()} == {"diptych", *COMMANDS}


def commands(text: str) -> list[list[str]]:
    """The words of every diptych command that a page shows, in blocks and in tables."""
    lines = [
        line
        for block in re.findall(r"^```[a-z]*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        for line in block.replace("\\\n", " ").splitlines()
    ]
    lines += re.findall(r"`(diptych [^`\n]*)`", text)
    found = [shlex.split(line.split(" > ")[0], comments=True) for line in lines if "diptych " in line and ":" not in line[:7]]
    return [words[words.index("diptych") + 1 :] for words in found if "diptych" in words]


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda path: path.name)
def test_every_command_on_a_page_is_understood(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(recipe_options, "check_folders", lambda sources: None)  # the pages' folders are examples
    monkeypatch.setattr(recipe_options, "fetch_agreed", lambda sources, args: None)
    monkeypatch.setattr(recipe_options, "check_files", lambda paths: None)
    monkeypatch.setattr(recipe_options, "go_on_from", lambda args, start: args.from_run and args.more_epochs)
    monkeypatch.syspath_prepend(str(DOCS.parent))  # for examples.own_method
    for name in ("mine.yaml", "runs/x/recipe.json", "recipe.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(Recipe.create("cyclegan").to_yaml() if name.endswith("yaml") else RECIPE_JSON)
    for words in commands(page.read_text(encoding="utf-8")):
        if not words or words[0] not in COMMANDS:
            assert words in ([], ["COMMAND", "--help"], ["--version"]), words
        elif len(words) == 1:  # a command named in a sentence
            continue
        elif words[0] in ("train", "plan", "ablate"):
            args = parse(load(words[0]).parser(), words[1:])
            args.data = args.data or ["here"]
            assert choose_recipe(args), words
        elif words[0] == "bench":  # which takes settings of recipes, and several methods
            args = parse(load("bench").parser(), words[1:])
            for name in args.methods:
                assert choose_recipe(Namespace(**vars(args) | {"recipe": name, "data": args.on, "method": None})), words
        else:
            load(words[0]).parser().parse_args(words[1:])


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda path: path.name)
def test_every_link_on_a_page_leads_somewhere(page):
    targets = [target for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")) if "://" not in target]
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_the_commands_on_the_pages_are_found():
    found = {page.stem: len(commands(page.read_text(encoding="utf-8"))) for page in DOCS.glob("*.md")}
    assert found["train"] >= 8 and found["translate"] >= 4 and found["method"] >= 1 and found["recipes"] >= 18


def test_the_pages_name_every_recipe_and_every_exit_code():
    recipes, train = ((DOCS / name).read_text(encoding="utf-8") for name in ("recipes.md", "train.md"))
    assert [name for name in RECIPES if f"`diptych train {name}" not in recipes] == []
    codes = {getattr(kind, "exit_code", 0) for kind in vars(errors).values() if isinstance(kind, type)}
    assert [code for code in codes if code and f"| {code} |" not in train] == []
