"""Your own DICOM files, in folders of any layout, with a csv of their labels."""

import posixpath
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from keras_transfer.core.errors import CorruptFileError, UserError
from tfrecords_builders import dicom, formats, sources
from tfrecords_builders.sources import Dropped, Item, Option, _files, _listing, _rows

_NO_IMAGE = "not an image"


class _File(NamedTuple):
    """A file below the input folder.

    Attributes:
        path: Relative, with ``/``.
        header: Of a DICOM file; None of others.
        obstacle: Why it cannot be stored; "" if it can.
        damaged: Whether that is something wrong, and not another kind of file.
    """

    path: str
    header: dicom.Header | None
    obstacle: str
    damaged: bool = False

    def key(self, kind: str) -> str:
        """Returns what the csv calls the file."""
        if kind == "sop_instance_uid":
            return self.header.sop_instance_uid if self.header else ""
        return posixpath.basename(self.path) if kind == "name" else self.path


class _Row(NamedTuple):
    """A row of the csv.

    Attributes:
        where: File and line.
        item: As the row says.
        files: Those that it names: one, unless something is wrong.
    """

    where: str
    item: Item
    files: list[_File]


class DicomFolder(_rows.RowSource):
    """DICOM files below one folder, and a csv with a row per image.

    The csv names a file by its ``path`` below the input folder, by its ``name`` alone, or by its
    ``sop_instance_uid``, in a column of that name, as ``key`` says; this is the example id. Other
    columns are ``label``, or those named with ``labels=a,b``, which are findings: 1 positive,
    0 negative, -1 uncertain, empty or -2 not mentioned; and any of ``split``, ``patient_id``,
    ``view``, ``sex`` and ``age``.

    What the csv does not say of patient, view, sex and age is taken from the DICOM headers. Images
    without a patient there, as in anonymised files, count as one patient per study.

    Where no split is given, examples are drawn at random, all images of a patient into one split.
    JPEG, PNG and other images may be among the files.
    """

    name = "dicom_folder"
    description = "DICOM images of a folder."
    options = (
        *_rows.options(csv="labels.csv", channels=1),
        _rows.about_rows(
            "key",
            "path",
            "column that names the file: path, name or sop_instance_uid",
            parse=sources.choice("path", "name", "sop_instance_uid"),
        ),
        Option(
            "views",
            (),
            "views to keep, such as PA,AP; all by default",
            lambda text: sources.words(text.upper()),
            images=False,
            show=sources.show_words,
        ),
        _files.RENDER,
    )

    def items(self) -> Iterator[Item | Dropped]:
        """Yields an entry for every row of the csv and every file without a row.

        Raises:
            UserError: If the csv cannot be understood or a path leaves the folder, naming the line.
        """
        key = self.settings["key"]
        self._facts |= {"layout": f"DICOM files, named in the csv by {key}"}
        self._facts |= dict.fromkeys(("dicom_files", "other_images", "images_without_patient"), 0)
        rows: dict[str, _Row] = {}
        for where, item in self.rows(key):
            name = self._normal(item, where)
            if name in rows:
                yield Dropped(f"{item.source} ({where})", "second row of this image", defect=True)
            else:
                rows[name] = _Row(where, item, [])
        _refuse_unknown_patients(rows.values())
        for file in self._files():
            if file.key(key) in rows:
                rows[file.key(key)].files.append(file)
            else:
                yield _without_row(file, key)
        found = []
        for row in rows.values():
            entry = self._joined(row)
            if isinstance(entry, Item):
                found.append(entry)
            else:
                yield entry  # for the row and its file, if it has one
                for file in row.files[1:]:
                    yield Dropped(file.path, "one of several files that a row names")
        yield from self.completed(found)

    def _normal(self, item: Item, where: str) -> str:
        """Returns what a row calls its file as `_File.key` would; checks what is a path."""
        if self.settings["key"] != "path":
            return item.source
        sources.inside(self.folder, item.source, where)
        return posixpath.normpath(item.source)

    def _files(self) -> Iterator[_File]:
        """Yields every file but the csv."""
        table = posixpath.normpath(self.settings["csv"])
        for path in _listing.files_below(self.folder):
            relative = path.relative_to(self.folder).as_posix()
            if relative != table:
                yield self._look(path, relative)

    def _look(self, path: Path, relative: str) -> _File:
        """Reads what a file says of itself."""
        if path.is_dir():
            return _File(relative, None, "link to a folder, not followed")
        if path.exists() and not path.is_file():  # a pipe, which would be waited for
            return _File(relative, None, _NO_IMAGE)
        try:
            with path.open("rb") as stream:
                start = stream.read(formats.DICOM_START)
            if formats.looks_like_image(start) or not formats.is_dicom(start):
                readable = formats.is_readable(start)
                self._facts["other_images"] += readable
                return _File(relative, None, "" if readable else _NO_IMAGE)
            header = dicom.read_header(path)
        except OSError as error:
            reason = (error.strerror or type(error).__name__).lower()
            return _File(relative, None, reason, damaged=True)
        except CorruptFileError as error:
            return _File(relative, None, str(error), damaged=True)
        self._facts["dicom_files"] += 1
        return _File(relative, header, header.obstacle)

    def _joined(self, row: _Row) -> Item | Dropped:
        """Returns the item of a row with what its file adds, or why there is none."""
        named = f"{row.item.source} ({row.where})"
        if not row.files:
            return Dropped(named, "no such file", defect=True)
        if len(row.files) > 1:
            several = f"several files of this {self.settings['key']} (key=path tells them apart)"
            return Dropped(named, several, defect=True)
        file = row.files[0]
        sources.inside(self.folder, file.path, row.where)
        if file.obstacle:
            return Dropped(named, file.obstacle, defect=True)
        item = _filled(row.item._replace(source=file.path), file.header)
        views = self.settings["views"]
        if views and item.view.upper() not in views:
            return Dropped(named, "another view" if item.view else "no view known")
        known = row.item.patient_id or (file.header and file.header.patient_id)
        self._facts["images_without_patient"] += not known
        return item


def _filled(item: Item, header: dicom.Header | None) -> Item:
    """Returns an item with what the csv does not say, as its DICOM header has it."""
    if header is None:
        return item
    return item._replace(
        # Two films of a study are of one patient, whoever it is.
        patient_id=item.patient_id or header.patient_id or header.study_instance_uid,
        view=item.view or header.view,
        sex=item.sex or header.sex,
        age=item.age or header.age,
    )


def _refuse_unknown_patients(rows: Collection[_Row]) -> None:
    """Raises a UserError if the csv names the patients of some rows only.

    The headers may call the same patient otherwise, who would then be in two splits.
    """
    unknown = next((row.where for row in rows if not row.item.patient_id), "")
    if unknown and any(row.item.patient_id for row in rows):
        raise UserError(
            f"{unknown}: the patient_id is empty, but others are not: fill in all, or drop the "
            "column to take them from the DICOM headers."
        )


def _without_row(file: _File, key: str) -> Dropped:
    if not file.damaged:
        return Dropped(file.path, file.obstacle or "no row in the csv")
    if key == "sop_instance_uid":  # which may be that of a row
        return Dropped(file.path, file.obstacle, defect=True)
    return Dropped(file.path, "no row in the csv")


SOURCE = DicomFolder
