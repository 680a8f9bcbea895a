"""What is raced: a loop and a job that draw the same pictures."""

import simulated
from PIL import Image
from simulated import Pipe

from mmgen.batch import benchmark
from mmgen.batch.benchmark import Contest
from mmgen.batch.foreman import Rules


class OneByOne:
    """The simulated pipeline as a loop calls it."""

    device = "cpu"

    def __call__(self, prompt, *, seed):
        return Pipe(0)([prompt], seed=[seed])


def test_loop_and_job_draw_the_same_pictures(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "Loader", simulated.Loader)
    prompts = [f"prompt {number}" for number in range(12)]
    contest = Contest("simulated", OneByOne(), prompts, list(range(5, 17)), Rules(workers=2, batch=4), tmp_path)
    contest.loop()
    assert contest.job() > 0
    assert contest.different() == 0 and len(list(tmp_path.iterdir())) == 24
    Image.new("RGB", (4, 4)).save(tmp_path / "3.png")
    assert contest.different() == 1
