"""Names for things that configs choose: a registry, and the parser of ``op(size=224)``."""

import ast
import inspect
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from keras_transfer.core.errors import UserError, did_you_mean

T = TypeVar("T")


class Registry(Generic[T]):
    """Maps names to objects; a wrong name is answered with the nearest right one.

    Example:
        >>> metrics = Registry("metric")
        >>> @metrics.register("accuracy")
        ... def accuracy(label, score): ...
        >>> metrics.get("acuracy")
        Traceback (most recent call last):
        keras_transfer.core.errors.UserError: Unknown metric 'acuracy'. Did you mean ...
    """

    def __init__(self, kind: str):
        self.kind = kind
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Returns a decorator that stores what it decorates under ``name``."""

        def store(entry: T) -> T:
            if name in self._entries:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            self._entries[name] = entry
            return entry

        return store

    def get(self, name: str) -> T:
        """Returns the entry, or raises a UserError that lists the known names."""
        try:
            return self._entries[name]
        except KeyError:
            raise UserError(
                f"Unknown {self.kind} {name!r}.{did_you_mean(name, self._entries)}"
            ) from None

    def names(self) -> list[str]:
        """Returns all names, in alphabetical order."""
        return sorted(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries


def parse_call(text: str) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
    """Parses ``name``, ``name(1, 2)`` or ``name(size=224)``; arguments are Python literals.

    Returns:
        The name, the positional and the keyword arguments.
    """
    problem = UserError(f"Cannot read {text!r}: write name or name(argument=literal, ...).")
    try:
        node = ast.parse(text.strip(), mode="eval").body
    except SyntaxError:
        raise problem from None
    if isinstance(node, ast.Name):
        return node.id, (), {}
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        raise problem
    try:
        args = tuple(ast.literal_eval(arg) for arg in node.args)
        kwargs = {str(kw.arg): ast.literal_eval(kw.value) for kw in node.keywords if kw.arg}
    except ValueError:
        raise problem from None
    if len(kwargs) != len(node.keywords):  # ``**mapping``
        raise problem
    return node.func.id, args, kwargs


def check_arguments(
    text: str, function: Callable, args: tuple, kwargs: dict[str, Any], *, given: int = 0
) -> dict[str, Any]:
    """Binds arguments to a registered function, or says which signature they do not fit.

    Args:
        text: The call as the user wrote it.
        function: What will be called.
        args: Positional arguments of the call.
        kwargs: Keyword arguments of the call.
        given: How many leading parameters the caller supplies itself (the image, say).

    Returns:
        All arguments by parameter name, defaults not filled in.
    """
    parameters = list(inspect.signature(function).parameters.values())[given:]
    # Users may write size=224 or 224: keyword-only is a property of our own calls.
    flexible = [
        p.replace(kind=inspect.Parameter.POSITIONAL_OR_KEYWORD)
        if p.kind is inspect.Parameter.KEYWORD_ONLY
        else p
        for p in parameters
    ]
    signature = inspect.Signature(flexible)
    try:
        return dict(signature.bind(*args, **kwargs).arguments)
    except TypeError as error:
        name = text.split("(")[0].strip()
        raise UserError(f"{text.strip()!r}: {error}; its signature is {name}{signature}.") from None
