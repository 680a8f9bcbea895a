"""Checkpoints that are pickles, opened without running what is written in them.

Two walls: every name a file would import is looked up before anything is built, and those that weights
need are all that is allowed; then PyTorch's own restricted reader (`torch.load(weights_only=True)`) builds
the tensors, without their numbers where the format permits.
"""

from __future__ import annotations

import argparse
import io
import pickle
import pickletools
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from mmgen.checkpoints.stored import Entry, Held, Stored, listed
from mmgen.errors import WeightsError

CONTAINERS = ("model", "module", "state_dict", "trainer", "ema_parameters", "var_wo_ddp", "sd", "best_state")
"""Names under which trainers save a state dict: plain and DDP, DeepSpeed, Lightning, and audiocraft's last.

Those of VAR, and of NAR's videos, have one in another.

Of several the first is taken: averages of the weights before the weights themselves.
"""

DTYPES = (
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
)
"""Types of tensor that are read."""

_STORAGES = ("Double", "Float", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")
_ALLOWED = {
    "collections.OrderedDict",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_tensor_v3",
    "torch._utils._rebuild_parameter",
    "torch._tensor._rebuild_from_type_v2",
    "torch.Tensor",
    "torch.nn.parameter.Parameter",
    "torch.Size",
    "torch.device",
    "torch.storage.UntypedStorage",
    "argparse.Namespace",
    "_codecs.encode",
    "builtins.set",
    *(f"torch.{name}Storage" for name in _STORAGES),
    *(str(dtype) for dtype in DTYPES),
}
"""What a file may name: tensors, containers, and the options of the training script."""

_MODULES = {"__builtin__": "builtins", "copy_reg": "copyreg"}
"""Modules as Python 2 called them, which is how protocol 2 writes them."""

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PICKLES = 5
"""Magic number, protocol, the system's sizes, the object, and the keys of its storages."""

_RESAVE = "open it where it was made and save its state dict alone, as safetensors"


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
    """What a file holds, and the records of a zip file."""
    with path.open("rb") as file:
        zipped = file.read(4) == b"PK\x03\x04"
    records, names = _read_zip(path) if zipped else (None, _legacy_globals(path))
    return _load(path, names, "meta" if zipped else "cpu"), records


def _load(path: Path, names: set[str], place: str) -> object:
    """What the file holds, its tensors in a place; `meta` leaves their numbers in the file."""
    refused = names - _ALLOWED
    if refused:
        raise WeightsError(path, f"is a pickle that would run {listed(refused)}, which weights do not need", _RESAVE)
    try:
        # A namespace is built without a constructor, by setting attributes: it cannot run anything.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location=place, weights_only=True)
    except pickle.UnpicklingError as error:
        # What torch says here advises to load the file unsafely.
        raise WeightsError(path, "is a pickle of a kind that weights do not need, or damaged", _RESAVE) from error
    except Exception as error:  # A damaged pickle may raise anything.
        first_line = next(iter(str(error).splitlines()), type(error).__name__)
        raise WeightsError(path, f"is damaged ({first_line})", "fetch it again") from error


def _globals(file: BinaryIO) -> Iterator[str]:
    """Names that the next pickle of a file would import. Nothing is built."""
    strings = ["", ""]
    for opcode, argument, _ in pickletools.genops(file):
        if opcode.name in ("GLOBAL", "INST"):
            yield _dotted(*str(argument).split(" ", 1))
        elif opcode.name == "STACK_GLOBAL":
            yield _dotted(*strings)
        elif opcode.name.startswith("EXT"):
            yield f"extension {argument}"
        elif isinstance(argument, str):
            strings = [strings[1], argument]


def _dotted(module: str, name: str) -> str:
    return f"{_MODULES.get(module, module)}.{name}"


def _legacy_globals(path: Path) -> set[str]:
    """Names that a file from before the zip format would import; those of its first part, where it must be refused."""
    found: set[str] = set()
    try:
        with path.open("rb") as file:
            for index in range(_LEGACY_PICKLES):
                start = file.tell()
                found.update(_globals(file))
                if found - _ALLOWED:
                    break
                if index == 0 and not _is_magic(file, start):
                    raise WeightsError(path, "is a pickle, but not of `torch.save`", _RESAVE)
    except (ValueError, EOFError, IndexError) as error:
        raise WeightsError(path, f"is damaged or not a file of `torch.save` ({error})", "fetch it again") from error
    return found


def _is_magic(file: BinaryIO, start: int) -> bool:
    """Whether the pickle that was just scanned is the number that `torch.save` begins with."""
    end = file.tell()
    file.seek(start)
    arguments = [argument for opcode, argument, _ in pickletools.genops(file) if opcode.name != "PROTO"]
    file.seek(end)
    return arguments[0] == _LEGACY_MAGIC


def _read_zip(path: Path) -> tuple[dict[int, int], set[str]]:
    """Of a zip file: the size of each record by where its bytes begin, and the names its pickle would import.

    Raises:
        WeightsError: it is cut short, compressed (it could unpack to any size), TorchScript, or big-endian.
    """
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as file:
            members = {member.filename.partition("/")[2]: member for member in archive.infolist()}
            _check_members(path, members)
            offsets = {name: _data_offset(file, member) for name, member in members.items()}
            if "byteorder" in members and _bytes(file, offsets["byteorder"], members["byteorder"]) != b"little":
                raise WeightsError(path, "was written on a big-endian machine", _RESAVE)
            pickled = _bytes(file, offsets["data.pkl"], members["data.pkl"])
            names = set(_globals(io.BytesIO(pickled)))
            return {offsets[name]: member.file_size for name, member in members.items()}, names
    except (zipfile.BadZipFile, EOFError, ValueError, IndexError, OSError) as error:
        raise WeightsError(path, f"is damaged or cut short ({error})", "fetch it again") from error


def _bytes(file: BinaryIO, offset: int, member: zipfile.ZipInfo) -> bytes:
    file.seek(offset)
    return file.read(member.file_size)


def _check_members(path: Path, members: Mapping[str, zipfile.ZipInfo]) -> None:
    if "constants.pkl" in members:
        raise WeightsError(path, "is a TorchScript program, which is code", "give its weights as safetensors")
    if "data.pkl" not in members:
        raise WeightsError(path, "is a zip file, but not of `torch.save`", "give a weight file")
    if any(member.compress_type != zipfile.ZIP_STORED for member in members.values()):
        raise WeightsError(path, "is compressed, which `torch.save` never does", _RESAVE)
    if sum(member.file_size for member in members.values()) > path.stat().st_size:
        raise WeightsError(path, "says that it holds more bytes than it has", "fetch it again")


def _data_offset(file: BinaryIO, member: zipfile.ZipInfo) -> int:
    """Where a record's bytes begin: behind a local header, whose name and padding have lengths of their own."""
    file.seek(member.header_offset + 26)
    name, extra = file.read(2), file.read(2)
    return member.header_offset + 30 + int.from_bytes(name, "little") + int.from_bytes(extra, "little")


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
        raise WeightsError(path, f"{name} is of type {tensor.dtype} and {tensor.layout}, which is not read", _RESAVE)
    if tensor.nbytes > path.stat().st_size:
        raise WeightsError(path, f"{name} says that it is larger than the file", _RESAVE)


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
