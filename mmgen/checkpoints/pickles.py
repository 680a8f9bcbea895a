"""Checkpoints that are pickles, opened without running what is written in them.

Two walls: every name a file would import is looked up before anything is built, and those that weights
need are all that is allowed (`mmgen.checkpoints.pickle_scan`); then PyTorch's own restricted reader
(`torch.load(weights_only=True)`) builds the tensors, without their numbers where the format permits.
"""

from __future__ import annotations

import argparse
import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmgen.checkpoints.pickle_scan import DTYPES, RESAVE, scan
from mmgen.checkpoints.stored import Entry, Held, Stored, listed
from mmgen.errors import WeightsError

CONTAINERS = ("model", "module", "state_dict", "trainer", "ema_parameters", "var_wo_ddp", "sd", "best_state")
"""Names under which trainers save a state dict: plain and DDP, DeepSpeed, Lightning, and audiocraft's last.

Those of VAR, and of NAR's videos, have one in another.

Of several the first is taken: averages of the weights before the weights themselves.
"""


def open_pickle(path: Path) -> dict[str, Entry]:
    """The tensors of a file that `torch.save` wrote, by name. No code in it is run.

    The state dict may lie bare, or under `model`, `module` or `state_dict`. Where DDP put `module.` before
    every name, that is taken away. Zip files, which PyTorch has written since 1.6 (2020), are read tensor by
    tensor; an older file is in memory as a whole for as long as its tensors are kept.

    Raises:
        OSError: there is no such file.
        WeightsError: the file is damaged or something else, names what weights do not need, says that it holds
            more than it does, or holds no state dict.
    """
    content, records = _content(path)
    state = _state_dict(path, content)
    return {name: _entry(path, name, tensor, records) for name, tensor in _without_prefix(state).items()}


def read_texts(path: Path) -> dict[str, str]:
    """Texts that lie beside the tensors, by name, such as the configuration `xp.cfg` of audiocraft's files.

    Raises:
        OSError: there is no such file.
        WeightsError: as `open_pickle`.
    """
    content: Any = _content(path)[0]
    found = content.items() if isinstance(content, Mapping) else ()
    return {name: value for name, value in found if isinstance(name, str) and isinstance(value, str)}


def _content(path: Path) -> tuple[object, dict[int, int] | None]:
    """What a file holds, and the records of a zip file, whose tensors have left their numbers in it."""
    records = scan(path)
    try:
        # A namespace is built without a constructor, by setting attributes: it cannot run anything.
        with torch.serialization.safe_globals([argparse.Namespace]):
            place = "cpu" if records is None else "meta"
            return torch.load(path, map_location=place, weights_only=True), records
    except pickle.UnpicklingError as error:
        # What torch says here advises to load the file unsafely.
        raise WeightsError(path, "is a pickle of a kind that weights do not need, or damaged", RESAVE) from error
    except Exception as error:  # A damaged pickle may raise anything.
        first_line = next(iter(str(error).splitlines()), type(error).__name__)
        raise WeightsError(path, f"is damaged ({first_line})", "fetch it again") from error


def _entry(path: Path, name: str, tensor: Tensor, records: Mapping[int, int] | None) -> Entry:
    """A tensor of the file: where its numbers lie in the zip file with these records, or as it was read."""
    _check_tensor(path, name, tensor)
    if records is None:
        return Held(tensor.detach())
    storage = tensor.untyped_storage()
    start: int = storage._checkpoint_offset or 0
    # A view that reaches past its storage has made that larger, so this is all there is to check.
    if records.get(start, 0) < storage.nbytes():
        raise WeightsError(path, f"does not hold the {storage.nbytes()} bytes of {name}", "fetch it again")
    offset = start + int(tensor.storage_offset()) * tensor.dtype.itemsize
    return Stored(path, offset, tuple(tensor.shape), tensor.stride(), tensor.dtype)


def _check_tensor(path: Path, name: str, tensor: Tensor) -> None:
    """Refuses a tensor of a strange type, or one that would unpack to more than the file."""
    if tensor.layout != torch.strided or tensor.dtype not in DTYPES:
        raise WeightsError(path, f"{name} is of type {tensor.dtype} and {tensor.layout}, which is not read", RESAVE)
    if tensor.nbytes > path.stat().st_size:
        raise WeightsError(path, f"{name} says that it is larger than the file", RESAVE)


def _state_dict(path: Path, content: Any) -> dict[str, Tensor]:
    """The state dict of a checkpoint: the content itself, or what lies in it under a usual name."""
    for candidate in _candidates(content):
        if _is_state_dict(candidate):
            return dict(candidate)
    holds = f"the keys {listed(map(str, content))}" if isinstance(content, Mapping) else f"a {type(content).__name__}"
    needed = f"tensors by name are needed, alone or under {', '.join(CONTAINERS)}"
    raise WeightsError(path, f"holds {holds}", needed)


def _candidates(content: Any) -> Iterator[Any]:
    """The content itself, then what lies in it under a usual name, at any depth."""
    yield content
    if isinstance(content, Mapping):
        for key in CONTAINERS:
            if key in content:
                yield from _candidates(content[key])


def _is_state_dict(candidate: object) -> bool:
    if not isinstance(candidate, Mapping) or not candidate:
        return False
    return all(isinstance(name, str) and isinstance(value, Tensor) for name, value in candidate.items())


def _without_prefix(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names as the model has them: DDP puts `module.` before every one."""
    if all(name.startswith("module.") for name in state):
        return {name.removeprefix("module."): tensor for name, tensor in state.items()}
    return state
