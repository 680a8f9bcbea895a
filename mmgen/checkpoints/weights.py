"""The tensors of a published model: names, shapes and types at once, numbers only when they are asked for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from mmgen.catalog import read_json
from mmgen.checkpoints.pickles import open_pickle
from mmgen.checkpoints.stored import Entry, Joined, Stored, contiguous_strides, listed, refuse_placeholder
from mmgen.errors import WeightsError

PICKLES = (".pt", ".pth", ".ckpt", ".bin", ".pkl")
"""Endings of weight files that are pickles."""

INDEX = ".index.json"
"""Ending of the file that says which shard holds which tensor."""

_SAFETENSORS_TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


class Weights(Mapping[str, Entry]):
    """Tensors by name, of one file or of several, none of them read yet.

    `weights[name]` knows its `shape` and `dtype`; `read` brings one tensor into memory, and needs little more
    memory than that tensor takes. Views under other names share the files.

    Args:
        path: what messages name: the file, the index, or the folder.
        entries: the tensors by name.
    """

    def __init__(self, path: Path, entries: Mapping[str, Entry]) -> None:
        self.path = path
        self._entries = dict(entries)

    @classmethod
    def open(cls, path: Path | str) -> Weights:
        """Opens published weights without reading them.

        Args:
            path: a file (`.safetensors`; `.pt`, `.pth`, `.ckpt` or `.bin`, see `open_pickle`), the index of a
                sharded one (`*.index.json`), or a folder that holds one of these; of safetensors and pickles
                the safetensors are taken.

        Raises:
            WeightsError: there are none or several, a shard is missing, or a file cannot be used.
        """
        path = Path(path)
        file = weight_file(path) if path.is_dir() else path
        if file.name.endswith(INDEX):
            return cls(file, _open_shards(file))
        return cls(file, _open_file(file))

    def __getitem__(self, name: str) -> Entry:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def read(self, name: str, dtype: torch.dtype | None = None) -> Tensor:
        """One tensor, in memory of its own.

        Args:
            name: one of the names.
            dtype: what a floating tensor is converted to, None for what it is published in. Integers and
                booleans stay what they are.

        Raises:
            KeyError: there is no such name.
            WeightsError: the file changed since it was opened.
        """
        entry = self[name]
        kept = dtype is None or not entry.dtype.is_floating_point
        tensor = torch.empty(entry.shape, dtype=entry.dtype if kept else dtype)
        entry.copy_to(tensor)
        return tensor

    def renamed(self, translate: Callable[[str], str | None]) -> Weights:
        """The same tensors under other names.

        Args:
            translate: maps a published name to ours, or to None to leave the tensor out.

        Raises:
            WeightsError: two tensors would have one name.
        """
        origins: dict[str, str] = {}
        for name in self:
            ours = translate(name)
            if ours is not None and origins.setdefault(ours, name) != name:
                raise WeightsError(self.path, f"{origins[ours]} and {name} are both {ours}", "use another checkpoint")
        return Weights(self.path, {ours: self[name] for ours, name in origins.items()})

    def arranged(self, arrangement: Mapping[str, Sequence[str]]) -> Weights:
        """Tensors made of those here, each joined along the first axis.

        Args:
            arrangement: names of the new tensors, and which ones each consists of, in order. Every tensor here
                is part of one; `renamed` leaves out what is not wanted.

        Raises:
            WeightsError: a tensor is missing, unexpected, or does not fit those it is joined with.
        """
        compare_names(self.path, {name for names in arrangement.values() for name in names}, set(self))
        return Weights(self.path, {ours: self._joined(ours, names) for ours, names in arrangement.items()})

    def _joined(self, ours: str, names: Sequence[str]) -> Entry:
        if len(names) == 1:
            return self[names[0]]
        shapes = [self[name].shape for name in names]
        if any(not shape or shape[1:] != shapes[0][1:] for shape in shapes):
            sizes = ", ".join(str(list(shape)) for shape in shapes)
            raise WeightsError(self.path, f"{ours} cannot be joined of shapes {sizes}", "use another checkpoint")
        return Joined(tuple(self[name] for name in names))


def compare_names(path: Path, expected: set[str], found: set[str]) -> None:
    """Refuses weights that lack a tensor or have one too many.

    Raises:
        WeightsError: names the first of each.
    """
    parts = [
        f"{len(names)} {what} keys ({', '.join(sorted(names)[:3])})"
        for what, names in (("missing", expected - found), ("unexpected", found - expected))
        if names
    ]
    if parts:
        raise WeightsError(path, " and ".join(parts), "use the config.json and weights of one model")


def file_beside(path: Path, stems: Sequence[str]) -> Path | None:
    """The first file of weights that is there under one of some names.

    Args:
        path: a folder, or a file in it.
        stems: names without their endings.
    """
    folder = path if path.is_dir() else path.parent
    files = (folder / f"{stem}{ending}" for stem in stems for ending in (".safetensors", *PICKLES))
    return next(filter(Path.is_file, files), None)


def weight_file(folder: Path) -> Path:
    """The one weight file of a folder, or the index of its shards; a pickle only where there are no safetensors.

    Raises:
        WeightsError: there are none or several.
    """
    for what, endings in (("safetensors", (".safetensors",)), ("pickle", PICKLES)):
        files = _whole_files(folder, endings)
        if len(files) == 1:
            return files[0]
        if files:
            cure = "leave the one that belongs to the model, or the index of its shards"
            raise WeightsError(folder, f"holds {len(files)} {what} files", cure)
    raise WeightsError(folder, "holds no safetensors file", "fetch the folder again or remake it with `mmgen train`")


def _whole_files(folder: Path, endings: tuple[str, ...]) -> list[Path]:
    """Indices and weight files of a folder, without the shards of an index."""
    indices = [path for ending in endings for path in sorted(folder.glob(f"*{ending}{INDEX}"))]
    shards = {shard for index in indices for shard in shards_of(index)}
    files = [path for path in sorted(folder.iterdir()) if path.suffix in endings and path.name not in shards]
    return indices + files


def _open_file(path: Path) -> dict[str, Entry]:
    refuse_placeholder(path)
    if path.suffix == ".safetensors":
        return _open_safetensors(path)
    if path.suffix in PICKLES:
        return open_pickle(path)
    kinds = ", ".join((".safetensors", *PICKLES, INDEX))
    raise WeightsError(path, "is not known to be a weight file", f"give a folder, or a file that ends in {kinds}")


def _weight_map(index: Path) -> dict[str, str]:
    """Which shard holds which tensor, as the index says."""
    shards = read_json(index).get("weight_map")
    if not isinstance(shards, dict) or not all(isinstance(shard, str) for shard in shards.values()):
        raise WeightsError(index, "has no weight_map of names and files", "fetch it again")
    return shards


def shards_of(index: Path) -> list[str]:
    """Names of the files, beside an index, that hold its tensors.

    Raises:
        WeightsError: it cannot be read, or names a file elsewhere or of another format.
    """
    files = sorted(set(_weight_map(index).values()))
    ending = Path(index.name.removesuffix(INDEX)).suffix
    for file in files:
        # Shards lie beside their index: a path would lead to where nothing must be read.
        if Path(file).name != file or Path(file).suffix != ending:
            raise WeightsError(index, f"names {file!r}, which is not a {ending} file beside it", "fetch it again")
    return files


def _open_shards(index: Path) -> dict[str, Entry]:
    files = shards_of(index)
    missing = [file for file in files if not (index.parent / file).is_file()]
    if missing:
        cure = f"fetch {listed(missing)} into the same folder"
        raise WeightsError(index, f"{len(missing)} of {len(files)} shards are missing", cure)
    opened = {file: _open_file(index.parent / file) for file in files}
    placed = _weight_map(index)
    absent = [name for name, file in placed.items() if name not in opened[file]]
    if absent:
        raise WeightsError(index, f"its shards lack {listed(absent)}", "fetch the shards of this index again")
    return {name: opened[file][name] for name, file in placed.items()}


def _open_safetensors(path: Path) -> dict[str, Entry]:
    """Where each tensor of a safetensors file lies."""
    try:
        # The format's own reader checks all of the header; the numbers it would map into memory.
        with safe_open(path, framework="pt"), path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size))
    except (SafetensorError, OSError, ValueError) as error:
        cure = "fetch the folder again or remake it with `mmgen train`"
        raise WeightsError(path, f"is damaged or not a safetensors file ({error})", cure) from error
    header.pop("__metadata__", None)
    return {name: _safetensor(path, 8 + size, name, about) for name, about in header.items()}


def _safetensor(path: Path, start: int, name: str, about: dict) -> Stored:
    """One tensor, from its part of the header: `dtype`, `shape`, and `data_offsets` behind the header."""
    dtype = _SAFETENSORS_TYPES.get(about["dtype"])
    if dtype is None:
        known = ", ".join(_SAFETENSORS_TYPES)
        raise WeightsError(path, f"{name} is of type {about['dtype']}", f"convert it to one of {known}")
    shape = tuple(about["shape"])
    return Stored(path, start + about["data_offsets"][0], shape, contiguous_strides(shape), dtype)
