"""The codec of sound: greedy residual codes of spectra, nothing before its time, and streams that equal one shot."""

import pytest
import torch

from mmgen.checkpoints.folder import load_model
from mmgen.errors import OptionError, SizeError
from mmgen.tokenizers.sound_vq import SoundVQ
from mmgen.training.folders import write_model

SMALL = {"hop": 32, "codebooks": 3, "codebook_size": 16, "code_size": 8}


@pytest.fixture(scope="module")
def codec():
    """A codec with random vectors."""
    generator = torch.Generator().manual_seed(0)
    codec = SoundVQ(**SMALL)
    codec.basis.data = torch.linalg.qr(torch.randn(65, 8, generator=generator)).Q.T.contiguous()
    codec.vectors.data.normal_(0, 3, generator=generator)
    codec.mean.data.fill_(2.0)
    return codec.eval()


@pytest.fixture(scope="module")
def codes():
    return torch.randint(16, (2, 3, 40), generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def sound():
    return 0.1 * torch.randn(2, 1, 32 * 40, generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module")
def exact():
    """A codec of one codebook that can hold any spectrum of a short recording, and a way to fill it."""
    codec = SoundVQ(hop=32, codebooks=1, codebook_size=64, code_size=65)
    codec.basis.data.copy_(torch.eye(65))
    return codec


def test_codes_are_of_the_shape_of_sound(codec, sound):
    codes = codec.encode(sound)
    assert codes.shape == (2, 3, 40) and codes.dtype == torch.int64
    assert codec.decode(codes).shape == sound.shape
    assert codec.encode(sound[..., :1000]).shape == (2, 3, 32)  # what does not fill a frame counts as one


@pytest.mark.parametrize("sizes", [[1] * 40, [7, 1, 20, 12], [39, 1], [40]])
def test_pieces_together_are_what_comes_of_all_codes_at_once(codec, codes, sizes):
    stream, parts = codec.streaming(), codes.split(sizes, dim=-1)
    pieces = [stream.push(part, last=part is parts[-1]) for part in parts]
    assert torch.equal(torch.cat(pieces, dim=-1), codec.decode(codes))
    assert sum(piece.shape[-1] for piece in pieces[:-1]) == max(sum(sizes[:-1]) - 2, 0) * 32


def test_sound_hangs_on_codes_up_to_two_frames_behind_it(codec, codes):
    whole = codec.decode(codes)
    for frame in (5, 17, 39):
        other = codes.clone()
        other[:, :, frame] = (other[:, :, frame] + 1) % 16
        differs = ((codec.decode(other) - whole).abs() > 1e-7).unflatten(-1, (40, 32)).any(-1).any(0)[0]
        assert not differs[: frame - 2].any() and differs[frame - 1 : frame + 2].all()


def test_codes_hang_on_samples_two_frames_before_and_one_behind(codec, sound):
    codes = codec.encode(sound)
    later = torch.nn.functional.pad(sound, (5 * 32, 0))
    assert torch.equal(codec.encode(later)[..., 5:], codes)
    assert torch.equal(codec.encode(sound[..., 7 * 32 : 20 * 32])[..., 2:-1], codes[..., 9:19])


def test_each_codebook_holds_the_vector_nearest_to_what_those_before_leave(codec, sound):
    rest = (codec.spectra(sound) - codec.mean) @ codec.basis.T
    codes = codec.quantise(codec.spectra(sound))
    for book, vectors in enumerate(codec.vectors):
        assert torch.equal(codes[..., book], torch.cdist(rest, vectors).argmin(-1))
        rest = rest - vectors[codes[..., book]]


@pytest.mark.parametrize("bin_of_tone", [10, 10.3, 20.5])
def test_a_tone_of_an_exact_spectrum_comes_back_as_a_tone(exact, bin_of_tone):
    time = torch.arange(32 * 40)
    tone = 0.1 * torch.sin(2 * torch.pi * bin_of_tone / 128 * time)[None, None]
    spectra = exact.spectra(tone)[0]
    exact.vectors.data[0, :40] = spectra
    heard = exact.decode(torch.arange(40)[None, None])[0, 0, 256:1024]
    window = torch.hann_window(768)
    power, wanted = (torch.fft.rfft(part * window).abs() for part in (heard, tone[0, 0, 256:1024]))
    assert power.argmax() == wanted.argmax()
    assert power.max().item() == pytest.approx(wanted.max().item(), rel=0.15)
    near = slice(int(power.argmax()) - 8, int(power.argmax()) + 9)
    assert power[near].square().sum() > 0.95 * power.square().sum()


def test_silence_is_silent(exact):
    exact.vectors.data[0, 0] = 0
    silence = torch.zeros(1, 1, 320)
    assert not exact.spectra(silence).any()
    assert not exact.decode(torch.zeros(1, 1, 10, dtype=torch.long)).any()


def test_a_recording_in_a_batch_is_what_it_is_alone(codec, codes):
    alone = torch.cat([codec.decode(own) for own in codes.split(1)])
    torch.testing.assert_close(codec.decode(codes), alone, rtol=0, atol=1e-6)


def test_what_is_written_comes_back(codec, codes, tmp_path):
    write_model(codec, tmp_path)
    assert torch.equal(load_model(SoundVQ, tmp_path).decode(codes), codec.decode(codes))


def test_what_does_not_fit_is_refused(codec, codes):
    with pytest.raises(SizeError, match="a waveform of shape"):
        codec.encode(torch.zeros(1, 2, 320))
    with pytest.raises(SizeError, match="codes of shape"):
        codec.decode(codes[:, :2])
    with pytest.raises(OptionError, match="out of range"):
        codec.decode(codes + 16)
    stream = codec.streaming()
    stream.push(codes[..., :3])
    with pytest.raises(SizeError, match=r"\[2, 3, frames\]"):
        stream.push(codes[:1, :, 3:])
    for wrong in (-1, 16):
        with pytest.raises(OptionError, match="0 to 15"):
            stream.push(torch.full((2, 3, 1), wrong))
