"""Decoders of families that fill codebooks in. A new file with a `SpanDecoder` in it is found by itself."""

from mmgen.decoding.registry import Registry

REFERENCE = "masked-spans"
"""What the others are compared with, as it is without options."""

_registry = Registry(__name__, "mmgen.decoding.spans.decoder:SpanDecoder", "decoder of spans", REFERENCE)
decoders, make = _registry.decoders, _registry.make
