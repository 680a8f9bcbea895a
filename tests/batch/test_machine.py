"""What a machine has room for."""

import pytest
import torch

from mmgen.batch.machine import devices_of


@pytest.mark.parametrize(
    "device, chosen, workers",
    [(None, "cpu", 0), (None, "cuda:0", 4), ("cuda", "cuda:2", 4), ("cuda:2", "cuda:2", 1), ("mps", "mps", 1)],
)
def test_each_gpu_has_room_for_one_worker(monkeypatch, device, chosen, workers):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert devices_of(device, chosen) == workers
