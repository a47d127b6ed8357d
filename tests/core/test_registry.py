import pytest

from keras_transfer.core.errors import UserError
from keras_transfer.core.registry import Registry, check_arguments, parse_call


def test_unknown_name_names_the_nearest_and_all():
    things = Registry("model")
    things.register("bit-r50x1")(object())
    things.register("bit-r152x4")(object())
    with pytest.raises(UserError, match="Unknown model 'bit-r50x'") as error:
        things.get("bit-r50x")
    assert "Did you mean 'bit-r50x1'?" in str(error.value)
    assert "bit-r152x4" in str(error.value)


def test_a_name_is_registered_once():
    things = Registry("metric")
    things.register("auc")(len)
    with pytest.raises(ValueError, match="twice"):
        things.register("auc")(len)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("decode", ("decode", (), {})),
        (" resize(224) ", ("resize", (224,), {})),
        (
            "affine(shift=.25, scale=(.9, 1.1))",
            ("affine", (), {"shift": 0.25, "scale": (0.9, 1.1)}),
        ),
        ("value_range(-1, 1)", ("value_range", (-1, 1), {})),
    ],
)
def test_parse_call(text, expected):
    assert parse_call(text) == expected


@pytest.mark.parametrize(
    "text", ["resize(", "a.b(1)", "f(x)", "f(**{})", "f(__import__('os'))", "1+1", ""]
)
def test_parse_call_takes_literals_only(text):
    with pytest.raises(UserError, match="Cannot read"):
        parse_call(text)


def test_wrong_arguments_show_the_signature():
    def resize(image, size, *, antialias=False): ...

    assert check_arguments("resize(9)", resize, (9,), {}, given=1) == {"size": 9}
    with pytest.raises(UserError, match=r"resize\(size, antialias=False\)"):
        check_arguments("resize(side=9)", resize, (), {"side": 9}, given=1)
