"""DICOM files <-> native pixels, in the units that the file declares (such as Hounsfield units), with pydicom."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np

from diptych.data.metadata import Metadata, Picture
from diptych.data.pillow_images import check_size
from diptych.errors import DataError
from diptych.extras import extra
from diptych.reading import Reading

VALUE_TAGS = (  # what says something of pixel values, which are others in a result
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "ModalityLUTSequence",
    "VOILUTSequence",
    "SmallestImagePixelValue",
    "LargestImagePixelValue",
    "WindowCenter",
    "WindowWidth",
)


def decode_dicom(data: bytes, reading: Reading, frame: int = 0) -> Picture:
    """Decode one frame. Slope and intercept are applied, and padding becomes NaN.

    MONOCHROME1 is inverted over the range of its bits, so that high is bright; values that were rescaled have units, such as
    Hounsfield units, which an inversion would falsify, so they stay as they are.
    """
    pydicom = extra("pydicom", "medical", "DICOM, and")
    apply_modality_lut, pixel_array = pydicom.pixels.apply_modality_lut, pydicom.pixels.pixel_array

    found = pydicom.dcmread(io.BytesIO(data))
    if "PixelData" not in found:
        raise DataError("is DICOM without pixels, such as a report or a plan; remove it")
    check_size(int(found.Rows), int(found.Columns))
    try:
        raw = pixel_array(found, index=frame)
    except RuntimeError as error:  # no decoder for this compression is installed
        raise NotImplementedError(str(error)) from error
    pixels = apply_modality_lut(raw, found) if raw.ndim == 2 else raw
    notes: tuple[str, ...] = ()
    if found.get("PhotometricInterpretation") == "MONOCHROME1":
        if _is_rescaled(found):
            notes = ("MONOCHROME1 kept in the units of its rescale, so that low values are bright in its viewers",)
        else:
            ends = -1 if found.PixelRepresentation else 2 ** int(found.BitsStored) - 1  # the lowest and highest value together
            pixels, notes = ends - pixels.astype(np.float64), ("MONOCHROME1 inverted, so that high values are bright",)
    if pixels.dtype.kind == "f" and (pixels == np.round(pixels)).all() and np.abs(pixels).max() < 2**31:
        pixels = pixels.astype(np.int32)  # whole numbers, such as Hounsfield units
    if pixels.dtype.kind in "iu" and pixels.dtype.itemsize > 1:
        pixels = pixels.astype(np.int16) if pixels.min() >= -32768 and pixels.max() <= 32767 else pixels
    metadata = Metadata(frames=int(found.get("NumberOfFrames", 1) or 1), header=_header(found), notes=notes)
    padding = found.get("PixelPaddingValue")
    if padding is not None and raw.ndim == 2:
        stored = str(pixels.dtype) if str(pixels.dtype) in ("uint8", "uint16", "int16") else ""
        pixels = np.where(raw == padding, np.float32("nan"), pixels.astype(np.float32))
        metadata = replace(metadata, stored=stored, nodata=float(padding))
    return Picture(pixels, metadata)


def _is_rescaled(found: Any) -> bool:
    """Tell whether the values of a data set are others than those that are stored."""
    rescale = float(found.get("RescaleSlope", None) or 1), float(found.get("RescaleIntercept", None) or 0)
    return bool(found.get("ModalityLUTSequence")) or rescale != (1.0, 0.0)


def _header(found: Any) -> bytes:
    """Encode a data set without its pixels."""
    del found.PixelData
    file = io.BytesIO()
    found.save_as(file, enforce_file_format=True)
    return file.getvalue()


def encode_dicom(frames: list[np.ndarray], metadata: Metadata) -> bytes:
    """Encode images (h, w, c) of one type and size with the header of the file that they were made of.

    The result has an identity of its own (SOP instance UID, made of the source's) and says that it is derived. float32 is
    stored in 16 bits over the range of its values, which slope and intercept undo to 1/65534 of that range. Pixels without data
    (NaN, or the nodata value) are marked as padding. Raises DataError where the metadata has no DICOM header.
    """
    if not metadata.header:
        raise DataError("cannot be written as DICOM, as its input is none and has no header to carry; name it .tiff or .png")
    pydicom = extra("pydicom", "medical", "DICOM, and")
    uid = pydicom.uid
    found = pydicom.dcmread(io.BytesIO(metadata.header))
    values = np.stack(frames)
    slope, intercept, padding = 1.0, 0.0, metadata.nodata
    if values.dtype == np.float32:
        missing = np.isnan(values) | (values == (np.nan if metadata.nodata is None else np.float32(metadata.nodata)))
        known = values[~missing].astype(np.float64)
        low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
        slope = max((high - low) / 65534, 1e-12)
        intercept, padding = low - slope, 0.0 if missing.any() else None  # 0 is kept for pixels without data
        steps = np.zeros(values.shape, np.uint16)
        steps[~missing] = np.round((known - intercept) / slope)
        values = steps
    for name in VALUE_TAGS:
        if name in found:
            delattr(found, name)
    bits = 8 * values.dtype.itemsize
    found.Rows, found.Columns, found.SamplesPerPixel = values.shape[1], values.shape[2], values.shape[3]
    found.PhotometricInterpretation = "RGB" if values.shape[3] == 3 else "MONOCHROME2"
    if values.shape[3] == 3:
        found.PlanarConfiguration = 0
    else:
        if "PresentationLUTShape" in found:
            found.PresentationLUTShape = "IDENTITY"  # that of MONOCHROME1 is INVERSE
        found.RescaleSlope, found.RescaleIntercept = f"{slope:.10g}", f"{intercept:.10g}"
    if len(frames) > 1:
        found.NumberOfFrames = len(frames)
    found.BitsAllocated, found.BitsStored, found.HighBit = bits, bits, bits - 1
    found.PixelRepresentation = int(values.dtype.kind == "i")
    if padding is not None:
        found.add_new("PixelPaddingValue", "SS" if found.PixelRepresentation else "US", int(padding))
    found.ImageType = ["DERIVED", "SECONDARY", *list(found.get("ImageType", []))[2:]]
    found.SOPInstanceUID = uid.generate_uid(entropy_srcs=[str(found.get("SOPInstanceUID", "")), "diptych"])
    found.file_meta.MediaStorageSOPInstanceUID = found.SOPInstanceUID
    found.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    found.PixelData = values.tobytes()
    found["PixelData"].VR = "OW" if bits == 16 else "OB"
    file = io.BytesIO()
    found.save_as(file, enforce_file_format=True)
    return file.getvalue()
