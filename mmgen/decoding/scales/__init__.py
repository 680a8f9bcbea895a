"""Decoders of families that write scale by scale. A new file with a `ScaleDecoder` in it is found by itself."""

from mmgen.decoding.registry import Registry

REFERENCE = "scale-wise"
"""What the others are compared with, as it is without options."""

_registry = Registry(__name__, "mmgen.decoding.scales.decoder:ScaleDecoder", "decoder of scales", REFERENCE)
decoders, make = _registry.decoders, _registry.make
