"""The figure of scaling: its numbers and its files."""

import numpy as np
from PIL import Image

from keras_transfer.reporting import figures
from keras_transfer.reporting.figures.scaling import scaling_curves

SERIES = {
    "synthetic input": {1: [50.0, 40.0, 45.0], 2: [95.0, 72.0, 90.0], 4: [180.0, 140.0, 171.0]},
    "real input": {1: [40.0, 38.0, 39.0], 2: [72.0, 70.0, 71.0], 4: [120.0, 119.0, 121.0]},
}


def test_scaling_compares_rounds_with_their_own_first_worker():
    figure = scaling_curves(SERIES, unit="workers")
    lines = [line.split(",") for line in figure.csv.splitlines()]
    rows = [dict(zip(lines[0], line)) for line in lines[1:]]
    assert len(rows) == 6 and figure.name == "scaling_curves"
    two = rows[1]
    assert (two["series"], two["workers"]) == ("synthetic input", "2")
    # Of 95/50, 72/40 and 90/45, where medians of both would give 90/45.
    assert float(two["speed_up"]) == 1.9 and float(two["efficiency"]) == 0.95
    assert float(two["speed_up_min"]) == 1.8 and float(two["speed_up_max"]) == 2.0
    assert float(two["images_per_second"]) == 90 and float(two["ideal_images_per_second"]) == 90
    assert "95.0%" in figure.alt


def test_scaling_is_written_as_picture_vectors_and_numbers(tmp_path):
    figure = scaling_curves(SERIES)
    paths = figures.write(figure, tmp_path)
    assert [path.name for path in paths] == [
        "scaling_curves.png",
        "scaling_curves.pdf",
        "scaling_curves.svg",
        "scaling_curves.csv",
    ]
    image = np.asarray(Image.open(paths[0]).convert("RGB"))
    for colour in ("#0072B2", "#E69F00"):
        wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        assert (np.abs(image.astype(int) - wanted).max(axis=2) < 8).sum() > 200, colour
    assert paths[1].read_bytes().startswith(b"%PDF")
    assert paths[3].read_text() == figure.csv
    assert scaling_curves(SERIES) == figure
