"""Images per hour of a batch job, against calling the pipeline in a loop: `python -m mmgen.batch.benchmark --help`.

Both draw the same captions from the same seeds into files, and take turns. The loop is `pipe(prompt, seed=seed)` and
`.save(path)`, one after the other, with all cores. The job is what `mmgen batch` does when nothing is said; its clock
runs from when the first worker is loaded, as the loop's does, to the last item: what is measured to choose the batch,
and the start of the other workers, count. Finally the pictures of both are compared pixel by pixel.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from mmgen.batch import rows
from mmgen.batch.crew import LocalCrew, Recruit
from mmgen.batch.foreman import Rules
from mmgen.batch.job import Settings
from mmgen.batch.manifest import DONE, Ledger
from mmgen.batch.progress import Progress
from mmgen.batch.run import Extras, run
from mmgen.batch.worker import Loader
from mmgen.cli import loading
from mmgen.errors import OptionError
from mmgen.evaluation.judges import judge_of
from mmgen.evaluation.race import Spread, race, ratio


@dataclass(frozen=True)
class Comparison:
    """How fast a job is beside a loop.

    Attributes:
        items: drawn by each, each time.
        loop: images per hour of the loop.
        job: of the job, while it works.
        ratio: of the two in the same round; above 1 the job is faster.
        whole: images per hour of the job with all it does before and after: loading, checking, merging.
        different: pictures of the last round that are not alike in every pixel.
    """

    items: int
    loop: Spread
    job: Spread
    ratio: Spread
    whole: Spread
    different: int


@dataclass(frozen=True)
class Contest:
    """The same pictures by a loop and by a job.

    Attributes:
        pipeline: its name.
        pipe: the same, loaded.
        prompts: of the pictures.
        seeds: likewise.
        rules: of the job.
        place: a folder for the files.
    """

    pipeline: str
    pipe: Any
    prompts: Sequence[str]
    seeds: Sequence[int]
    rules: Rules
    place: Path

    def loop(self) -> None:
        """Calls the pipeline once for each picture."""
        for number, (prompt, seed) in enumerate(zip(self.prompts, self.seeds, strict=True)):
            self.pipe(prompt, seed=seed).images[0].save(self.place / f"{number}.png")

    def job(self) -> float:
        """Runs a job in an empty folder; returns the seconds it worked."""
        settings = Settings(self.pipeline, device=str(self.pipe.device), metadata=False)
        recruit = Recruit(settings, Loader(settings))
        with tempfile.TemporaryDirectory(dir=self.place) as folder:
            source, out = Path(folder) / "requests.jsonl", Path(folder) / "out"
            pairs = zip(self.prompts, self.seeds, strict=True)
            source.write_text("".join(json.dumps({"prompt": prompt, "seed": seed}) + "\n" for prompt, seed in pairs))
            with rows.opened(str(source)) as opened:
                summary = run(opened, settings, out, self.rules, Progress(), lambda: LocalCrew(recruit), Extras())
            for record in Ledger(out).records(DONE):
                (out / record["file"]).replace(self._drawn(record["item"]))
        return summary.seconds

    def different(self) -> int:
        """How many pictures of the loop are not those of the job."""
        numbers = range(len(self.prompts))
        pairs = ((self.place / f"{number}.png", self._drawn(number)) for number in numbers)
        read = ((np.asarray(Image.open(one)), np.asarray(Image.open(other))) for one, other in pairs)
        return sum(not np.array_equal(one, other) for one, other in read)

    def _drawn(self, number: int) -> Path:
        return self.place / f"{number}-by-job.png"


def compare(pipeline: str, items: int, repeats: int, rules: Rules, device: str = "cpu", log: Any = print) -> Comparison:
    """Runs the contest of a pipeline of scenes.

    Args:
        items: pictures; captions kept out of training.
        repeats: rounds that count, behind one that does not.
        rules: how the job is worked off.
        log: told of each round.

    Raises:
        OptionError: a number below 1, or a pipeline that does not draw pictures of scenes.
    """
    if items < 1:
        raise OptionError("items", items, "1 or more")
    pipe = loading.load(pipeline, device=device)
    pipe.set_progress_bar_config(disable=True)
    judge = judge_of(pipe)
    if pipe.medium != "image":
        raise OptionError("pipeline", pipeline, "one that draws pictures")
    prompts = judge.captions(judge.scenes(items, 0))
    with tempfile.TemporaryDirectory(prefix="mmgen-") as place:
        contest = Contest(pipeline, pipe, prompts, list(range(items)), rules, Path(place))
        worked: list[float] = []
        runs = {"job": lambda: worked.append(contest.job()), "loop": contest.loop}
        seconds = race(runs, repeats, torch.device(device), log)
        different = contest.different()
    hours = seconds | {"working": worked[1:]}
    rates = {name: Spread.of([3600 * items / taken for taken in values]) for name, values in hours.items()}
    quotient = ratio(hours, "loop", "working")
    return Comparison(items, rates["loop"], rates["working"], quotient, rates["job"], different)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pipeline", default="emoji-64")
    parser.add_argument("--items", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args(arguments)
    rules = Rules(given.workers, given.batch_size)
    found = compare(given.pipeline, given.items, given.repeats, rules, given.device)
    print(f"images per hour, median and quartiles of {given.repeats} rounds of {found.items}:")
    for name, value in (("loop", found.loop), ("job", found.job), ("job, loading included", found.whole)):
        print(f"{name:24}{value.median:.0f} ({value.low:.0f}-{value.high:.0f})")
    print(f"{'job over loop':24}{found.ratio}")
    print(f"{'different pictures':24}{found.different}")


if __name__ == "__main__":
    main()
