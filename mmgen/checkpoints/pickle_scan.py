"""What a pickle names and where its bytes lie, found without building anything: the first wall.

Every name a file would import is looked up here, and those that weights need are all that is allowed.
"""

from __future__ import annotations

import io
import pickletools
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import torch

from mmgen.checkpoints.stored import listed
from mmgen.errors import WeightsError

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

RESAVE = "open it where it was made and save its state dict alone, as safetensors"
"""What to do about a file that cannot be read safely."""

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PICKLES = 5
"""Magic number, protocol, the system's sizes, the object, and the keys of its storages."""


def scan(path: Path) -> dict[int, int] | None:
    """Refuses a file that `torch.save` did not write, or that would import what weights do not need.

    Returns:
        Of a zip file, which PyTorch has written since 1.6 (2020), the size of each record by where its bytes begin;
        None of an older file.

    Raises:
        OSError: there is no such file.
        WeightsError: as above; or it is damaged, or says that it holds more than it does.
    """
    with path.open("rb") as file:
        zipped = file.read(4) == b"PK\x03\x04"
    records, names = _read_zip(path) if zipped else (None, _legacy_globals(path))
    if refused := names - _ALLOWED:
        raise WeightsError(path, f"is a pickle that would run {listed(refused)}, which weights do not need", RESAVE)
    return records


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
                    raise WeightsError(path, "is a pickle, but not of `torch.save`", RESAVE)
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
                raise WeightsError(path, "was written on a big-endian machine", RESAVE)
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
        raise WeightsError(path, "is compressed, which `torch.save` never does", RESAVE)
    if sum(member.file_size for member in members.values()) > path.stat().st_size:
        raise WeightsError(path, "says that it holds more bytes than it has", "fetch it again")


def _data_offset(file: BinaryIO, member: zipfile.ZipInfo) -> int:
    """Where a record's bytes begin: behind a local header, whose name and padding have lengths of their own."""
    file.seek(member.header_offset + 26)
    name, extra = file.read(2), file.read(2)
    return member.header_offset + 30 + int.from_bytes(name, "little") + int.from_bytes(extra, "little")
