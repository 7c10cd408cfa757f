"""What every page of diptych shares: its frame and style, and everything it shows embedded in one HTML file.

A page is a template that extends ``base.html.j2``. It fetches nothing and runs nothing, and the policy in its head enforces that.
"""

from __future__ import annotations

import base64
import io
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from diptych.files import write_atomic
from diptych.messages import show

HERE = Path(__file__).parent


def write_page(path: Path, text: str) -> None:
    """Write a page. Bytes in file names that are no text become question marks. Raises StorageError when it cannot be written."""
    write_atomic(path, text.encode("utf-8", "replace"))


def render(template: str, values: dict[str, Any], folder: Path = HERE) -> str:
    """The text of a page. ``folder`` holds its template, which may extend and include what lies beside this file."""
    return _environment(folder).get_template(template).render(values, version=version("diptych"))


@cache
def _environment(folder: Path) -> Environment:
    environment = Environment(
        loader=FileSystemLoader([folder, HERE]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"counted": counted, "show": show}
    environment.filters["capital"] = capital
    return environment


def data_uri(media_type: str, data: bytes) -> str:
    """A file as an address that a page can hold, such as ``data:image/png;base64,...``."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def embedded(image: bytes) -> dict[str, Any]:
    """An image file with its ``uri``, ``width`` and ``height``. Raises what PIL raises when it is no image."""
    with Image.open(io.BytesIO(image)) as opened:
        media_type, (width, height) = f"image/{(opened.format or 'png').lower()}", opened.size
    return {"uri": data_uri(media_type, image), "width": width, "height": height}


def counted(count: int, noun: str) -> str:
    """A number with its noun: ``1 image``, ``12,000 images``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def capital(text: str) -> str:
    """The same text, beginning with a capital letter; the rest keeps its case, unlike with Jinja's own ``capitalize``."""
    return text[:1].upper() + text[1:]
