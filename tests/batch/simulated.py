"""A pipeline that draws at once and without torch: colours made of prompt, seed and settings. Some prompts do harm."""

import hashlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from PIL import Image

from mmgen.errors import OptionError, PromptError

SAMPLING = {"guidance": 2.0, "temperature": 1.0, "top_k": 0, "top_p": 1.0}


class Decoder:
    name = "simulated"

    def options(self):
        return {"window": 4}


class Pipe:
    """What a worker asks of a pipeline.

    Prompts: `refused` cannot be drawn, `poison` fails, `deadly` ends the process, `heavy N` needs to be among N or
    fewer, `second FILE` fails until the file is there, and makes it.
    """

    medium = "image"
    revision = "simulated000"
    decoder = Decoder()
    config = SimpleNamespace(sampling=SAMPLING)
    condition_defaults = {"style": ""}

    def __init__(self, seconds):
        self._seconds = seconds

    def plan(
        self, prompt, *, seed=None, decoder=None, decoder_options=None, num_images_per_prompt=1, height=None,
        width=None, known=None, generator=None, **settings,
    ):  # fmt: skip
        for text in prompt:
            if text == "refused":
                raise PromptError(text, "cannot be drawn", "write another")
        for name, value in settings.items():
            if name not in (*SAMPLING, "style"):
                raise OptionError(name, value, "another")
        if any(value > 2**63 - 1 for value in seed):
            raise OptionError("seed", max(seed), "less")
        return SimpleNamespace(layout=None)

    def size(self, layout):
        return (4, 4)

    def __call__(self, prompts, *, seed, **settings):
        self.plan(prompts, seed=seed, **settings)
        for prompt in map(str, prompts):
            harm(prompt, len(prompts))
        time.sleep(self._seconds * len(prompts))
        pairs = list(zip(prompts, seed, strict=True))
        images = [picture(prompt, one, settings) for prompt, one in pairs]
        return SimpleNamespace(images=images, statistics=[statistics(prompt, one, settings) for prompt, one in pairs])


def harm(prompt, together):
    word, _, rest = prompt.partition(" ")
    if word == "poison":
        raise ValueError("poisoned")
    if word == "deadly":
        os.kill(os.getpid(), signal.SIGKILL)
    if word == "heavy" and together > int(rest):
        raise RuntimeError("not enough memory: you tried to allocate too much")
    if word == "second" and not Path(rest).exists():
        Path(rest).touch()
        raise ValueError("not yet")


def picture(prompt, seed, settings):
    digest = hashlib.sha256(repr((prompt, seed, sorted(settings.items()))).encode()).digest()
    return Image.new("RGB", (4, 4), tuple(digest[:3]))


def statistics(prompt, seed, settings):
    return {
        "prompt": str(prompt), "seed": seed, "decoder": settings.get("decoder") or "simulated", "law": "exact",
        "options": settings.get("decoder_options") or {"window": 4},
        "sampling": SAMPLING | {name: value for name, value in settings.items() if name in SAMPLING},
        "conditions": {}, "size": (4, 4), "revision": Pipe.revision, "tokens": 16, "evaluations": 4,
        "draft_evaluations": 0, "tokens_per_evaluation": 4.0, "complete": True, "seconds": time.time() % 1,
    }  # fmt: skip


@dataclass(frozen=True)
class Simulation:
    """Makes the pipeline of a worker; `broken` cannot be loaded, `ends` ends the process that loads it."""

    seconds: float = 0.0
    broken: bool = False
    ends: bool = False

    def __call__(self, device):
        if self.ends:
            os._exit(3)
        if self.broken:
            raise OSError("no such weights")
        return Pipe(self.seconds)


@dataclass(frozen=True)
class Meeting(Simulation):
    """The same, but a worker waits until as many have come as should share the work, however slow the machine is."""

    folder: str = ""
    workers: int = 2

    def __call__(self, device):
        Path(self.folder, str(os.getpid())).touch()
        for _ in range(6000):
            if len(os.listdir(self.folder)) >= self.workers:
                break
            time.sleep(0.01)
        return super().__call__(device)


@dataclass(frozen=True)
class Loader:
    """In place of `mmgen.batch.worker.Loader`."""

    settings: object

    def __call__(self, device):
        os.chdir("/")  # workers of a cluster stand elsewhere than the command
        return Simulation()(device)
