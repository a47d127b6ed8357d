"""ImageNet-21k: fall 2011 and winter 2021 as tars of tars, unpacked, or the processed release."""

import functools
import hashlib
import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from keras_transfer.core.errors import UserError
from tfrecords_builders import sources
from tfrecords_builders.sources import Dropped, Item, Option, _files, _synsets
from tfrecords_builders.sources._synsets import File, Shelf

_TAR_PATTERN = "*_whole.tar"
_FOLDERS = ("winter21_whole", "fall11_whole")
_PROCESSED = "imagenet21k_train"
_PROCESSED_VAL, _PROCESSED_SMALL = "imagenet21k_val", "imagenet21k_small_classes"
_ORIGIN = "https://image-net.org/download-images.php"


class ImageNet21k(_synsets.SynsetSource):
    """All of ImageNet, as far as it is there.

    * ``fall11_whole.tar`` or ``winter21_whole.tar``, tars of class tars, read in place;
    * a folder of class tars or of class folders: the input folder, or ``winter21_whole/`` or
      ``fall11_whole/`` in it;
    * the processed release: ``imagenet21k_train/`` and ``imagenet21k_val/``, in the input folder or
      in ``imagenet21k_resized/``. ``imagenet21k_small_classes/`` is left out unless
      ``small_classes=true`` adds it to train.

    Classes are the synsets that have images, in alphabetical order: some tars are empty, so their
    number is never taken for granted. Finding them reads a header or two per class; then every
    member costs one header: 25 us of CPU measured, 6 minutes for 14 million, and on top whatever
    the disk takes for a seek. Nothing is held in memory but the classes.

    A picture that is listed in several classes is there several times under one file name, which
    begins with the synset that it was collected for. ``records=per_image`` stores it once, in that
    class; ``per_label`` stores one record per listing, as the paper's authors did, with the id
    ``file#synset``. Pictures with equal pixels but different names stay different examples.
    """

    name = "imagenet21k"
    description = "ImageNet-21k: photographs of WordNet synsets, one class per image."
    options = (
        Option(
            "records",
            "per_image",
            "per_image stores a file listed in several classes once; per_label once per class",
            sources.choice("per_image", "per_label"),
            images=False,
        ),
        Option(
            "val_fraction",
            0.0,
            "share of the images for val, drawn by a hash of the file name",
            sources.number(0, 0.5),
            images=False,
        ),
        Option(
            "small_classes",
            False,
            "true adds imagenet21k_small_classes of the processed release to train",
            sources.boolean,
            images=False,
        ),
        _files.LEAKY,
    )

    def items(self) -> Iterator[Item | Dropped]:
        """Yields every image as it is met.

        Raises:
            UserError: If there is nothing to read, or two releases are in one folder.
            CorruptFileError: If a tar is damaged.
        """
        places = self._locate()
        self._facts["layout"] = " and ".join(
            str(p.relative_to(self.folder)) if p != self.folder else "class tars or folders"
            for p, _ in places
        )
        stored: list[tuple[Shelf, str]] = []
        empty = 0
        for place, split in places:
            found, strange = _synsets.shelves(place, self.folder)
            yield from strange
            for shelf in found:
                if shelf.has_images():
                    stored.append((shelf, split))
                else:
                    empty += 1
                    yield Dropped(shelf.where, "class without images", defect=shelf.is_blank)
                    yield from (_dropped(file) for file in shelf.files())
        self._names = tuple(sorted({shelf.synset for shelf, split in stored if split}))
        self._facts |= {"classes": len(self._names), "classes_without_images": empty}
        yield from self._images(stored)

    def _images(self, stored: Sequence[tuple[Shelf, str]]) -> Iterator[Item | Dropped]:
        number = {synset: i for i, synset in enumerate(self._names)}
        listed = _Listings([shelf for shelf, split in stored if split])
        for shelf, split in stored:
            for file in shelf.files():
                if file.problem:
                    yield _dropped(file)
                elif not split:
                    yield Dropped(file.source, "in a small class (small_classes=true keeps it)")
                elif self.settings["records"] == "per_label":
                    example_id = f"{file.name}#{shelf.synset}"
                    yield self._item(example_id, file, split, number[shelf.synset])
                elif listed.elsewhere(file.name, shelf.synset):
                    yield Dropped(file.source, "listed in another class (records=per_label)")
                else:
                    yield self._item(file.name, file, split, number[shelf.synset])

    def _item(self, example_id: str, file: File, split: str, label: int) -> Item:
        share = self.settings["val_fraction"]
        # By name, so that all listings of a picture are in one split.
        if share and _fraction(self.seed, file.name) < share:
            split = "val"
        return Item(example_id, split, file.source, label)

    def _locate(self) -> list[tuple[Path, str]]:
        """Returns where classes are, with their split; "" is left out."""
        packed = sorted(self.folder.glob(_TAR_PATTERN))
        packed = packed or sorted(self.folder.glob(f"{_TAR_PATTERN}.gz"))
        unpacked = [self.folder / name for name in _FOLDERS if (self.folder / name).is_dir()]
        roots = (self.folder, self.folder / "imagenet21k_resized")
        processed = [root for root in roots if (root / _PROCESSED).is_dir()]
        names = os.listdir(self.folder)  # noqa: PTH208
        here = any(_synsets.is_synset(name.removesuffix(".tar")) for name in names)
        found = [*packed, *unpacked, *processed, *([self.folder] if here else [])]
        if len(found) > 1:
            raise UserError(
                f"{found[0]} and {found[1]} are different releases or copies: "
                "keep one of them below --input_dir."
            )
        if processed:
            return self._processed(processed[0])
        if not found:
            raise UserError(
                f"{self.folder}: no winter21_whole.tar, no fall11_whole.tar, no class tars or "
                f"folders (nXXXXXXXX), and no {_PROCESSED}. Get winter21_whole.tar.gz, or the "
                f"processed imagenet21k_resized.tar.gz and unpack it, from {_ORIGIN}"
            )
        return [(found[0], "train")]

    def _processed(self, root: Path) -> list[tuple[Path, str]]:
        if self.settings["val_fraction"]:
            raise UserError(
                f"--options: val_fraction does not fit {root / _PROCESSED_VAL}: "
                "the processed release has a val of its own."
            )
        if not (root / _PROCESSED_VAL).is_dir():
            raise UserError(
                f"{root}: no {_PROCESSED_VAL} beside {_PROCESSED}. Unpack "
                f"imagenet21k_resized.tar.gz again (from {_ORIGIN})."
            )
        places = [(root / _PROCESSED, "train"), (root / _PROCESSED_VAL, "val")]
        if (root / _PROCESSED_SMALL).is_dir():
            split = "train" if self.settings["small_classes"] else ""
            places.append((root / _PROCESSED_SMALL, split))
        return places


class _Listings:
    """Tells whether a file is stored in the class that its name begins with."""

    def __init__(self, shelves: Sequence[Shelf]):
        by_synset = sorted(shelves, key=lambda shelf: shelf.synset)
        self._shelves = {
            synset: tuple(group)
            for synset, group in itertools.groupby(by_synset, lambda shelf: shelf.synset)
        }
        # Names of a class are looked up only for files that lie in another: hardly ever.
        self._names = functools.lru_cache(maxsize=16)(self._read_names)

    def elsewhere(self, name: str, synset: str) -> bool:
        """Whether a file of one class is in another, too, and belongs there."""
        own = name.partition("_")[0]
        return own != synset and own in self._shelves and name in self._names(own)

    def _read_names(self, synset: str) -> frozenset[str]:
        return frozenset(file.name for shelf in self._shelves[synset] for file in shelf.files())


def _dropped(file: File) -> Dropped:
    return Dropped(file.source, file.problem, file.defect)


def _fraction(seed: int, name: str) -> float:
    """Returns a number in [0, 1) that depends on the seed and the name only."""
    digest = hashlib.blake2b(f"{seed}\0{name}".encode(), digest_size=7).digest()
    return int.from_bytes(digest, "big") / 2**56


SOURCE = ImageNet21k
