"""Tars read in place: members and offsets in any dialect, and whatever is wrong or hostile."""

import gzip
import io
import tarfile
import tracemalloc

import numpy as np
import pytest
import tar_trees

from keras_transfer.core.errors import CorruptFileError, UserError
from tfrecords_builders import tars
from tfrecords_builders.tars import Place

_LONG = "a" * 90 + "/" + "ö" * 120 + ".JPEG"
_FORMS = (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)


def _write(path, data):
    path.write_bytes(data)
    return path


def _contents(path, **arguments):
    return {m.name: tars.read(path, m.offset, m.size) for m in tars.members(path, **arguments)}


@pytest.mark.parametrize("form", [*_FORMS, tarfile.USTAR_FORMAT])
def test_members_are_where_tarfile_finds_them(tmp_path, form):
    rng = np.random.default_rng(0)
    files = {f"d{i}/{i}.JPEG": rng.bytes(int(rng.integers(0, 2000))) for i in range(40)}
    files |= {f"{'x' * 60}/{'y' * 80}.JPEG": b"ustar prefix"}
    path = _write(tmp_path / "a.tar", tar_trees.tar(files, form=form))
    with tarfile.open(path) as archive:
        expected = [(m.name, m.offset_data, m.size) for m in archive]
    assert [member[:3] for member in tars.members(path)] == expected
    assert _contents(path) == files


@pytest.mark.parametrize("form", _FORMS)
def test_tars_in_tars_are_opened_in_place(tmp_path, form):
    inner: tar_trees.Tree = {"1.JPEG": b"one", _LONG: b"long", "empty": b""}
    files: tar_trees.Tree = {
        "n1.tar": inner,
        f"{'d' * 120}/n2.tar": {"2.JPEG": b"two"},
        "note": b"x",
    }
    path = _write(tmp_path / "a.tar", tar_trees.tar(files, form=form))
    assert _contents(path) == {
        "n1.tar/1.JPEG": b"one",
        f"n1.tar/{_LONG}": b"long",
        "n1.tar/empty": b"",
        f"{'d' * 120}/n2.tar/2.JPEG": b"two",
        "note": b"x",
    }
    outer = {member.name: member for member in tars.members(path, nested=False)}
    assert list(outer) == list(files)
    found = list(tars.members(path, outer["n1.tar"]))
    assert [member.name for member in found] == [f"n1.tar/{name}" for name in inner]


def test_pax_sizes_and_global_fields_count(tmp_path):
    stream = io.BytesIO()
    fields = {"comment": "of all"}
    with tarfile.open(
        fileobj=stream, mode="w", format=tarfile.PAX_FORMAT, pax_headers=fields
    ) as archive:
        for name, extra in (("a", {"path": "ä/b.JPEG"}), ("c.JPEG", {})):
            member = tarfile.TarInfo(name)
            member.size, member.pax_headers = 3, extra
            archive.addfile(member, io.BytesIO(b"abc"))
    data = bytearray(stream.getvalue())
    assert list(_contents(_write(tmp_path / "a.tar", data))) == ["ä/b.JPEG", "c.JPEG"]
    # A size beyond 8 GB stands in the PAX fields only; here it is the true one and the header lies.
    member = tarfile.TarInfo("big.JPEG")
    member.size = 600
    header = bytearray(member.tobuf(tarfile.USTAR_FORMAT))
    header[124:136] = b"00000000000\0"
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + sum(header[156:512]) + 8 * 32)
    pax = b"12 size=600\n"
    field = tarfile.TarInfo("x")
    field.type, field.size = tarfile.XHDTYPE, len(pax)
    start = field.tobuf(tarfile.USTAR_FORMAT) + pax.ljust(512, b"\0")
    path = _write(tmp_path / "b.tar", start + header + bytes(2048))
    assert [(m.name, m.size) for m in tars.members(path)] == [("big.JPEG", 600)]


def test_hostile_members_are_reported_not_followed(tmp_path):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, kind in [
            ("../up.JPEG", tarfile.REGTYPE),
            ("/etc/passwd", tarfile.REGTYPE),
            ("a/../../b.tar", tarfile.REGTYPE),
            ("hard", tarfile.LNKTYPE),
            ("soft.tar", tarfile.SYMTYPE),
            ("tty", tarfile.CHRTYPE),
            ("disk", tarfile.BLKTYPE),
            ("pipe", tarfile.FIFOTYPE),
            ("folder", tarfile.DIRTYPE),
            ("odd", b"Z"),
            ("..fine.JPEG", tarfile.REGTYPE),
        ]:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
    path = _write(tmp_path / "a.tar", stream.getvalue())
    problems = {member.name: member.problem for member in tars.members(path)}
    assert problems.pop("..fine.JPEG") == ""
    assert {name: problem.split()[0] for name, problem in problems.items()} == {
        "../up.JPEG": "name",
        "/etc/passwd": "name",
        "a/../../b.tar": "name",
        "hard": "link",
        "soft.tar": "link",
        "tty": "device",
        "disk": "device",
        "pipe": "device",
        "odd": "unknown",
    }


def test_cut_off_tars_are_refused_wherever_they_are_cut(tmp_path):
    whole = tar_trees.tar({"n1.tar": {"1.JPEG": bytes(700), "2.JPEG": b"two"}, "3": b"three"})
    whole = whole.rstrip(b"\0")
    whole += bytes(-len(whole) % 512)  # all members, no end mark
    for length in (*range(0, len(whole), 256), len(whole)):
        path = _write(tmp_path / f"{length}.tar", whole[:length])
        with pytest.raises(CorruptFileError, match=rf"{length}.tar, byte \d+: truncated tar"):
            list(tars.members(path))


def test_damage_is_named_by_offset(tmp_path):
    data = bytearray(tar_trees.tar({"1": b"x" * 600, "2": b"y"}))
    data[1536 + 3] ^= 1  # name of the second
    path = _write(tmp_path / "a.tar", data)
    with pytest.raises(CorruptFileError, match=r"a.tar, byte 1536: not a tar header"):
        list(tars.members(path))
    joined = tar_trees.tar({"1": b"x"}) + tar_trees.tar({"2": b"y"})
    with pytest.raises(CorruptFileError, match="data after the end mark"):
        list(tars.members(_write(tmp_path / "b.tar", joined)))
    broken = _write(tmp_path / "c.tar", tar_trees.tar({"n1.tar": b"no tar".ljust(2048)}))
    with pytest.raises(CorruptFileError, match=r"c.tar, byte 512: not a tar header"):
        list(tars.members(broken))
    with pytest.raises(CorruptFileError, match="cut off: the tar is shorter"):
        tars.read(broken, broken.stat().st_size - 24, 99)
    with pytest.raises(UserError, match=r"none.tar: No such file"):
        list(tars.members(tmp_path / "none.tar"))


def test_any_flipped_byte_gives_members_or_a_clear_error(tmp_path):
    whole = tar_trees.tar({"n1.tar": {_LONG: b"1"}, "3": b"three"}, form=tarfile.PAX_FORMAT)
    path, refused = tmp_path / "a.tar", 0
    rng = np.random.default_rng(1)
    for position in rng.choice(6 * 512, 150, replace=False).tolist():
        data = bytearray(whole)
        data[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(data)
        try:
            found = list(tars.members(path))
        except UserError as error:
            assert "a.tar" in str(error)
            refused += 1
        else:
            assert all(m.offset + m.size <= len(data) for m in found)
    assert refused > 20


def test_what_cannot_be_read_in_place_says_what_to_do(tmp_path):
    packed = _write(tmp_path / "w.tar.gz", gzip.compress(tar_trees.tar({"1": b"x"})))
    with pytest.raises(UserError, match=rf"read forward.*: run `gunzip -k {packed}` once"):
        list(tars.members(packed))
    unnamed = _write(tmp_path / "w.tar", packed.read_bytes())
    with pytest.raises(UserError, match=rf"`mv {unnamed} {packed} && gunzip -k {packed}`"):
        list(tars.members(unnamed))
    sparse = tarfile.TarInfo("holes")
    sparse.type = tarfile.GNUTYPE_SPARSE
    data = sparse.tobuf(tarfile.GNU_FORMAT) + bytes(1024)
    with pytest.raises(UserError, match="without --sparse"):
        list(tars.members(_write(tmp_path / "s.tar", data)))
    deep = b"x"
    for _ in range(6):
        deep = tar_trees.tar({"a.tar": deep})
    with pytest.raises(UserError, match="inside another: refused"):
        list(tars.members(_write(tmp_path / "deep.tar", deep)))


def test_places_can_be_read_back():
    for member in ("n1.tar/ä b@1+2:c.JPEG", "x"):
        place = Place("in/file.tar", 512, 70, member)
        assert Place.parse(str(place)) == place
    assert Place.parse("train/n01440764/n01440764_1.JPEG") is None


def test_a_file_that_was_replaced_is_read_anew(tmp_path):
    path = _write(tmp_path / "a.tar", tar_trees.tar({"1": b"old"}))
    assert _contents(path) == {"1": b"old"}
    _write(tmp_path / "b.tar", tar_trees.tar({"1": b"new!"})).replace(path)
    assert _contents(path) == {"1": b"new!"}


def test_memory_does_not_grow_with_the_number_of_members(tmp_path):
    block = tar_trees.tar({"n00000001_12345.JPEG": b"x"})[:1024]
    inner = block * 10_000 + bytes(1024)
    path = _write(tmp_path / "a.tar", tar_trees.tar({"n1.tar": inner, "n2.tar": inner}))
    tracemalloc.start()
    count = sum(1 for _ in tars.members(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 20_000
    assert peak < 300_000
