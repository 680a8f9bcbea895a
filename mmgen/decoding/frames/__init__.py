"""Decoders of families that write frame by frame. A new file with a `FrameDecoder` in it is found by itself."""

from mmgen.decoding.registry import Registry

REFERENCE = "masked-refinement"
"""What the others are compared with, as it is without options."""

_registry = Registry(__name__, "mmgen.decoding.frames.decoder:FrameDecoder", "decoder of frames", REFERENCE)
decoders, make = _registry.decoders, _registry.make
