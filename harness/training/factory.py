"""From the text of a model factory to a checked network."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.data.tasks import Task, output_shape
from harness.errors import ModelError, is_interrupt, message_of, unknown_name
from harness.training.model_files import described, import_failure, import_file, siblings_importable
from harness.training.settings import parse_factory
from harness.training.streams import streams_kept

if TYPE_CHECKING:
    from torch import nn

Factory = Callable[..., "nn.Module"]


def load_factory(text: str, root: Path) -> Factory:
    """The function that `text` names, for instance `models/resnet.py:resnet8`; relative files start at `root`.

    Raises ModelError when file, module or function are missing, or when importing them fails.
    """
    name = parse_factory(text)
    module = import_file(name.file(root)) if name.is_file else _import_module(name.place)
    functions = {key: value for key, value in vars(module).items() if callable(value) and not key.startswith("_")}
    if name.function not in functions:
        own = [key for key, value in functions.items() if getattr(value, "__module__", None) == module.__name__]
        message, fix = unknown_name(f"function in {name.place}", name.function, own if name.is_file else functions)
        raise ModelError(message, fix=fix)
    factory: Factory = functions[name.function]
    return factory


def _import_module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise ModelError(
                f"there is no module `{error.name}`", fix="install it, or write a file: `models/FILE.py:FUNCTION`"
            ) from None
        raise ModelError(f"importing `{name}` failed: {error}", fix="install what it needs") from error
    except BaseException as error:  # a module may do anything when it is imported
        if is_interrupt(error):
            raise
        raise import_failure(f"`{name}`", error) from error


def build_model(
    text: str,
    args: Mapping[str, Any],
    *,
    root: Path,
    seed: int,
    input_shape: tuple[int, ...] | None,
    n_classes: int | None = None,
    task: Task = "classification",
    on_step: Callable[[str], None] | None = None,
) -> nn.Module:
    """The network, in eval mode, its weights initialised from `seed`; torch's global random state is left alone.

    It is tried on zeros of (2, *input_shape): the result must be logits, (2, n_classes), or (2, any) for None; with
    pixels to classify, (2, n_classes, H, W). With `input_shape=None` it is not tried. `on_step` is called with what
    comes next: importing, calling the factory, running the network. Raises ModelError when the arguments do not fit
    the factory, when it fails, or when the network does not fit the data.
    """
    import torch

    tell = on_step or _say_nothing
    tell(f"importing `{text}`")
    with streams_kept():
        factory = load_factory(text, root)
    _check_args(text, factory, args)
    name = parse_factory(text)
    siblings = siblings_importable(name.file(root) if name.is_file else None)
    with streams_kept(), torch.random.fork_rng(devices=[]), siblings:
        torch.manual_seed(seed)
        tell(f"calling `{text}`")
        try:
            model = factory(**args)
        except BaseException as error:  # a factory may do anything
            if is_interrupt(error):
                raise
            raise ModelError(f"`{text}` failed: {described(error)}", fix=_args_fix(factory)) from error
        if not isinstance(model, torch.nn.Module):
            raise ModelError(f"`{text}` returned {type(model).__name__}", fix="return a torch.nn.Module")
        _to_eval(text, model)
        written_in = _other_types(model)
        model.float()  # data, training and engines are float32, whatever the network was written in
        if input_shape is not None:
            tell(f"running the network of `{text}` on two samples")
            _check_forward(text, model, input_shape, n_classes, task, written_in)
    return model


def _other_types(model: nn.Module) -> str:
    """The types of the floating-point parameters that are not float32, as text; empty when all are."""
    import torch

    types = {str(p.dtype).removeprefix("torch.") for p in model.parameters() if p.dtype.is_floating_point}
    return ", ".join(sorted(types - {str(torch.float32).removeprefix("torch.")}))


def _say_nothing(step: str) -> None:
    """The next step is not asked for."""


def _to_eval(text: str, model: nn.Module) -> None:
    try:
        model.eval()
    except BaseException as error:  # a network may have a method `train` of its own
        if is_interrupt(error):
            raise
        fix = "make `eval()` of the network work"
        raise ModelError(f"the network of `{text}` cannot be set to eval mode: {described(error)}", fix=fix) from error


def _check_args(text: str, factory: Factory, args: Mapping[str, Any]) -> None:
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):  # some callables have no signature; calling them will tell
        return
    named = {p.name for p in signature.parameters.values() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    takes_any = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    for key in args:
        if key not in named and not takes_any:
            message, fix = unknown_name(f"argument of `{text}`", key, named)
            raise ModelError(message, fix=fix if named else "remove it: the factory takes no arguments")
    try:
        signature.bind(**args)
    except TypeError as error:
        raise ModelError(f"`{text}`: {error}", fix=_args_fix(factory)) from None


def _args_fix(factory: Factory) -> str:
    try:
        return f"correct `args`; the factory's signature is {inspect.signature(factory)}"
    except (TypeError, ValueError):
        return "correct `args`"


def _check_forward(
    text: str, model: nn.Module, input_shape: tuple[int, ...], n_classes: int | None, task: Task, written_in: str
) -> None:
    """`written_in` names the types that its parameters had before they became float32."""
    import torch

    shape = (2, *input_shape)
    try:
        with torch.no_grad():
            output = model(torch.zeros(shape))
    except BaseException as error:  # a network may do anything
        if is_interrupt(error):
            raise
        if isinstance(error, SystemExit):
            raise ModelError(
                f"the network of `{text}` ended the process when it ran: {described(error)}",
                fix="leave `sys.exit` out of `forward`",
            ) from error
        first_line = (message_of(error).splitlines() or [type(error).__name__])[0]
        if written_in:
            raise ModelError(
                f"the network of `{text}` was written in {written_in} and cannot run in float32, in which networks are "
                f"trained and quantized: {first_line}",
                fix="leave out the casts in `forward`, and return a float32 network",
            ) from error
        raise ModelError(
            f"`{text}` cannot run on an input of shape {shape}: {first_line}",
            fix="make `args` fit the data's channels and size, or choose another network",
        ) from error
    per_class = output_shape(task, input_shape, 0)[1:]
    is_logits = isinstance(output, torch.Tensor) and output.ndim >= 2 and output.shape[0] == 2
    if not is_logits or output.shape[2:] != per_class:
        got = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
        wanted = ", ".join(["N", "n_classes", *map(str, per_class)])
        raise ModelError(f"`{text}` returned {got} for 2 samples", fix=f"return logits ({wanted})")
    if n_classes is not None and output.shape[1] != n_classes:
        raise ModelError(
            f"`{text}` has {output.shape[1]} outputs, the data set {n_classes} classes",
            fix=f"set the factory's number of classes to {n_classes} in `args`",
        )
