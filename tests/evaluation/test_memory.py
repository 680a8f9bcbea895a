"""Peak memory is that of the tensors alive at once."""

import torch

from mmgen.evaluation.memory import peak_memory


def test_the_most_that_lives_at_once_is_counted():
    def work():
        first = torch.ones(1000)
        second = first + 1
        del first
        third = torch.cat((second, second))
        return third[:10]

    result, most = peak_memory(work)
    assert result.shape == (10,)
    assert most == 4 * (1000 + 2000)


def test_views_and_changes_in_place_cost_nothing():
    held = torch.ones(1000)
    assert peak_memory(lambda: held.view(10, 100).add_(1)[0])[1] == 0


def test_what_is_released_is_not_counted_again():
    def work():
        for _ in range(5):
            torch.ones(100)

    assert peak_memory(work)[1] == 400
