"""Decoders of students, which learned to write in few evaluations. A new file with one in it is found by itself."""

from mmgen.decoding.registry import Registry

REFERENCE = "distilled"
"""What the others are compared with, as it is without options."""

_registry = Registry(__name__, "mmgen.decoding.scales.decoder:ScaleDecoder", "decoder of students", REFERENCE)
decoders, make = _registry.decoders, _registry.make
