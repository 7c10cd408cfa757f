"""Load the pages of a picture or a PDF as gray pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from diptych.data.formats import read_pixels
from diptych.errors import DataError
from diptych.extras import extra
from diptych.files import read_bounded

DPI = 200  # at which pages of PDFs are drawn: about 14 pixels a staff space
MAX_BYTES, MAX_PAGES, MAX_SIDE, MAX_PIXELS = 256_000_000, 200, 8_000, 1_000_000_000
Gray = UInt8[np.ndarray, "_ _"]  # pages of one document may differ in size


def load_pages(path: Path) -> list[Gray]:
    """Return the pages of a PDF, or a picture as one page, in gray. Raises DataError, in one line that begins with the path."""
    if path.suffix.lower() == ".pdf":
        return _pdf_pages(path)
    return [to_gray(read_pixels(path), path)]


def to_gray(pixels: UInt8[np.ndarray, "h w c"], path: Path) -> Gray:
    """Return a picture in gray. Raises DataError for pixels of another kind than 8 bits of gray or colours."""
    if pixels.dtype != np.uint8 or pixels.shape[2] not in (1, 3):
        raise DataError(f"{path}: has {pixels.shape[2]} channel(s) of {pixels.dtype}; convert it to 8 bits of gray or colours")
    return pixels[..., 0] if pixels.shape[2] == 1 else np.array(Image.fromarray(pixels).convert("L"))


def _pdf_pages(path: Path) -> list[Gray]:
    pdfium = extra("pypdfium2", "music", "PDF files")
    try:
        with pdfium.PdfDocument(read_bounded(path, MAX_BYTES)) as document:
            if len(document) > MAX_PAGES:
                raise DataError(f"{path}: has {len(document):,} pages, and at most {MAX_PAGES} are read; split it")
            sizes = [document.get_page_size(number) for number in range(len(document))]
            scales = [min(DPI / 72, MAX_SIDE / max(*size, 1)) for size in sizes]
            pixels = sum(w * h * scale**2 for (w, h), scale in zip(sizes, scales, strict=True))
            if pixels > MAX_PIXELS:
                raise DataError(f"{path}: its pages have {pixels:,.0f} pixels, and at most {MAX_PIXELS:,} are drawn; split it")
            return [_drawn(page, scale) for page, scale in zip(document, scales, strict=True)]
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); give a PDF or a picture") from error
    except pdfium.PdfiumError as error:
        raise DataError(f"{path}: is damaged or locked ({error}); export it again") from error


def _drawn(page: Any, scale: float) -> Gray:
    return np.array(page.render(scale=scale, grayscale=True).to_pil().convert("L"))
