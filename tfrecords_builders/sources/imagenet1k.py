"""ImageNet-1k (ILSVRC2012): the official tars read in place, unpacked folders, Kaggle's layout."""

import os
from collections.abc import Iterator
from pathlib import Path

from keras_transfer.core.errors import UserError
from tfrecords_builders.sources import Dropped, Item, _files, _ilsvrc_labels, _synsets
from tfrecords_builders.sources._synsets import File

_TARS = {"train": "ILSVRC2012_img_train.tar", "val": "ILSVRC2012_img_val.tar"}
_FOLDERS = ("", "ILSVRC/Data/CLS-LOC", "Data/CLS-LOC")
_CLASSES = 1000
_ORIGIN = "https://image-net.org/challenges/LSVRC/2012/2012-downloads.php"


class ImageNet1k(_synsets.SynsetSource):
    """The 1,000 classes of ILSVRC2012, or those of them that are there.

    Train and val are looked for on their own; the test images have no labels and are not read.

    * train: ``ILSVRC2012_img_train.tar``; ``train/`` or Kaggle's ``ILSVRC/Data/CLS-LOC/train/``
      with a folder or a tar per class;
    * val: ``ILSVRC2012_img_val.tar``; ``val/`` or ``ILSVRC/Data/CLS-LOC/val/``, sorted into class
      folders, or flat with one of the label files: the devkit as it is or unpacked, Kaggle's
      ``LOC_val_solution.csv``, or a list of synsets in the order of the images.

    Classes are the synsets of train in alphabetical order. Plain JPEG files are stored as they
    are; the PNG and the CMYK files among them become RGB JPEG. The example id is the file name.
    """

    name = "imagenet1k"
    description = "ILSVRC2012: photographs of 1,000 classes, labels are WordNet synset ids."
    options = (_files.LEAKY,)
    published = {"train": 1281167, "val": 50000}  # noqa: RUF012

    def items(self) -> Iterator[Item | Dropped]:
        """Yields the images of train, class by class, then those of val.

        Raises:
            UserError: If train, val or the labels of val are missing, naming all that is.
            CorruptFileError: If a tar or a label file is damaged.
        """
        train, val = self._locate()
        found, strange = _synsets.shelves(train, self.folder)
        yield from strange
        if not found:
            raise UserError(
                f"{train}: no class in it (nXXXXXXXX, a folder or a tar). For classes of other "
                "names there is --source=image_folder."
            )
        self._names = tuple(sorted(shelf.synset for shelf in found))
        self._facts["layout"] = " and ".join(str(p.relative_to(self.folder)) for p in (train, val))
        self._facts["classes"] = len(found)
        if len(found) != _CLASSES:
            self._facts["note"] = f"not the {_CLASSES:,} classes of ILSVRC2012"
        number = {synset: i for i, synset in enumerate(self._names)}
        for shelf in found:
            yield from self._class(shelf, "train", number)
        if _is_sorted(val):
            found, strange = _synsets.shelves(val, self.folder)
            yield from strange
            for shelf in found:
                yield from self._class(shelf, "val", number)
        else:
            yield from self._flat_val(val, number)

    def _locate(self) -> tuple[Path, Path]:
        """Returns where train and val are."""
        train, val = self._find("train"), self._find("val")
        missing = []
        if train is None:
            missing.append(f"training images ({_TARS['train']}, or train/ with a folder per class)")
        if val is None:
            missing.append(f"validation images ({_TARS['val']}, or val/)")
        if not (val and _is_sorted(val)) and _ilsvrc_labels.find(self.folder) is None:
            missing.append(f"labels of the validation images ({_ilsvrc_labels.FORMS})")
        if missing or train is None or val is None:
            raise UserError(f"{self.folder}: no {'; no '.join(missing)}. Get them from {_ORIGIN}")
        return train, val

    def _find(self, split: str) -> Path | None:
        """Returns the tar or the folder of a split.

        Raises:
            UserError: If there are several.
        """
        tar = self.folder / _TARS[split]
        # A compressed one is refused where it is opened, with the command that helps.
        places = [p for p in (tar, tar.with_name(f"{tar.name}.gz")) if p.is_file()][:1]
        places += [p for part in _FOLDERS if (p := self.folder / part / split).is_dir()]
        if len(places) > 1:
            raise UserError(f"{split} is there twice: {places[0]} and {places[1]}. Move one away.")
        return places[0] if places else None

    def _class(
        self, shelf: _synsets.Shelf, split: str, number: dict[str, int]
    ) -> Iterator[Item | Dropped]:
        if not shelf.has_images():
            yield Dropped(shelf.where, "class without images", defect=True)
        for file in shelf.files():
            yield _entry(file, split, shelf.synset, number)

    def _flat_val(self, val: Path, number: dict[str, int]) -> Iterator[Item | Dropped]:
        """Yields the validation images whose labels are in a file, and labels without an image."""
        path = _ilsvrc_labels.find(self.folder)
        assert path is not None
        self._facts["val_labels"] = path.relative_to(self.folder).as_posix()
        answers = _ilsvrc_labels.read(path)
        for table in _ilsvrc_labels.files(path):
            self._note(table)
        seen = set()
        flat = _synsets.files_of_folder if val.is_dir() else _synsets.files_of_tar
        for file in flat(val, self.folder):
            stem = Path(file.name).stem
            seen.add(stem)
            yield _entry(file, "val", answers.get(stem), number)
        for stem in sorted(answers.keys() - seen):
            yield Dropped(f"{stem} ({path.name})", "no such image", defect=True)


def _is_sorted(val: Path) -> bool:
    """Whether a place holds class folders."""
    names = os.listdir(val) if val.is_dir() else []  # noqa: PTH208
    return any(_synsets.is_synset(name) and (val / name).is_dir() for name in names)


def _entry(file: File, split: str, synset: str | None, number: dict[str, int]) -> Item | Dropped:
    if file.problem:
        return Dropped(file.source, file.problem, file.defect)
    if synset is None:
        return Dropped(file.source, "no label for it", defect=True)
    if synset not in number:
        return Dropped(file.source, "its class is not in train", defect=True)
    return Item(file.name, split, file.source, number[synset])


SOURCE = ImageNet1k
