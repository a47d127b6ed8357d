"""The argument behind a config file's name: ``finetune.py:data=DIR,init=RUN,seed=3``."""

from types import SimpleNamespace

from keras_transfer.core.errors import UserError, did_you_mean


def parse_arg(text: str | None, **defaults: str | int | float | bool) -> SimpleNamespace:
    """Reads ``key=value,key=value``; every value takes the type of its default.

    Raises:
        UserError: On an unknown key or a value of another type.
    """
    values = dict(defaults)
    for item in filter(None, (text or "").split(",")):
        key, equals, value = item.partition("=")
        if key not in defaults or not equals:
            raise UserError(f"Config argument {item!r}: unknown.{did_you_mean(key, defaults)}")
        kind = type(defaults[key])
        try:
            values[key] = {"true": True, "false": False}[value] if kind is bool else kind(value)
        except (KeyError, ValueError):
            raise UserError(f"Config argument {item!r}: not of type {kind.__name__}.") from None
    return SimpleNamespace(**values)
