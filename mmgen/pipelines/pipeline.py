"""What all pipelines share: their components, in folders and out of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers import DiffusionPipeline, ModelMixin

from mmgen import catalog, decoding
from mmgen.cache import CACHE_BITS
from mmgen.checkpoints.folder import load_model
from mmgen.checkpoints.text_encoders import load_t5
from mmgen.decoding.decoder import Decoder
from mmgen.errors import OptionError, UnknownNameError, WeightsError
from mmgen.quantisation import is_quantised, plain_tensors, quantise

_DIGESTED_WHOLE = 2**22
"""Tensors of up to so many elements enter the revision whole; gigabytes would take longer than a picture."""


class Pipeline(DiffusionPipeline):
    """Base of the pipelines.

    Folders have diffusers' layout. Components are of fixed classes, given by `component_types`; a
    folder never decides what is imported.
    """

    component_types: ClassVar[dict[str, type]]
    medium: ClassVar[str]
    family: ClassVar[str]
    algorithms: ClassVar[Any] = decoding
    """The package of the decoders that suit the family: it has `decoders` and `make`."""
    decoder_type: ClassVar[Any] = Decoder
    """What they have in common."""
    backbones: ClassVar[tuple[str, ...]]
    """Components whose linear layers `quantise` keeps in fewer bits."""
    _revision: tuple[tuple, str] | None = None
    _cache_bits: int | None = None

    @classmethod
    def from_pretrained(cls, path: str | Path, dtype: torch.dtype | None = None, **components: Any) -> Pipeline:
        """Loads a pipeline from a shipped name or a local folder.

        Args:
            path: a name that `mmgen list` shows, or a folder with a `model_index.json`.
            dtype: type of the weights; None keeps float32.
            components: components to use instead of the folder's.

        Raises:
            UnknownNameError: there is no such pipeline, or one of another class.
            WeightsError: the folder is incomplete or damaged.
        """
        folder = catalog.find(str(path))
        index = catalog.read_json(folder / "model_index.json")
        if index.get("_class_name") != cls.__name__:
            raise UnknownNameError("pipeline class", index.get("_class_name"), [cls.__name__])
        cls._check_components(components)
        shared = catalog.describe(folder)["shared"]
        for name, kind in cls.component_types.items():
            place = _component_folder(folder, name, shared)
            if name not in components and (name not in cls._optional_components or place.is_dir()):
                components[name] = _load_component(kind, place, dtype)
        if "decoder" not in components:
            components["decoder"] = cls.load_decoder(folder / "decoder")
        sampling = index.get("sampling") or {}
        try:
            pipe = cls(**components, sampling=sampling)
        except TypeError as error:
            cure = "give a complete model folder"
            raise WeightsError(folder / "model_index.json", f"has a sampling of {sampling!r}", cure) from error
        pipe.register_to_config(_name_or_path=folder.name)
        return pipe

    @classmethod
    def _check_components(cls, given: Mapping[str, Any]) -> None:
        kinds = cls.component_types | {"decoder": cls.decoder_type}
        for name, value in given.items():
            if name not in kinds:
                raise OptionError(name, value, f"one of {', '.join(kinds)}: a folder of ours says everything else")
            if value is not None and not isinstance(value, kinds[name]):
                raise OptionError(name, value, f"a {kinds[name].__name__} in place of the folder's")

    def quantise(self, bits: int = 8) -> Pipeline:
        """Keeps the weights of the backbones' linear layers in 8 bits; see `mmgen.quantisation.quantise`.

        Returns:
            The pipeline itself.

        Raises:
            OptionError: other bits.
            MissingDependencyError: torchao is not installed.
        """
        for name in self.backbones:
            if getattr(self, name) is not None:
                quantise(getattr(self, name), bits)
        return self

    @property
    def cache_bits(self) -> int | None:
        """Bits of each key and value in the cache: 16, 8, or None for the weights' own type. Set it by assignment.

        Raises:
            OptionError: other bits.
        """
        return self._cache_bits

    @cache_bits.setter
    def cache_bits(self, bits: int | None) -> None:
        if bits not in CACHE_BITS:
            raise OptionError("cache_bits", bits, f"one of {', '.join(map(str, CACHE_BITS))}")
        self._cache_bits = bits

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> None:
        """Writes a complete folder: every component, the index, the medium and the family.

        Raises:
            OptionError: weights are kept in 8 bits, which these folders do not hold.
        """
        for name in self.backbones:
            if getattr(self, name) is not None and is_quantised(getattr(self, name)):
                raise OptionError(name, "weights in 8 bits", "the weights as they were: load it again to save it")
        super().save_pretrained(save_directory, **options)
        folder = Path(save_directory)
        about = catalog.json.dumps({"medium": self.medium, "family": self.family}, indent=2)
        (folder / catalog.DESCRIPTION).write_text(about + "\n", encoding="utf-8")
        for path in folder.rglob("*.safetensors"):
            path.chmod(0o644)  # safetensors keeps files to their owner, which breaks shared folders

    @property
    def revision(self) -> str:
        """Twelve hexadecimal digits of a hash over all weights; of large tensors a part is hashed, spread evenly."""
        state = {
            f"{name}.{key}": tensor
            for name in self.component_types
            if isinstance(getattr(self, name), torch.nn.Module)
            for key, tensor in plain_tensors(dict(sorted(getattr(self, name).state_dict().items())))
        }
        versions = tuple((tensor.data_ptr(), tensor._version) for tensor in state.values())
        if self._revision is None or self._revision[0] != versions:
            digest = hashlib.sha256()
            for key, tensor in state.items():
                digest.update(key.encode())
                digest.update(_digested(tensor).cpu().contiguous().view(torch.uint8).numpy().tobytes())
            self._revision = (versions, digest.hexdigest()[:12])
        return self._revision[1]

    def choose_decoder(self, decoder: str | Decoder | None, options: dict[str, Any] | None) -> Decoder:
        """The decoder of a call: by name with options, an object, or the pipeline's own."""
        if decoder is None and not options:
            return self.decoder
        if decoder is None:
            return self.algorithms.make(self.decoder.name, **(self.decoder.options() | (options or {})))
        if not isinstance(decoder, str | self.decoder_type):
            names = ", ".join(self.algorithms.decoders())
            raise OptionError("decoder", decoder, f"a decoder or its name: {names}")
        return self.algorithms.make(decoder, **(options or {}))

    @classmethod
    def load_decoder(cls, folder: Path) -> Decoder:
        """The decoder that a folder of ours holds, with its options.

        Raises:
            UnknownNameError: it is of no class that suits the pipeline.
            OptionError: an option is out of range.
            WeightsError: its file cannot be read.
        """
        config = catalog.read_json(folder / Decoder.config_name)
        kinds = {kind.__name__: kind for kind in cls.algorithms.decoders().values()}
        kind = kinds.get(config.get("_class_name", ""))
        if kind is None:
            raise UnknownNameError("decoder class", config.get("_class_name"), kinds)
        options = {key: value for key, value in config.items() if not key.startswith("_")}
        return cls.algorithms.make(kind.name, **options)


def _component_folder(folder: Path, name: str, shared: dict[str, str]) -> Path:
    if name not in shared:
        return folder / name
    shipped = catalog.tokenizers()
    if shared[name] not in shipped:
        raise WeightsError(folder, f"shares the tokenizer {shared[name]!r}, which is not shipped", "reinstall mmgen")
    return shipped[shared[name]]


def _load_component(kind: type, place: Path, dtype: torch.dtype | None) -> Any:
    """A model or a text tokenizer from its folder; nothing is fetched, and no code of the folder's is run."""
    if issubclass(kind, ModelMixin):
        return load_model(kind, place, dtype)
    if issubclass(kind, torch.nn.Module):
        return load_t5(place, dtype)
    try:
        return kind.from_pretrained(place, local_files_only=True)  # type: ignore[attr-defined]
    except Exception as error:  # its libraries raise of all kinds
        raise WeightsError(place, f"does not hold a {kind.__name__} ({error})", "give a complete folder") from error


def _digested(tensor: torch.Tensor) -> torch.Tensor:
    """What the revision sees of a tensor."""
    tensor = tensor.detach().flatten()
    if tensor.numel() <= _DIGESTED_WHOLE:
        return tensor
    return tensor[:: tensor.numel() // _DIGESTED_WHOLE * 64]
