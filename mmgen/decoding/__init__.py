"""The decoding algorithms, one file each. A new file with a `Decoder` in it is found by itself."""

from mmgen.decoding.registry import Registry

REFERENCE = "autoregressive"
"""What the others are compared with."""

_registry = Registry(__name__, "mmgen.decoding.decoder:Decoder", "decoder", REFERENCE)
decoders, make = _registry.decoders, _registry.make
