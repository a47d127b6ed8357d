"""DICOM to 8 bits: look-up tables, windows, polarity, padding, colour; and what is refused."""

import io
import logging
import os
import struct
import time
import warnings
from typing import Any

import cv2
import numpy as np
import pydicom
import pytest
from dicom_files import bundled, encoded, film, table
from pydicom import pixels
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

from keras_transfer.core.errors import CorruptFileError
from tfrecords_builders import dicom, dicom_coded, dicom_grey, formats
from tfrecords_builders.images import Rendering


def _random(seed: int, bits: int = 12, *, signed: bool = False, shape=(24, 32)) -> np.ndarray:
    low = -(2 ** (bits - 1)) if signed else 0
    kind = np.int16 if signed else np.uint16
    return np.random.default_rng(seed).integers(low, low + 2**bits, shape).astype(kind)


def _by_pydicom(data: bytes) -> np.ndarray:
    """The picture as pydicom's functions make it, which are right where nothing is of 8 bits."""
    dataset = pydicom.dcmread(io.BytesIO(data))
    stored = dataset.pixel_array
    grey = pixels.apply_voi_lut(pixels.apply_modality_lut(stored, dataset), dataset)
    if "VOILUTSequence" in dataset:
        low, high = 0, 2 ** dataset.VOILUTSequence[0].LUTDescriptor[2] - 1
    else:
        ends = np.array([0, 2**dataset.BitsStored - 1])
        ends -= 2 ** (dataset.BitsStored - 1) * dataset.PixelRepresentation
        if "ModalityLUTSequence" in dataset:
            ends = np.array([0, 2 ** dataset.ModalityLUTSequence[0].LUTDescriptor[2] - 1])
        else:
            ends = pixels.apply_modality_lut(ends, dataset)
        low, high = ends
    shares = (grey - float(low)) / (high - low)
    return 255 * (1 - shares if dataset.PhotometricInterpretation == "MONOCHROME1" else shares)


def _equalised(image: np.ndarray) -> np.ndarray:
    """Global histogram equalisation, written down again."""
    counts = np.bincount(image.ravel(), minlength=256)
    first = int(np.flatnonzero(counts)[0])
    if counts[first] == image.size:
        return np.full_like(image, first)
    scale = np.float32(255) / np.float32(image.size - counts[first])
    above = np.cumsum(counts) - counts[first]
    return np.rint(above.astype(np.float32) * scale).clip(0, 255).astype(np.uint8)[image]


@pytest.mark.parametrize("seed", range(20))
def test_mimic_jpg_is_the_formula_of_that_release(seed):
    rng = np.random.default_rng(seed)
    stored = _random(seed, 12)[:, : rng.integers(1, 33)] // np.uint16(rng.integers(1, 200))
    inverted = bool(seed % 2)
    # No look-up table, window or padding counts in this mode.
    data = film(
        stored,
        PhotometricInterpretation="MONOCHROME1" if inverted else "MONOCHROME2",
        VOILUTSequence=table(np.arange(256), 0, 8),
        WindowCenter=5,
        WindowWidth=3,
        RescaleSlope=7,
        PixelPaddingValue=int(stored[0, 0]),
    )
    shifted = stored.astype(np.float64) - stored.min()
    image = (shifted / max(shifted.max(), 1) * 255).astype(np.uint8)
    image = ~image if inverted else image
    found = dicom.render(data, "mimic_jpg")
    np.testing.assert_array_equal(found, cv2.equalizeHist(image))
    np.testing.assert_array_equal(found, _equalised(image))


@pytest.mark.parametrize("mode", dicom.MODES)
@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
def test_constant_images_are_no_trouble(mode, kind):
    image = dicom.render(film(np.full((4, 5), 77, np.uint16), PhotometricInterpretation=kind), mode)
    assert image.shape == (4, 5) and image.min() == image.max()


@pytest.mark.parametrize("function", [None, "LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("width", [1, 2, 700, 5000.5])
def test_windows_agree_with_pydicom(function, signed, width):
    data = film(
        _random(1, signed=signed),
        WindowCenter=300.25,
        WindowWidth=width,
        VOILUTFunction=function,
        RescaleSlope=1.5,
        RescaleIntercept=-20,
        PhotometricInterpretation="MONOCHROME1" if width == 700 else "MONOCHROME2",
    )
    with np.errstate(over="ignore"):
        expected = _by_pydicom(data)
    found = dicom.render(data)
    assert len(np.unique(found)) > 1
    np.testing.assert_allclose(found, expected, atol=0.501)


def test_of_several_windows_the_first_counts():
    stored = _random(2)
    several = film(stored, WindowCenter=[1000, 9], WindowWidth=[500, 3])
    one = film(stored, WindowCenter=1000, WindowWidth=500)
    np.testing.assert_array_equal(dicom.render(several), dicom.render(one))


@pytest.mark.parametrize("width", [0, 0.5, -3])
@pytest.mark.parametrize("function", [None, "LINEAR", "UNHEARD_OF"])
def test_windows_that_make_no_sense_are_ignored(width, function):
    stored = _random(3)
    data = film(stored, WindowCenter=1000, WindowWidth=width, VOILUTFunction=function)
    np.testing.assert_array_equal(dicom.render(data), dicom.render(film(stored)))


@pytest.mark.parametrize("signed", [False, True])
def test_without_a_window_the_data_fill_the_range(signed):
    stored = _random(4, 10, signed=signed)
    shares = (stored - stored.min()) / (float(stored.max()) - stored.min())
    np.testing.assert_allclose(dicom.render(film(stored, 16)), shares * 255, atol=0.501)


@pytest.mark.parametrize("vr", ["US", "OW"])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_tables_of_8_bits_serve_deep_images(vr, syntax):
    # pydicom 3.0 looks values above 255 up modulo 256 here.
    entries = (np.arange(3000) // 12)[::-1]
    stored = _random(5)
    data = film(stored, syntax=syntax, VOILUTSequence=table(entries, 500, 8, vr))
    expected = entries[np.clip(stored.astype(int) - 500, 0, 2999)]
    np.testing.assert_array_equal(dicom.render(data), expected)


def test_tables_of_8_bits_may_be_packed():
    entries = np.arange(256)[::-1].astype(np.uint8)
    lut = table(entries, 0, 8)
    lut[0].add_new("LUTData", "OW", entries.tobytes())
    stored = _random(6, 8)
    np.testing.assert_array_equal(
        dicom.render(film(stored, VOILUTSequence=lut)), entries[stored.astype(int)]
    )


def test_tables_for_negative_values_and_of_all_values():
    stored = _random(7, 12, signed=True)
    entries = (np.arange(4096) * 16)[::-1]
    data = film(stored, VOILUTSequence=table(entries, -2048, 16))
    expected = entries[stored.astype(int) + 2048] / 65535 * 255
    np.testing.assert_allclose(dicom.render(data), expected, atol=0.501)
    stored = _random(7, 16)
    entries = np.arange(2**16)[::-1]  # whose number does not fit 16 bits and is given as 0
    data = film(stored, 16, VOILUTSequence=table(entries, 0, 16, "OW"))
    np.testing.assert_allclose(dicom.render(data), (65535 - stored) / 257, atol=0.501)


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]
)
def test_modality_table_comes_before_the_window_and_a_table_before_both(syntax):
    stored = _random(8)
    curve = (np.sqrt(np.arange(4096) / 4095) * 4095).astype(int)
    window: dict[str, Any] = {
        "WindowCenter": 2048,
        "WindowWidth": 4096,
        "VOILUTFunction": "LINEAR_EXACT",
    }
    modality = table(curve, 0, 12, "US" if syntax == ExplicitVRBigEndian else "OW")
    data = film(stored, syntax=syntax, ModalityLUTSequence=modality, **window)
    np.testing.assert_allclose(dicom.render(data), curve[stored] / 4096 * 255, atol=0.501)
    voi = table(np.arange(4096)[::-1], 0, 12)
    data = film(stored, syntax=syntax, ModalityLUTSequence=modality, VOILUTSequence=voi, **window)
    np.testing.assert_allclose(dicom.render(data), (4095 - curve[stored]) / 4095 * 255, atol=0.501)


@pytest.mark.parametrize(
    "tags", [{}, {"WindowCenter": 900, "WindowWidth": 400}, {"VOILUTSequence": None}]
)
def test_monochrome1_is_inverted_once(tags):
    if "VOILUTSequence" in tags:
        tags = {"VOILUTSequence": table(np.arange(4096) // 16, 0, 8)}
    stored = _random(9)
    stored[0, :2] = 0, 4095
    usual = dicom.render(film(stored, **tags)).astype(int)
    for shape in (None, "INVERSE"):
        data = film(
            stored, PhotometricInterpretation="MONOCHROME1", PresentationLUTShape=shape, **tags
        )
        np.testing.assert_allclose(dicom.render(data), 255 - usual, atol=1)


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("signed", [False, True])
def test_padding_is_black_and_does_not_count(kind, signed):
    stored = _random(10, 10, signed=signed)
    low, high = int(stored.min()), int(stored.max())
    padded = stored.copy()
    padded[:3] = -2000 if signed else 4000
    padded[-2:] = -1990 if signed else 3990
    ends = (int(padded[0, 0]), int(padded[-1, 0]))
    data = film(
        padded,
        16,
        PixelPaddingValue=ends[0],
        PixelPaddingRangeLimit=ends[1],
        PhotometricInterpretation=kind,
    )
    shares = (padded[3:-2].astype(float) - low) / (high - low)
    found = dicom.render(data)
    expected = 255 * (1 - shares if kind == "MONOCHROME1" else shares)
    np.testing.assert_allclose(found[3:-2], expected, atol=0.501)
    assert not found[:3].any() and not found[-2:].any()


@pytest.mark.parametrize("name", ["RG1_UNCR.dcm", "RG3_UNCR.dcm", "mlut_18.dcm", "vlut_04.dcm"])
def test_real_films_are_as_pydicom_shows_them(name):
    data = bundled(name).read_bytes()
    np.testing.assert_allclose(dicom.render(data), _by_pydicom(data), atol=0.501)


@pytest.mark.parametrize("name", ["RG1", "RG3"])
def test_real_films_are_bright_where_the_bones_are(name):
    image = dicom.render(bundled(f"{name}_UNCR.dcm").read_bytes())
    stored = pydicom.dcmread(bundled(f"{name}_UNCR.dcm")).pixel_array
    assert np.corrcoef(image.ravel()[::97], stored.ravel()[::97])[0, 1] < -0.5  # MONOCHROME1
    lossless = dicom.render(bundled(f"{name}_J2KR.dcm").read_bytes())
    np.testing.assert_array_equal(lossless, image)


@pytest.mark.parametrize(
    "name",
    [
        *("MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm"),
        *("MR_small_bigendian.dcm", "MR_small_implicit.dcm", "MR_small_expb.dcm"),
        "MR_small_padded.dcm",
    ],
)
def test_the_way_of_storing_makes_no_difference(name):
    expected = dicom.render(bundled("MR_small.dcm").read_bytes())
    np.testing.assert_array_equal(dicom.render(bundled(name).read_bytes()), expected)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, DeflatedExplicitVRLittleEndian])
def test_compressed_films_are_read_and_cut_ones_refused(syntax):
    dataset = pydicom.dcmread(io.BytesIO(film(_random(11, shape=(64, 64)), 12)))
    if syntax == DeflatedExplicitVRLittleEndian:
        dataset.file_meta.TransferSyntaxUID = syntax
    else:
        dataset.compress(syntax, generate_instance_uid=False)
    data = encoded(dataset)
    np.testing.assert_array_equal(
        dicom.render(data), dicom.render(film(_random(11, shape=(64, 64)), 12))
    )
    for end in np.linspace(140, len(data) - 40, 12).astype(int):
        with pytest.raises(CorruptFileError):
            dicom.render(data[:end])


def test_every_cut_of_a_plain_film_is_noticed():
    data = film(_random(12))
    for end in range(0, len(data) - 1, 37):
        with pytest.raises(CorruptFileError) as error:
            dicom.render(data[:end])
        assert "\n" not in str(error.value)


def test_colour_is_kept_as_it_is():
    image = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    data = film(
        np.zeros((12, 16), np.uint8),
        8,
        SamplesPerPixel=3,
        PlanarConfiguration=1,
        PhotometricInterpretation="RGB",
        PixelData=image.transpose(2, 0, 1).tobytes(),
    )
    np.testing.assert_array_equal(dicom.render(data), image)
    np.testing.assert_array_equal(dicom.render(data, "mimic_jpg"), image)
    ybr = pydicom.dcmread(bundled("SC_rgb_dcmtk_+eb+cy+n2.dcm"))
    np.testing.assert_array_equal(
        dicom.render(bundled("SC_rgb_dcmtk_+eb+cy+n2.dcm").read_bytes()),
        pixels.pixel_array(ybr),
    )


def test_palettes_become_colour():
    path = bundled("examples_palette.dcm")
    dataset = pydicom.dcmread(path)
    expected = pixels.apply_color_lut(dataset.pixel_array, dataset)
    found = dicom.render(path.read_bytes())
    np.testing.assert_allclose(found, expected / (np.iinfo(expected.dtype).max / 255), atol=0.501)
    del dataset.GreenPaletteColorLookupTableData
    with pytest.raises(CorruptFileError, match="no GreenPaletteColorLookupTableData"):
        dicom.render(encoded(dataset))


@pytest.mark.parametrize(
    "tags, message",
    [
        ({"NumberOfFrames": 3}, "DICOM of 3 frames: store them one by one"),
        ({"PixelData": b""}, r"without an image \(no PixelData\)"),
        ({"Rows": None}, r"without an image \(no Rows\)"),
        ({"Rows": 60_000, "Columns": 50_000}, "50000 x 60000 pixels are more than --max_pixels"),
        ({"Rows": 25}, "damaged DICOM .*less than expected"),
        ({"PhotometricInterpretation": "XYZ"}, "Photometric Interpretation' value"),
        ({"PhotometricInterpretation": None}, "damaged DICOM"),
        ({"BitsAllocated": 32, "BitsStored": 32}, "32 bits per pixel: 16 at most"),
        ({"RescaleSlope": "1e308"}, "is not a number"),
        ({"VOILUTSequence": table(np.arange(100), 0, 12)}, "of 100 entries instead of 200"),
    ],
)
def test_what_cannot_be_shown_is_refused_with_the_reason(tags, message):
    if "VOILUTSequence" in tags:
        tags["VOILUTSequence"][0].LUTDescriptor = [200, 0, 12]
    with pytest.raises(CorruptFileError, match=message):
        dicom.render(film(_random(13), **tags))


def test_sizes_are_checked_before_decoding(monkeypatch):
    monkeypatch.setattr(pixels, "pixel_array", None)  # would fail otherwise
    with pytest.raises(CorruptFileError, match=r"32 x 24 pixels .*--max_pixels=767 allows"):
        dicom.render(film(_random(14)), max_pixels=767)


def test_deflated_bombs_are_refused(monkeypatch):
    data = bundled("image_dfl.dcm").read_bytes()
    assert dicom.render(data).shape == (512, 512)
    monkeypatch.setattr(dicom, "_MAX_INFLATED", 2**17)
    for read in (dicom.render, dicom.read_header):
        with pytest.raises(CorruptFileError, match="deflated DICOM of more than 131072 bytes"):
            read(data)


def test_compressed_images_of_another_size_are_refused():
    for name in ("693_J2KI.dcm", "JPEGLSNearLossless_08.dcm", "JPEG-LL.dcm"):
        dataset = pydicom.dcmread(bundled(name))
        dicom.render(encoded(dataset))
        dataset.Rows += 1
        with pytest.raises(CorruptFileError, match="another size than its DICOM header says"):
            dicom.render(encoded(dataset))


def test_a_comment_does_not_hide_the_size_of_a_jpeg():
    dataset = pydicom.dcmread(bundled("JPEG-LL.dcm"))
    frame = pydicom.encaps.get_frame(dataset.PixelData, 0, number_of_frames=1)
    size = struct.pack(">4I", dataset.Columns, dataset.Rows + 1, 0, 0)
    decoy = b"\xff\x4f\xff\x51" + bytes(4) + size
    comment = b"\xff\x01\xff\xfe" + struct.pack(">H", 2 + len(decoy)) + decoy
    found = dicom_coded._coded_size(frame[:2] + comment + frame[2:])
    assert found == (dataset.Rows, dataset.Columns)


def test_reasons_hold_no_text_of_the_header():
    data = film(_random(15), PhotometricInterpretation="DOE JOHN")
    with pytest.raises(CorruptFileError, match="damaged DICOM") as caught:
        dicom.render(data)
    assert "DOE" not in str(caught.value)
    header = dicom.read_header(film(_random(16), Modality="DOE JOHN", Rows=0))
    assert header.obstacle == "DICOM without a picture"


def test_missing_codecs_are_named_with_what_to_install(monkeypatch):
    class Missing:
        is_available = False

    data = bundled("693_J2KI.dcm").read_bytes()
    monkeypatch.setattr(dicom_coded.pixels, "get_decoder", lambda syntax: Missing)
    with pytest.raises(
        CorruptFileError,
        match=r"JPEG 2000 Image Compression, .*pip install keras_transfer\[dicom\]",
    ):
        dicom.render(data)


def test_decoders_that_crash_or_hang_do_no_harm(monkeypatch):
    data = bundled("JPEG-LL.dcm").read_bytes()
    expected = dicom.render(data)
    if pixels.get_decoder(pydicom.uid.JPEGLosslessSV1).available_plugins != ("gdcm",):
        pytest.skip("a package that decodes lossless JPEG beside GDCM is installed")
    for deed, message in (
        (lambda *_: os.abort(), "the decoder crashed"),
        (lambda *_: time.sleep(60), "not decoded in 0.1 s"),
        (lambda *_: [].pop(), "pop from empty list"),
    ):
        monkeypatch.setattr(dicom_coded, "_decode", deed)
        monkeypatch.setattr(dicom_coded, "_PATIENCE", 0.1 if "0.1" in message else 60)
        with pytest.raises(CorruptFileError, match=rf"cannot be decoded \(.*{message}"):
            dicom.render(data)
        monkeypatch.undo()
    np.testing.assert_array_equal(dicom.render(data), expected)


@pytest.mark.parametrize("name", ["SC_rgb_jpeg_gdcm.dcm", "SC_rgb_small_odd_jpeg.dcm"])
def test_flipped_bytes_end_no_process(name):
    data, refused = bundled(name).read_bytes(), 0
    for seed in range(25):
        rng = np.random.default_rng(seed)
        altered = bytearray(data)
        for place in rng.integers(len(data) // 3, len(data), 8):
            altered[place] ^= 1 << int(rng.integers(8))
        try:
            assert dicom.render(bytes(altered)).dtype == np.uint8
        except CorruptFileError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 5


@pytest.mark.parametrize(
    "age, years", [("034Y", "34"), ("018M", "1.5"), ("026W", "0.498"), ("", ""), ("old", "")]
)
def test_headers_give_what_sources_need(age, years):
    data = film(
        _random(15),
        PatientID="p1",
        PatientName="Never^Carried",
        StudyInstanceUID="1.2.3",
        SOPInstanceUID="1.2.3.4",
        ViewPosition="pa",
        PatientSex="F",
        PatientAge=age,
        Modality="DX",
    )
    header = dicom.read_header(data)
    assert header == dicom.Header("p1", "1.2.3", "1.2.3.4", "PA", "F", years, "DX", "")
    assert header == dicom.read_header(data[:-500])  # pixels are not read


@pytest.mark.parametrize(
    "name, obstacle",
    [
        ("DICOMDIR", "DICOM directory, not an image"),
        ("test-SR.dcm", "DICOM without a picture (SR)"),
        ("rtdose_1frame.dcm", "DICOM without a picture (RTDOSE)"),
        ("examples_ybr_color.dcm", "DICOM of several frames"),
        ("CT_small.dcm", ""),
    ],
)
def test_headers_tell_what_is_no_image(name, obstacle):
    assert dicom.read_header(bundled(name)).obstacle == obstacle


def test_files_without_preamble_are_read():
    data = film(_random(16), syntax=ImplicitVRLittleEndian)
    dataset = pydicom.dcmread(io.BytesIO(data))
    stream = io.BytesIO()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.preamble = None
    pydicom.dcmwrite(stream, dataset, implicit_vr=True, little_endian=True)
    bare = stream.getvalue()
    assert bare[:2] == b"\x08\0" and formats.is_dicom(bare)
    np.testing.assert_array_equal(dicom.render(bare), dicom.render(data))
    for other in (b"", b"\x89PNG\r\n\x1a\n" + bytes(200), b"text" * 100):
        with pytest.raises(CorruptFileError, match="not a DICOM file"):
            dicom.read_header(other)


def test_odd_files_are_read_without_a_word(capfd, caplog, recwarn):
    warnings.simplefilter("always")
    data = film(_random(17))
    dataset = pydicom.dcmread(io.BytesIO(data))
    with pydicom.config.disable_value_validation():
        dataset.PatientAge = "unknown age"
        dataset.WindowCenter = ""
    with caplog.at_level(logging.DEBUG):
        for variant in (data + bytes(7), encoded(dataset)):
            dicom.read_header(variant)
            np.testing.assert_array_equal(dicom.render(variant), dicom.render(data))
        with pytest.raises(CorruptFileError):
            dicom.render(bundled("JPEG2000-embedded-sequence-delimiter.dcm").read_bytes())
    assert not caplog.records and not recwarn.list
    assert capfd.readouterr() == ("", "")


def test_datasets_store_dicom_as_png_or_jpeg():
    data = film(_random(18))
    stored = Rendering("original", 0, 1).render(data)
    assert formats.check(stored) == ("png", 24, 32, 1, 8, False)
    np.testing.assert_array_equal(formats.decode(stored), dicom.render(data))
    small = Rendering("jpeg", 12, 3, dicom="mimic_jpg").render(data)
    assert formats.check(small) == ("jpeg", 12, 16, 3, 8, False)
    with pytest.raises(CorruptFileError, match="--max_pixels=9 allows"):
        Rendering("png", 0, 1, max_pixels=9).render(data)


def test_tables_are_worked_out_for_values_that_occur():
    values = np.arange(-5, 6)
    np.testing.assert_array_equal(
        dicom_grey.mimic_table(values, inverted=False),
        [0, 25, 51, 76, 102, 127, 153, 178, 204, 229, 255],
    )


@pytest.mark.parametrize(
    ("text", "view"),
    [
        ("pa", "PA"),
        ("AP AXIAL", "AP AXIAL"),
        ("XTABLE_LATERAL", "XTABLE LATERAL"),
        ("", ""),
        ("MRS SMITH", "OTHER"),
        ("AP/2019", "OTHER"),
    ],
)
def test_views_are_known_words_only(text, view):
    assert dicom._view(text) == view
