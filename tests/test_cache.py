"""The cache: rows of different lengths, rewound by a number, paths moved into line, and values in fewer bits."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from mmgen.backbones.raster import RasterTransformer
from mmgen.cache import CACHE_BITS, KVCache
from mmgen.errors import OptionError
from mmgen.layout import Tree

LAYERS, ROWS, HEADS, SIZE, CAPACITY = 2, 3, 2, 4, 80


@pytest.fixture(params=CACHE_BITS, ids=lambda bits: f"{bits or 'all'} bits")
def bits(request: pytest.FixtureRequest) -> int | None:
    return request.param


def new_cache(bits: int | None) -> KVCache:
    return KVCache(LAYERS, ROWS, CAPACITY, HEADS, SIZE, bits=bits)


def write(cache: KVCache, marks: Tensor, tree: Tree | None = None) -> tuple[Tensor, list[list[list[list[float]]]]]:
    """Writes marks [R, L] into every layer: positions, and what may be read, by layer, row and query."""
    positions = cache.open(marks.shape[1], tree)
    seen = []
    for layer in range(LAYERS):
        new = (marks.float() + 1000 * layer)[..., None, None].expand(-1, -1, HEADS, SIZE)
        keys, values = cache.write(layer, new, -new)
        assert keys.shape == values.shape and keys.shape[:2] == (ROWS, HEADS)
        assert torch.equal(keys, -values)
        assert bool((keys == keys[:, :1, :, :1]).all())
        assert cache.mask is not None
        visible = (cache.mask == 0).expand(ROWS, 1, marks.shape[1], keys.shape[2])[:, 0]
        first = keys[:, 0, :, 0]
        assert torch.allclose(first, first.round(), rtol=1e-6, atol=0)
        first = first.round()
        seen.append([[first[row, visible[row, q]].tolist() for q in range(marks.shape[1])] for row in range(ROWS)])
    return positions, seen


def marks(start: int, length: int) -> Tensor:
    """Different numbers for every row and token: row 1's are in the hundreds, and so on."""
    return start + torch.arange(length) + 100 * torch.arange(ROWS)[:, None]


def test_queries_see_themselves_and_all_before(bits: int | None) -> None:
    positions, seen = write(new_cache(bits), marks(1, 4))
    assert positions.tolist() == [[0, 1, 2, 3]] * ROWS
    for layer in range(LAYERS):
        for row in range(ROWS):
            line = [float(1000 * layer + 100 * row + token) for token in range(1, 5)]
            assert seen[layer][row] == [line[: query + 1] for query in range(4)]


def test_rows_are_rewound_to_lengths_of_their_own(bits: int | None) -> None:
    cache = new_cache(bits)
    write(cache, marks(1, 6))
    cache.rewind(torch.tensor([2, 5, 0]))
    positions, seen = write(cache, marks(50, 2))
    assert positions.tolist() == [[2, 3], [5, 6], [0, 1]]
    assert cache.lengths.tolist() == [4, 7, 2]
    assert seen[0][0] == [[1, 2, 50], [1, 2, 50, 51]]
    assert seen[0][1] == [[101, 102, 103, 104, 105, 150], [101, 102, 103, 104, 105, 150, 151]]
    assert seen[1][2] == [[1250], [1250, 1251]]


def test_what_was_rewound_is_never_read(bits: int | None) -> None:
    cache, fresh = new_cache(bits), new_cache(bits)
    write(cache, torch.full((ROWS, CAPACITY), 777))
    cache.rewind(torch.zeros(ROWS, dtype=torch.long))
    write(cache, marks(1, 40))
    cache.rewind(torch.tensor([3, 3, 3]))
    write(fresh, marks(1, 3))
    assert write(cache, marks(60, 5))[1] == write(fresh, marks(60, 5))[1]


def test_a_row_may_be_filled_to_its_capacity(bits: int | None) -> None:
    cache = new_cache(bits)
    for start in range(0, CAPACITY, 20):
        _, seen = write(cache, marks(start, 20))
    assert cache.capacity == CAPACITY and cache.rows == ROWS
    assert seen[0][0][-1] == [float(slot) for slot in range(CAPACITY)]


def test_nodes_of_a_tree_see_their_ancestors_only(bits: int | None) -> None:
    cache, tree = new_cache(bits), Tree([-1, 0, 1, 0, 3])
    write(cache, marks(1, 3))
    cache.rewind(torch.tensor([1, 2, 3]))
    positions, seen = write(cache, marks(20, 5), tree)
    assert positions.tolist() == [[n, n + 1, n + 2, n + 1, n + 2] for n in (1, 2, 3)]
    assert seen[0][0] == [[1, 20], [1, 20, 21], [1, 20, 21, 22], [1, 20, 23], [1, 20, 23, 24]]
    assert seen[0][1][4] == [101, 102, 120, 123, 124]


def test_moving_puts_a_path_in_line(bits: int | None) -> None:
    cache, tree = new_cache(bits), Tree([-1, 0, 1, 0, 3])
    write(cache, marks(1, 2))
    write(cache, marks(20, 5), tree)
    sources = torch.tensor([[5, 6], [3, 4], [5, 4]])
    cache.move(sources, torch.tensor([[3, 4]] * ROWS))
    cache.rewind(torch.tensor([5, 5, 5]))
    _, seen = write(cache, marks(70, 1))
    assert seen[0][0] == [[1, 2, 20, 23, 24, 70]]
    assert seen[1][1] == [[1101, 1102, 1120, 1121, 1122, 1170]]
    assert seen[0][2] == [[201, 202, 220, 223, 222, 270]]


def test_rows_are_kept_and_reordered(bits: int | None) -> None:
    cache, rows = new_cache(bits), torch.tensor([2, 0])
    whole = random_vectors(12)
    fill(cache, whole[:, :9])
    cache.rewind(torch.tensor([9, 4, 6]))
    cache.select(rows)
    assert cache.rows == 2 and cache.lengths.tolist() == [6, 9]
    keys, values = fill(cache, whole[rows, 9:])
    alone, more = new_cache(bits), whole[:, 9:]
    fill(alone, whole[:, :6])
    expected, _ = fill(alone, more)
    assert torch.equal(keys[0, :, :9], expected[2, :, :9])
    assert torch.equal(values, -keys)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_values_are_read_in_the_type_of_the_cache(dtype: torch.dtype, bits: int | None) -> None:
    cache = KVCache(1, 1, 8, 1, 4, dtype=dtype, bits=bits)
    cache.open(1)
    keys, values = cache.write(0, torch.ones(1, 1, 1, 4), torch.ones(1, 1, 1, 4))
    assert keys.dtype == values.dtype == dtype
    assert cache.mask is not None and cache.mask.dtype == dtype
    assert bool((cache.mask[0, 0, 0] == 0)[0]) and not bool((cache.mask[0, 0, 0] == 0)[1:].any())


def random_vectors(length: int, size: int = SIZE, rows: int = ROWS) -> Tensor:
    """Keys [R, L, H, D] whose sizes differ a hundredfold between tokens and heads."""
    generator = torch.Generator().manual_seed(3)
    shape = (rows, length, HEADS, size)
    sizes = 10 ** (2 * torch.rand((*shape[:3], 1), generator=generator) - 1)
    return torch.randn(shape, generator=generator) * sizes


def fill(cache: KVCache, keys: Tensor, tree: Tree | None = None) -> tuple[Tensor, Tensor]:
    """Writes keys, and their negatives as values, into every layer; returns what the last may read."""
    cache.open(keys.shape[1], tree)
    for layer in range(LAYERS):
        read = cache.write(layer, keys, -keys)
        assert cache.mask is not None and cache.mask.shape[-1] == read[0].shape[2] == read[1].shape[2]
    return read[0].clone(), read[1].clone()


@pytest.mark.parametrize("dtype, rounding", [(torch.float32, 1e-6), (torch.bfloat16, 2**-7), (torch.float16, 2**-10)])
def test_no_value_in_8_bits_is_off_by_more_than_half_a_step(dtype: torch.dtype, rounding: float) -> None:
    cache, new = KVCache(LAYERS, ROWS, CAPACITY, HEADS, SIZE, dtype, bits=8), random_vectors(40).to(dtype)
    keys, values = fill(cache, new)
    new = new.float().transpose(1, 2)
    largest = new.abs().amax(-1, keepdim=True)
    assert bool(((keys[:, :, :40].float() - new).abs() <= largest * (1 / 254 + rounding)).all())
    assert not torch.equal(keys[:, :, :40].float(), new)
    assert torch.equal(values, -keys)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("share", [0, 0.1, 1, 100])
def test_the_smallest_vectors_are_off_by_half_the_smallest_step(dtype: torch.dtype, share: float) -> None:
    smallest = torch.finfo(dtype).tiny
    new = (share * smallest * torch.tensor([1, -1, 0.5, 0])).to(dtype)
    keys, values = fill(KVCache(LAYERS, 1, CAPACITY, 1, SIZE, dtype, bits=8), new.view(1, 1, 1, SIZE))
    for read, written in ((keys, new), (values, -new)):
        assert bool(((read[0, 0, 0].double() - written.double()).abs() <= 0.51 * smallest).all())


def test_attention_over_8_bits_stays_within_its_bound() -> None:
    rows, size, length = 2, 64, 60
    generator = torch.Generator().manual_seed(5)
    queries, keys, values = torch.randn(3, rows, length, HEADS, size, generator=generator)
    cache = KVCache(1, rows, CAPACITY, HEADS, size, bits=8)
    cache.open(length)
    mixed = scaled_dot_product_attention(queries.transpose(1, 2), *cache.write(0, keys, values), cache.mask)
    exact = scaled_dot_product_attention(*(x.transpose(1, 2) for x in (queries, keys, values)), is_causal=True)
    error = (mixed - exact).abs()
    # No score is off by more than `off`, so no weight by more than a factor e^(2 off), and weights sum to one.
    off = queries.abs().sum(-1).max() * keys.abs().max() / 254 / size**0.5
    assert error.max() <= values.abs().max() * (1 / 254 + torch.expm1(2 * off))
    assert error.norm() / exact.norm() < 0.01
    assert error.max() > 0


def test_a_token_is_kept_the_same_way_whatever_is_written_around_it(bits: int | None) -> None:
    new = random_vectors(20)
    whole, _ = fill(new_cache(bits), new)
    one_by_one, again, alone = new_cache(bits), new_cache(bits), KVCache(LAYERS, 1, CAPACITY, HEADS, SIZE, bits=bits)
    for token in new.split(1, dim=1):
        keys, _ = fill(one_by_one, token)
    assert torch.equal(keys[:, :, :20], whole[:, :, :20])
    fill(again, torch.cat((new[:, :8], 100 * new[:, 8:]), 1))
    again.rewind(torch.full((ROWS,), 8))
    assert torch.equal(fill(again, new[:, 8:])[0][:, :, :20], whole[:, :, :20])
    assert torch.equal(fill(alone, new[1:2])[0][0, :, :20], whole[1, :, :20])


def test_what_is_moved_reads_as_if_written_in_line(bits: int | None) -> None:
    new, straight, cache = random_vectors(7), new_cache(bits), new_cache(bits)
    fill(cache, new[:, :2])
    fill(cache, new[:, 2:], Tree([-1, 0, 1, 0, 3]))
    cache.move(torch.tensor([[5, 6]] * ROWS), torch.tensor([[3, 4]] * ROWS))
    cache.rewind(torch.full((ROWS,), 5))
    fill(straight, new[:, [0, 1, 2, 5, 6]])
    more = random_vectors(1)
    for moved, written in zip(fill(cache, more), fill(straight, more), strict=True):
        assert torch.equal(moved[:, :, :6], written[:, :, :6])


def test_8_bits_take_a_quarter_and_one_layer_beside() -> None:
    plain, small = (KVCache(16, 2, 64, 2, 64, bits=bits) for bits in (None, 8))
    values = 2 * 16 * 2 * 64 * 2 * 64
    assert plain.nbytes == 4 * values
    assert small.nbytes == values + 4 * values // 64 + 4 * values // 16
    for cache in (plain, small):
        before = cache.nbytes
        cache.select(torch.tensor([1]))
        assert cache.nbytes == before // 2


def test_16_bits_take_half_and_one_layer_beside() -> None:
    plain, small = (KVCache(16, 2, 64, 2, 64, bits=bits) for bits in (None, 16))
    assert small.nbytes == plain.nbytes / 2 + plain.nbytes / 16
    assert KVCache(16, 2, 64, 2, 64, torch.bfloat16, bits=16).nbytes == plain.nbytes / 2


def test_what_is_too_large_for_16_bits_is_the_largest_of_them() -> None:
    keys, _ = fill(KVCache(LAYERS, 1, CAPACITY, 1, SIZE, bits=16), torch.full((1, 1, 1, SIZE), 1e6))
    assert keys[0, 0, 0].tolist() == [65504.0] * SIZE


def test_other_types_and_bits_are_refused() -> None:
    with pytest.raises(OptionError, match="dtype"):
        KVCache(1, 1, 8, 1, 4, dtype=torch.int8)
    with pytest.raises(OptionError, match="bits=4: needed is one of None, 16, 8"):
        KVCache(1, 1, 8, 1, 4, bits=4)


@torch.no_grad()
def test_a_backbone_reads_8_bits(tiny_backbone: RasterTransformer) -> None:
    generator = torch.Generator().manual_seed(1)
    condition = torch.randn(2, 2, 32, generator=generator)
    tokens = torch.randint(0, 11, (2, 12), generator=generator)
    lines = {}
    for name, bits, lengths in (("exact", None, [12]), ("whole", 8, [12]), ("parts", 8, [1, 5, 2, 4])):
        cache = KVCache(2, 2, 20, 2, 16, bits=bits)
        tiny_backbone.prefill(condition, cache)
        parts = [tiny_backbone(part, cache) for part in tokens.split(lengths, dim=1)]
        lines[name] = torch.cat(parts, 1).softmax(-1)
    assert torch.allclose(lines["whole"], lines["parts"], atol=1e-4)
    drift = (lines["whole"] - lines["exact"]).abs().sum(-1) / 2
    assert 0 < drift.max() < 0.05
