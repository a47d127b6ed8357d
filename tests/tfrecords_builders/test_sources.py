"""The contract of sources, checked on every one of them, and the parsing of options."""

import pytest

from keras_transfer.core.errors import UserError
from tfrecords_builders import sources


@pytest.mark.parametrize("name", sources.names())
def test_every_source_describes_itself(name):
    source = sources.get(name)
    assert issubclass(source, sources.Source)
    assert source.name and source.description and source.licence
    assert all(option.help for option in source.options)
    defaults = sources.parse_options(source, [])
    assert set(defaults) == {option.name for option in source.options}
    # What a default prints is what a user may type.
    for option in source.options:
        text = option.show(option.default).replace("+", ",")
        if text and not isinstance(option.default, bool):
            assert option.parse(text) == option.default
        assert option.named in ("always", "changed", "never")


def test_unknown_names_are_answered_with_known_ones():
    with pytest.raises(UserError, match=r"digit'. Did you mean 'digits'"):
        sources.get("digit")
    with pytest.raises(UserError, match=r"image_folder has no option 'tsv'. Did you mean 'csv'"):
        sources.parse_options(sources.get("image_folder"), ["tsv=a"])
    with pytest.raises(UserError, match=r"no option 'class'. Did you mean 'classes'"):
        sources.parse_options(sources.get("digits"), ["class=1"])


@pytest.mark.parametrize(
    "texts, message",
    [
        (["classes"], "write key=value"),
        (["classes=0-4", "classes=1-2"], "given twice"),
        (["classes=0-x"], "neither a digit nor a range"),
        (["classes=4-0"], "neither a digit nor a range"),
        (["classes=3"], "at least two"),
    ],
)
def test_bad_options_say_why(texts, message):
    with pytest.raises(UserError, match=message):
        sources.parse_options(sources.get("digits"), texts)


def test_values_may_hold_commas():
    parsed = sources.parse_options(sources.get("digits"), ["classes=0,2,5-7"])
    assert parsed["classes"] == (0, 2, 5, 6, 7)
    texts = ["findings=Nodule,Effusion,num_patients=7", "site=b"]
    parsed = sources.parse_options(sources.get("phantom"), texts)
    assert parsed["findings"] == ("Effusion", "Nodule")
    assert (parsed["num_patients"], parsed["site"]) == (7, "b")


def test_config_names_tell_what_differs():
    digits, phantom = sources.get("digits"), sources.get("phantom")
    names = {
        sources.config_name(digits, sources.parse_options(digits, [text]))
        for text in ("classes=0-4", "classes=0,2,5-9", "classes=0-2,5-9", "")
    }
    assert names == {"classes_0-4", "classes_0+2+5-9", "classes_0-2+5-9", "classes_0-9"}
    options = sources.parse_options(phantom, ["shift=0.5,uncertain=0.05,site=d"])
    name = sources.config_name(phantom, options)
    assert name == "num_patients_500_site_d_size_64_shift_0.5"


def test_paths_from_files_cannot_leave_the_folder(tmp_path):
    folder, outside = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    outside.mkdir()
    (folder / "link").symlink_to(outside)
    assert sources.inside(folder, "a/b.png", "row 1") == folder / "a" / "b.png"
    (folder / "film").symlink_to(outside / "film")
    for path in ("../out/x", "/etc/passwd", "a/../../out/x", "../out", "."):
        with pytest.raises(UserError, match=r"row 7: .* is not below .*: write a relative one"):
            sources.inside(folder, path, "row 7")
    for path in ("link/x", "./link/x", "film"):
        with pytest.raises(UserError, match=f"row 7: '{path}' is a link out .*: copy the files"):
            sources.inside(folder, path, "row 7")
