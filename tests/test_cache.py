"""The cache: rows of different lengths, rewound by a number, and paths moved into line."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mmgen.cache import KVCache
from mmgen.layout import Tree

LAYERS, ROWS, HEADS, SIZE, CAPACITY = 2, 3, 2, 4, 80


def new_cache() -> KVCache:
    return KVCache(LAYERS, ROWS, CAPACITY, HEADS, SIZE)


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
        seen.append([[keys[row, 0, visible[row, q], 0].tolist() for q in range(marks.shape[1])] for row in range(ROWS)])
    return positions, seen


def marks(start: int, length: int) -> Tensor:
    """Different numbers for every row and token: row 1's are in the hundreds, and so on."""
    return start + torch.arange(length) + 100 * torch.arange(ROWS)[:, None]


def test_queries_see_themselves_and_all_before() -> None:
    positions, seen = write(new_cache(), marks(1, 4))
    assert positions.tolist() == [[0, 1, 2, 3]] * ROWS
    for layer in range(LAYERS):
        for row in range(ROWS):
            line = [float(1000 * layer + 100 * row + token) for token in range(1, 5)]
            assert seen[layer][row] == [line[: query + 1] for query in range(4)]


def test_rows_are_rewound_to_lengths_of_their_own() -> None:
    cache = new_cache()
    write(cache, marks(1, 6))
    cache.rewind(torch.tensor([2, 5, 0]))
    positions, seen = write(cache, marks(50, 2))
    assert positions.tolist() == [[2, 3], [5, 6], [0, 1]]
    assert cache.lengths.tolist() == [4, 7, 2]
    assert seen[0][0] == [[1, 2, 50], [1, 2, 50, 51]]
    assert seen[0][1] == [[101, 102, 103, 104, 105, 150], [101, 102, 103, 104, 105, 150, 151]]
    assert seen[1][2] == [[1250], [1250, 1251]]


def test_what_was_rewound_is_never_read() -> None:
    cache, fresh = new_cache(), new_cache()
    for store in (cache.keys, cache.values):
        store.fill_(777)
    cache.values.neg_()
    write(cache, marks(1, 40))
    cache.rewind(torch.tensor([3, 3, 3]))
    write(fresh, marks(1, 3))
    assert write(cache, marks(60, 5))[1] == write(fresh, marks(60, 5))[1]


def test_a_row_may_be_filled_to_its_capacity() -> None:
    cache = new_cache()
    for start in range(0, CAPACITY, 20):
        _, seen = write(cache, marks(start, 20))
    assert cache.capacity == CAPACITY and cache.rows == ROWS
    assert seen[0][0][-1] == [float(slot) for slot in range(CAPACITY)]


def test_nodes_of_a_tree_see_their_ancestors_only() -> None:
    cache, tree = new_cache(), Tree([-1, 0, 1, 0, 3])
    write(cache, marks(1, 3))
    cache.rewind(torch.tensor([1, 2, 3]))
    positions, seen = write(cache, marks(20, 5), tree)
    assert positions.tolist() == [[n, n + 1, n + 2, n + 1, n + 2] for n in (1, 2, 3)]
    assert seen[0][0] == [[1, 20], [1, 20, 21], [1, 20, 21, 22], [1, 20, 23], [1, 20, 23, 24]]
    assert seen[0][1][4] == [101, 102, 120, 123, 124]


def test_moving_puts_a_path_in_line() -> None:
    cache, tree = new_cache(), Tree([-1, 0, 1, 0, 3])
    write(cache, marks(1, 2))
    write(cache, marks(20, 5), tree)
    sources = torch.tensor([[5, 6], [3, 4], [5, 4]])
    cache.move(sources, torch.tensor([[3, 4]] * ROWS))
    cache.rewind(torch.tensor([5, 5, 5]))
    _, seen = write(cache, marks(70, 1))
    assert seen[0][0] == [[1, 2, 20, 23, 24, 70]]
    assert seen[1][1] == [[1101, 1102, 1120, 1121, 1122, 1170]]
    assert seen[0][2] == [[201, 202, 220, 223, 222, 270]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_values_are_kept_in_the_type_of_the_cache(dtype: torch.dtype) -> None:
    cache = KVCache(1, 1, 8, 1, 4, dtype=dtype)
    cache.open(1)
    keys, values = cache.write(0, torch.ones(1, 1, 1, 4), torch.ones(1, 1, 1, 4))
    assert keys.dtype == values.dtype == dtype
    assert cache.mask is not None
    assert bool((cache.mask[0, 0, 0] == 0)[0]) and not bool((cache.mask[0, 0, 0] == 0)[1:].any())
