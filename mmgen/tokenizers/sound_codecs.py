"""Codecs of sound that were published, with the networks of transformers."""

from __future__ import annotations

from typing import Any

from diffusers.configuration_utils import register_to_config
from torch import Tensor
from torch.nn.functional import pad
from transformers import DacConfig, EncodecConfig, MimiConfig
from transformers.models.dac.modeling_dac import DacModel
from transformers.models.encodec.modeling_encodec import EncodecModel
from transformers.models.mimi.modeling_mimi import MimiModel

from mmgen.errors import OptionError
from mmgen.tokenizers.sound_codec import SoundCodec


class NetworkCodec(SoundCodec):
    """Base of the codecs whose networks are transformers'.

    Args:
        model: transformers' codec.
        hop: samples of a frame.
        own_channels: channels that `model` reads together.
        own_codebooks: codebooks that `model` has.
        channels: of the waveforms, the codec's own or twice as many.
        codebooks: how many of the codec's own codebooks are used for each side, the first ones; None for all.

    Raises:
        OptionError: no such number of channels or codebooks.
    """

    def __init__(
        self, model: Any, hop: int, own_channels: int, own_codebooks: int, channels: int, codebooks: int | None
    ) -> None:
        if channels not in (own_channels, 2 * own_channels):
            raise OptionError("channels", channels, f"{own_channels} or {2 * own_channels}")
        if codebooks is not None and not 1 <= codebooks <= own_codebooks:
            raise OptionError("codebooks", codebooks, f"a number from 1 to {own_codebooks}, those of the codec")
        config, used = model.config, codebooks or own_codebooks
        super().__init__(
            config.sampling_rate, hop, used, config.codebook_size, channels, sides=channels // own_channels
        )
        self.model = model


class EnCodec(NetworkCodec):
    """EnCodec (Défossez et al. 2022, arXiv 2210.13438), and the ones of MusicGen and AudioGen.

    The 48 kHz model, which codes a second at a time, each with a loudness beside its codes, is not supported.

    Args:
        codec: what `transformers.EncodecConfig` takes; what is left out has its defaults.
        channels: of the waveforms; twice the codec's own where it reads both sides apart.
        codebooks: how many are used for each channel, the first ones; None for all.

    Raises:
        OptionError: the 48 kHz model, or no such number of channels or codebooks.
    """

    @register_to_config
    def __init__(self, codec: dict[str, Any], channels: int = 1, codebooks: int | None = None) -> None:
        config = EncodecConfig.from_dict(codec)
        if config.normalize or config.chunk_length is not None:
            needed = "one without loudness and chunks, such as those of 24 and 32 kHz"
            raise OptionError("codec", f"an EnCodec of {config.sampling_rate} Hz with loudness or in chunks", needed)
        model = EncodecModel(config)
        super().__init__(model, config.hop_length, config.audio_channels, config.num_quantizers, channels, codebooks)

    def _encode(self, waveform: Tensor) -> Tensor:
        return self.model.quantizer.encode(self.model.encoder(waveform)).transpose(0, 1)

    def _decode(self, codes: Tensor) -> Tensor:
        return self.model.decoder(self.model.quantizer.decode(codes.transpose(0, 1)))

    def _code_vectors(self) -> list[Tensor | None]:
        return [layer.codebook.embed for layer in self.model.quantizer.layers]


class DAC(NetworkCodec):
    """The Descript audio codec (Kumar et al. 2023, arXiv 2306.06546).

    Where a stride is odd (the 16 and 24 kHz models), transformers' decoder ends a few samples before the last frame
    does; they are silent here.

    Args:
        codec: what `transformers.DacConfig` takes; what is left out has its defaults.
        channels: of the waveforms; 2 where both sides are read apart.
        codebooks: how many are used for each channel, the first ones; None for all.

    Raises:
        OptionError: no such number of channels or codebooks.
    """

    @register_to_config
    def __init__(self, codec: dict[str, Any], channels: int = 1, codebooks: int | None = None) -> None:
        config = DacConfig.from_dict(codec)
        super().__init__(DacModel(config), config.hop_length, 1, config.n_codebooks, channels, codebooks)

    def _encode(self, waveform: Tensor) -> Tensor:
        whole = pad(waveform, (0, -waveform.shape[-1] % self.hop))
        return self.model.encode(whole).audio_codes

    def _decode(self, codes: Tensor) -> Tensor:
        return self.model.decode(audio_codes=codes).audio_values[:, None]

    def _code_vectors(self) -> list[Tensor | None]:
        return [layer.codebook.weight @ layer.out_proj.weight[..., 0].T for layer in self.model.quantizer.quantizers]


class Mimi(NetworkCodec):
    """Mimi (Défossez et al. 2024, arXiv 2410.00037): a first codebook for meaning, and others for the rest of sound.

    Args:
        codec: what `transformers.MimiConfig` takes; what is left out has its defaults.
        channels: of the waveforms; twice the codec's own where it reads both sides apart.
        codebooks: how many are used for each channel, the first ones; None for all.

    Raises:
        OptionError: no such number of channels or codebooks.
    """

    @register_to_config
    def __init__(self, codec: dict[str, Any], channels: int = 1, codebooks: int | None = None) -> None:
        config = MimiConfig.from_dict(codec)
        hop = round(config.sampling_rate / config.frame_rate)
        super().__init__(MimiModel(config), hop, config.audio_channels, config.num_quantizers, channels, codebooks)

    def _encode(self, waveform: Tensor) -> Tensor:
        return self.model.encode(waveform).audio_codes

    def _decode(self, codes: Tensor) -> Tensor:
        return self.model.decode(codes).audio_values

    def _code_vectors(self) -> list[Tensor | None]:
        quantizer = self.model.quantizer
        acoustic = quantizer.acoustic_residual_vector_quantizer
        vectors = [layer.codebook.embed for layer in acoustic.layers]
        if acoustic.output_proj is not None:
            vectors = [own @ acoustic.output_proj.weight[..., 0].T for own in vectors]
        return [*[None] * quantizer.num_semantic_quantizers, *vectors]
