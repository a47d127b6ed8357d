"""Labels of the chest X-ray sources, alone and joined, as the authors have them (upstream 3.1)."""

import numpy as np
import pytest

from keras_transfer.core.labels import align, union
from tfrecords_builders import sources

ALONE = {
    "chexpert": "Atelectasis, Cardiomegaly, Consolidation, Edema, Enlarged Cardiomediastinum, "
    "Fracture, Lung Lesion, Lung Opacity, Effusion, Pleural Other, Pneumonia, Pneumothorax, "
    "Support Devices",
    "nih_cxr14": "Atelectasis, Cardiomegaly, Consolidation, Edema, Effusion, Emphysema, Fibrosis, "
    "Hernia, Infiltration, Mass, Nodule, Pleural_Thickening, Pneumonia, Pneumothorax",
    "padchest": "Air Trapping, Aortic Atheromatosis, Aortic Elongation, Atelectasis, "
    "Bronchiectasis, Cardiomegaly, Consolidation, Costophrenic Angle Blunting, Edema, Effusion, "
    "Emphysema, Fibrosis, Flattened Diaphragm, Fracture, Granuloma, Hemidiaphragm Elevation, "
    "Hernia, Hilar Enlargement, Infiltration, Mass, Nodule, Pleural_Thickening, Pneumonia, "
    "Pneumothorax, Scoliosis, Support Devices, Tuberculosis",
}
ALONE["mimic_cxr"] = ALONE["chexpert"]
COMMON = (
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Effusion",
    "Pneumonia",
    "Pneumothorax",
)
# Places of the common labels in each source's own vector.
PLACES = {
    "chexpert": [0, 1, 2, 3, 8, 10, 11],
    "mimic_cxr": [0, 1, 2, 3, 8, 10, 11],
    "nih_cxr14": [0, 1, 2, 3, 4, 12, 13],
    "padchest": [3, 5, 6, 8, 9, 22, 23],
}


@pytest.fixture(scope="module")
def spaces(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unread")
    kinds = {name: sources.get(name) for name in ALONE}
    return {n: k(sources.parse_options(k, []), folder, 0).labels for n, k in kinds.items()}


@pytest.mark.parametrize("name", ALONE)
def test_labels_of_each_source_are_the_authors(spaces, name):
    assert ", ".join(spaces[name].names) == ALONE[name]


def test_equal_labels_keep_their_order_and_others_become_the_common_ones(spaces):
    assert union([spaces["mimic_cxr"], spaces["chexpert"]]) == spaces["chexpert"]
    three = [spaces[name] for name in ("chexpert", "mimic_cxr", "nih_cxr14")]
    assert union(three).names == COMMON
    assert union([*three, spaces["padchest"]]).names == COMMON


@pytest.mark.parametrize("name", ALONE)
def test_vectors_are_aligned_by_name(spaces, name):
    numbers = np.arange(spaces[name].num_classes, dtype=np.float32)
    joined = union(list(spaces.values()))
    assert align(numbers, spaces[name], joined).tolist() == PLACES[name]
