"""Decoders of families that write plane by plane. A new file with a `PlaneDecoder` in it is found by itself."""

from mmgen.decoding.registry import Registry

REFERENCE = "plane-wise"
"""What the others are compared with."""

_registry = Registry(__name__, "mmgen.decoding.planes.decoder:PlaneDecoder", "decoder of planes", REFERENCE)
decoders, make = _registry.decoders, _registry.make
