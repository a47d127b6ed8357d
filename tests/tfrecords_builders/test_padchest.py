"""PadChest and PadChest-Cl: layouts, both label rules, splits and odd rows on made trees."""

import csv
import gzip
import io
from collections import Counter

import numpy as np
import pytest
from conftest import build
from xray_trees import KINDS, read, truncate, write

from keras_transfer.core.errors import UserError
from keras_transfer.core.labels import MULTICLASS
from keras_transfer.data.dataset import Dataset
from tfrecords_builders import images
from tfrecords_builders.checks import Tolerance
from tfrecords_builders.sources import Dropped
from tfrecords_builders.sources import _padchest_terms as rules

TABLE = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"
COLUMNS = (
    *("", "ImageID", "ImageDir", "StudyDate_DICOM", "StudyID", "PatientID", "PatientBirth"),
    *("PatientSex_DICOM", "Projection", "Labels", "Report"),
)
VIEWS = ("PA", "L", "AP_horizontal", "AP", "COSTAL")
# Terms of the source in made-up combinations; some have a blank before them, as there.
TERMS = (
    ["normal"],
    ["pseudonodule"],
    ["nodule", " pacemaker"],
    ["pleural effusion", "", " hydropneumothorax"],
    ["consolidation"],
    ["subcutaneous emphysema", "exclude"],
    ["COPD signs", "tuberculosis sequelae"],
    ["scoliosis", "scoliosis"],
    ["callus rib fracture", "rib fracture"],
    ["dai", "NSG tube"],
    ["calcified adenopathy", "suboptimal study"],
)


class Tree:
    """Rows of a table, and their images, still to be written."""

    def __init__(self, folder, layout="zips"):
        self.folder, self.layout, self.rows = folder, layout, []

    def add(self, labels, patient, view="PA", *, image=True, kind="grey16", **cells):
        number = len(self.rows)
        name = f"{number:05d}_ñ.png"
        place = {"zips": f"{number % 3 * 27}/", "flat": "", "images": "images/"}[self.layout]
        if image:
            write(self.folder / f"{place}{name}", number, kind)
        values = {
            "": number,
            "ImageID": name,
            "ImageDir": number % 3 * 27,
            "StudyDate_DICOM": "20140915",
            "PatientID": 10**38 + patient,
            "PatientBirth": "1950.0",
            "PatientSex_DICOM": "F",
            "Projection": view,
            "Labels": labels if isinstance(labels, str) else str(labels),
            "Report": 'dos lineas,\n"y" comas',
        }
        self.rows.append([str((values | cells).get(column, "")) for column in COLUMNS])
        return name

    def save(self, packed=False):
        text = io.StringIO()
        csv.writer(text, lineterminator="\r\n").writerows([COLUMNS, *self.rows])
        content = text.getvalue().encode()
        path = self.folder / (TABLE + ".gz" * packed)
        path.write_bytes(gzip.compress(content) if packed else content)
        return self.folder


def make_tree(folder, layout="zips", patients=22, packed=False):
    """Writes five images per patient, one of each view, two of each combination of terms."""
    tree = Tree(folder, layout)
    for patient in range(patients):
        for number, view in enumerate(VIEWS):
            tree.add(TERMS[(patient + number) % len(TERMS)], patient, view)
    return tree.save(packed)


def _positive(item):
    return {name for name, state in zip(rules.FINDINGS, item.label) if state == 1}


def _label(folder, labels, *options):
    """Returns the findings of one list of terms."""
    tree = Tree(folder)
    tree.add(labels, 1)
    source, items, _ = read("padchest", tree.save(), *options)
    return _positive(items[0]), source.facts()


@pytest.mark.parametrize("layout", ["zips", "flat", "images"])
def test_layouts(tmp_path, layout):
    folder = make_tree(tmp_path, layout, packed=layout == "flat")
    source, items, dropped = read("padchest", folder)
    assert not dropped
    assert len(items) == 110
    assert (
        source.facts()["layout"]
        == {
            "zips": "3 folders by zip, 0/ to 54/",
            "flat": "images beside the table",
            "images": "images/",
        }[layout]
    )
    item = next(item for item in items if item.example_id.startswith("00007"))
    places = {"zips": "27/", "flat": "", "images": "images/"}
    assert item.source == f"{places[layout]}00007_ñ.png"
    assert item[4:] == ("1" + "0" * 37 + "1", "AP Supine", "F", "64")
    assert source.bits == 16
    assert Counter(item.view for item in items) == dict.fromkeys(
        ("PA", "L", "AP Supine", "AP", "COSTAL"), 22
    )


def test_patients_are_never_split(tmp_path):
    _, items, _ = read("padchest", make_tree(tmp_path))
    assert Counter(item.split for item in items) == {"train": 90, "val": 10, "test": 10}
    splits = {}
    for item in items:
        splits.setdefault(item.patient_id, set()).add(item.split)
    assert len(splits) == 22
    assert all(len(names) == 1 for names in splits.values())


@pytest.mark.parametrize(
    "terms, exact, authors",
    [
        (["pseudonodule"], set(), {"Nodule"}),
        (["multiple nodules"], {"Nodule"}, {"Nodule"}),
        ([" Nodule "], {"Nodule"}, set()),
        (["pericardial effusion"], set(), {"Effusion"}),
        (["loculated fissural effusion"], {"Effusion"}, {"Effusion"}),
        (["hydropneumothorax"], {"Effusion", "Pneumothorax"}, {"Pneumothorax"}),
        (["subcutaneous emphysema"], set(), {"Emphysema"}),
        (["mediastinal mass", "breast mass", "soft tissue mass"], set(), {"Mass"}),
        (["pulmonary mass"], {"Mass"}, {"Mass"}),
        (["callus rib fracture"], set(), {"Fracture"}),
        (["clavicle fracture"], {"Fracture"}, {"Fracture"}),
        (["supra aortic elongation"], set(), {"Aortic Elongation"}),
        (["descendent aortic elongation"], {"Aortic Elongation"}, {"Aortic Elongation"}),
        (["tuberculosis sequelae"], set(), {"Tuberculosis"}),
        (["calcified adenopathy"], set(), {"Hilar Enlargement"}),
        (["vascular hilar enlargement"], {"Hilar Enlargement"}, {"Hilar Enlargement"}),
        (["consolidation"], {"Consolidation", "Infiltration"}, {"Consolidation", "Infiltration"}),
        (["air bronchogram"], {"Consolidation", "Infiltration"}, {"Consolidation", "Infiltration"}),
        (["miliary opacities"], {"Infiltration"}, set()),
        (["pulmonary edema", "hiatal hernia"], {"Edema", "Hernia"}, {"Edema", "Hernia"}),
        (["apical pleural thickening"], {"Pleural_Thickening"}, {"Pleural_Thickening"}),
        (["fissure thickening", "pleural plaques"], set(), set()),
        (["dual chamber device"], {"Support Devices"}, {"Support Devices"}),
        (["dai"], {"Support Devices"}, set()),
        (["central venous catheter", "sternotomy"], set(), set()),
        (["normal"], set(), set()),
    ],
)
def test_look_alikes_are_told_apart(tmp_path, terms, exact, authors):
    found, facts = _label(tmp_path, terms)
    assert found == exact
    assert _label(tmp_path, terms, "labels=authors") == (authors, facts)
    # Both modes say where they differ.
    prefix = "labels differing from the authors' rule: "
    differing = {key.removeprefix(prefix): n for key, n in facts.items() if prefix in key}
    assert differing == dict.fromkeys(exact ^ authors, 1)


def _authors_rule(text):
    """Their rule, written down once more as spec/upstream.md has it."""
    extra = {
        "Infiltration": "infiltrates;interstitial pattern;ground glass pattern;alveolar pattern;"
        "reticular interstitial pattern;reticulonodular interstitial pattern;consolidation;"
        "air bronchogram",
        "Pleural_Thickening": "pleural thickening",
        "Consolidation": "air bronchogram",
        "Hilar Enlargement": "adenopathy;pulmonary artery enlargement",
        "Support Devices": "device;pacemaker",
    }
    names = """Air Trapping;Aortic Atheromatosis;Aortic Elongation;Atelectasis;Bronchiectasis;
        Cardiomegaly;Consolidation;Costophrenic Angle Blunting;Edema;Effusion;Emphysema;Fibrosis;
        Flattened Diaphragm;Fracture;Granuloma;Hemidiaphragm Elevation;Hernia;Hilar Enlargement;
        Infiltration;Mass;Nodule;Pleural_Thickening;Pneumonia;Pneumothorax;Scoliosis;
        Support Devices;Tuberculosis"""
    result = []
    for name in (name.strip() for name in names.split(";")):
        texts = [name.lower(), *filter(None, extra.get(name, "").split(";"))]
        result.append(int(max(text.find(part) for part in texts) >= 0))
    return tuple(result)


def test_the_authors_rule_on_random_texts(tmp_path):
    generator = np.random.default_rng(0)
    vocabulary = sorted({term for terms in rules.TERMS.values() for term in terms})
    vocabulary += ["pseudonodule", "kyphosis", "NSG tube", "electrical device", "calcified mass"]
    tree = Tree(tmp_path)
    expected, differing = {}, Counter()
    for number in range(200):
        terms = [
            " " * int(generator.integers(2)) + str(term)
            for term in generator.choice(vocabulary, generator.integers(1, 5))
        ]
        write(tmp_path / "0" / f"{number}.png", 0)
        tree.add(terms, number, image=False, ImageID=f"{number}.png")
        expected[f"{number}.png"] = _authors_rule(str(terms))
        exact = rules.exact({term.strip().lower() for term in terms})
        differing.update(
            name for name, a, b in zip(rules.FINDINGS, exact, expected[f"{number}.png"]) if a != b
        )
    source, items, _ = read("padchest", tree.save(), "labels=authors")
    assert {item.example_id: item.label for item in items} == expected
    prefix = "labels differing from the authors' rule: "
    assert differing and differing == {
        key.removeprefix(prefix): n for key, n in source.facts().items() if prefix in key
    }


def test_terms_are_written_as_the_table_of_terms_needs_them():
    assert len(rules.FINDINGS) == 27
    assert list(rules.FINDINGS) == sorted(rules.FINDINGS)
    for terms in rules.TERMS.values():
        assert len(set(terms)) == len(terms)
        assert all(term == term.strip().lower() for term in terms)


def test_the_authors_split_draws_images_of_their_views(tmp_path):
    tree = Tree(tmp_path)
    kept = []
    for number in range(60):
        view = VIEWS[number % 5]
        labels = "" if number % 10 == 3 else ["nodule"]
        name = tree.add(labels, number // 6, view)
        if view in ("PA", "AP") and labels:
            kept.append(name)
    source, items, dropped = read("padchest", tree.save(), "splits=authors")
    order = np.arange(len(kept))
    np.random.RandomState(42).shuffle(order)
    train = {kept[i] for i in order[: int(0.9 * len(kept))]}
    assert {item.example_id for item in items if item.split == "train"} == train
    assert {item.example_id for item in items if item.split == "test"} == set(kept) - train
    reasons = Counter((entry.reason, entry.defect) for entry in dropped)
    assert reasons == {("another view", False): 36, ("no labels", False): 6}
    assert "images, not patients" in source.leaky
    views = "splits=authors,views=L,AP Supine"
    assert {item.view for item in read("padchest", tmp_path, views)[1]} == {"L", "AP Supine"}


def test_odd_rows_are_all_accounted_for(tmp_path):
    tree = Tree(tmp_path)
    names = [
        tree.add(["nodule"], 1),
        tree.add("", 2),
        tree.add(["", " "], 3),
        tree.add(["nodule"], 4, image=False),
        tree.add(["mass"], 5, "UNK", PatientBirth="", PatientSex_DICOM=""),
        tree.add(["exclude", "suboptimal study"], 6, "EXCLUDE", StudyDate_DICOM="?"),
    ]
    tree.rows.append(tree.rows[0])
    write(tmp_path / "0" / "unknown.png", 99)
    write(tmp_path / "images" / names[0], 98)
    source, items, dropped = read("padchest", tree.save(), "val_fraction=0,test_fraction=0")
    assert [(i.example_id, i.view, i.sex, i.age) for i in items] == [
        (names[0], "PA", "F", "64"),
        (names[4], "UNK", "", ""),
        (names[5], "EXCLUDE", "F", ""),
    ]
    table = tmp_path / TABLE
    assert set(dropped) == {
        Dropped(f"{names[1]} ({table}, line 5)", "no labels"),
        Dropped(f"54/{names[2]}", "no labels"),
        Dropped(f"{names[3]} ({table}, line 9)", "no such file", defect=True),
        Dropped(f"{names[0]} ({table}, line 15)", "second row of this image", defect=True),
        Dropped("0/unknown.png", "no row in the table"),
        Dropped(f"images/{names[0]}", "another file of this name is used"),
    }
    assert source.facts()["images marked exclude"] == 1
    assert source.facts()["images marked suboptimal study"] == 1
    # The authors take a list without terms for an image without findings.
    authors = read("padchest", tmp_path, "labels=authors")[1]
    assert not _positive(next(item for item in authors if item.example_id == names[2]))


@pytest.mark.parametrize(
    "labels", ["nodule", "['nodule'", "'nodule'", "[1]", "[nan]", "[" * 300, "__import__('os')"]
)
def test_labels_that_are_no_list_are_refused(tmp_path, labels):
    tree = Tree(tmp_path)
    tree.add(["nodule"], 1)
    tree.add(labels, 2)
    with pytest.raises(UserError, match=r"line 5: Labels is .*not a list of quoted terms"):
        read("padchest", tree.save())


def test_rounded_patients_are_refused(tmp_path):
    tree = Tree(tmp_path)
    tree.add(["nodule"], 1, PatientID="8.39379E+37")
    with pytest.raises(UserError, match=r"line 3: PatientID is 8\.39379E\+37, rounded"):
        read("padchest", tree.save())


def test_paths_and_views_are_checked(tmp_path):
    tree = Tree(tmp_path / "in")
    tree.add(["nodule"], 1)
    tree.add(["nodule"], 1, image=False, ImageID="../x.png")
    with pytest.raises(UserError, match=r"line 5: the path '\.\./x\.png' is not below"):
        read("padchest", tree.save())
    with pytest.raises(UserError, match=r"'pa' is no view.*Known: AP, AP Supine"):
        read("padchest", tmp_path, "views=pa")


def test_what_is_missing_is_listed_at_once(tmp_path):
    with pytest.raises(UserError, match=rf"missing: {TABLE} .*; the PNG files.*bimcv"):
        read("padchest", tmp_path)
    for number in (0, 1, 54):
        (tmp_path / f"{number}.zip").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"3 zip files are still packed, such as 0\.zip: unpack"):
        read("padchest", tmp_path)


def test_padchest_cl_keeps_images_with_exactly_one_finding(tmp_path):
    folder = make_tree(tmp_path)
    for options in ((), ("splits=authors", "labels=authors")):
        _, full, _ = read("padchest", folder, *options)
        source, items, dropped = read("padchest_cl", folder, *options)
        assert source.labels.task == MULTICLASS and source.labels.names == rules.FINDINGS
        one = {item.example_id: item for item in full if len(_positive(item)) == 1}
        # The splits are those of the whole set.
        assert {i.example_id: (i.split, {rules.FINDINGS[i.label]}) for i in items} == {
            key: (item.split, _positive(item)) for key, item in one.items()
        }
        left = [entry for entry in dropped if entry.reason == "not exactly one finding"]
        assert len(left) == len(full) - len(one) > 0
        assert not any(entry.defect for entry in dropped)
    assert source.published == {"test": 4153}


def test_images_of_16_bits_keep_their_range(tmp_path):
    tree = Tree(tmp_path / "in")
    names = [tree.add(["nodule"], 1), tree.add(["nodule"], 2)]
    pixels = np.random.default_rng(0).integers(0, 4096, (12, 16), dtype=np.uint16)
    (tmp_path / "in" / "27" / names[1]).write_bytes(images.encode(pixels, "png"))  # a dark one
    options = "val_fraction=0,test_fraction=0"
    outcome = build(
        "padchest", tmp_path / "out", options, input_dir=str(tree.save()), encoding="png"
    )
    data = Dataset(outcome.folder)
    record = data.reader("train").read([data.example_ids("train").tolist().index(names[1])])[0]
    stored = images.decode(record[record.index(b"\x89PNG") :])
    np.testing.assert_array_equal(stored, np.rint(pixels / 257))


def test_build_counts_everything(tmp_path):
    folder = make_tree(tmp_path / "in")
    outcome = build("padchest", tmp_path / "out", input_dir=str(folder))
    card = outcome.card
    assert card["rows"] == {"in": 110, "stored": 110, "quarantined": 0, "left_out": 0}
    assert {s: part["examples"] for s, part in card["splits"].items()} == {
        "train": 90,
        "val": 10,
        "test": 10,
    }
    labels = Counter()
    for part in card["splits"].values():
        labels.update({name: states["positive"] for name, states in part["labels"].items()})
    assert +labels == {
        **{"Nodule": 10, "Support Devices": 20, "Effusion": 10, "Pneumothorax": 10},
        **{"Consolidation": 10, "Infiltration": 10, "Scoliosis": 10, "Fracture": 10},
    }
    differing = "labels differing from the authors' rule: "
    assert {k.removeprefix(differing): n for k, n in card["facts"].items() if differing in k} == {
        **{"Nodule": 10, "Emphysema": 10, "Tuberculosis": 10, "Support Devices": 10},
        **{"Hilar Enlargement": 10},
    }
    data = Dataset(outcome.folder)
    assert len(data.example_ids("test")) == 10


def test_build_of_padchest_cl_in_the_authors_way(tmp_path):
    folder = make_tree(tmp_path / "in")
    options = "splits=authors,labels=authors"
    card = build("padchest_cl", tmp_path / "out", options, input_dir=str(folder)).card
    rows = card["rows"]
    assert rows["in"] == 110 and rows["in"] == rows["stored"] + rows["left_out"]
    assert card["left_out"]["another view"] == 66
    assert card["leaks"]["declared"] and card["leaks"]["patients"] > 0
    assert sum(part["labels"]["Consolidation"] for part in card["splits"].values()) == 0


def test_broken_images_are_put_aside(tmp_path):
    tree = Tree(tmp_path / "in")
    for number in range(30):
        tree.add(["nodule"], number, kind=KINDS[number % 5])
    truncate(tmp_path / "in" / "0" / "00003_ñ.png")
    (tmp_path / "in" / "27" / "00004_ñ.png").write_bytes(b"")
    tree.add(["nodule"], 99, image=False)
    folder = tree.save()
    with pytest.raises(UserError, match=r"1 of 31 rows cannot be stored .*no such file"):
        build("padchest", tmp_path / "out", input_dir=str(folder))
    card = build(
        "padchest",
        tmp_path / "out",
        input_dir=str(folder),
        tolerance=Tolerance("quarantine", 0.2),
    ).card
    assert card["rows"] == {"in": 31, "stored": 28, "quarantined": 3, "left_out": 0}
    assert sorted(card["quarantined"].values()) == [1, 1, 1]
