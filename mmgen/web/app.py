"""The page: a prompt, the settings a pipeline and its decoders have, and pictures that appear as they are drawn."""

from __future__ import annotations

import html
import tempfile
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import gradio as gr

from mmgen.errors import MmgenError, OutputError
from mmgen.web import captions, results
from mmgen.web.controls import DecoderOptions, about_decoder, decoder_choices
from mmgen.web.studio import MAXIMUM_COUNT, Frame, Studio, save
from mmgen.web.theme import STYLE_PATH, theme

WAITING_REQUESTS = 32
"""Requests that may wait for the model; later ones are told that the queue is full."""
_GUIDANCE_SHOWN = 12
_TEMPERATURE_SHOWN = 2
_TITLE = (
    '<header><svg viewBox="0 0 4 4" aria-hidden="true"><path d="M0 0h4v2H0zM0 2h2v1H0z"/>'
    '<path class="draft" d="M2 2h2v1H2zM0 3h4v1H0z"/></svg><h1>mmgen</h1>'
    "<p>Pictures written token by token, many tokens at a time.</p></header>"
)


def build() -> gr.Blocks:
    """Makes the page.

    It has one public endpoint, `/generate`. Whatever draws shares one queue, one request at a time.

    Raises:
        MmgenError: no image pipeline is shipped, or it cannot be loaded.
    """
    studio = Studio()
    with gr.Blocks(title="mmgen", analytics_enabled=False, delete_cache=(3600, 3600)) as page:
        _Page(studio)
        gr.api(_endpoint(studio), api_name="generate", concurrency_limit=1, concurrency_id="model")
    page.queue(max_size=WAITING_REQUESTS)
    return page


def launch(host: str = "127.0.0.1", port: int = 7860, share: bool = False, block: bool = True) -> gr.Blocks:
    """Serves the page.

    Args:
        host: address to listen on; "0.0.0.0" lets other machines in.
        port: port to listen on; 0 takes a free one.
        share: whether to open a public link through Gradio's servers.
        block: whether to wait until the server is stopped; otherwise it goes on beside the caller, who closes it.

    Returns:
        The page; its `local_url` is where it is.

    Raises:
        OutputError: the address or port is not free.
        MmgenError: no image pipeline is shipped, or it cannot be loaded.
    """
    page = build()
    try:
        page.launch(
            server_name=host,
            server_port=port or None,
            share=share,
            prevent_thread_lock=not block,
            quiet=not block,
            theme=theme(),
            css_paths=STYLE_PATH,
            max_file_size="20mb",
            footer_links=["api", "settings"],
            run_history=False,
            ssr_mode=False,
        )
    except OSError as error:
        raise OutputError(f"{host}:{port}", f"cannot be listened on ({error})", "choose another port") from error
    return page


@dataclass
class _Visit:
    """What the events of one visitor share while they run.

    Stopping is a word to the drawing, which ends itself: it alone writes what the page shows, so no late
    frame can overwrite the last one.

    Attributes:
        requests: drawings asked for that have not ended, waiting ones included.
        stopped: whether they are to end.
    """

    requests: int = 0
    stopped: bool = False


class _Page:
    """The widgets and what joins them; made inside a `gr.Blocks`."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.pipe = studio.pipeline()
        self.last_seed = gr.State(None)
        self.visit = gr.State(_Visit())
        gr.HTML(_TITLE, elem_id="title")
        self._ask()
        with gr.Row(elem_id="desk"):
            with gr.Column(scale=5, min_width=300, elem_id="easel"):
                self.status = gr.HTML(elem_id="status")
                self.results = gr.HTML(results.EMPTY, elem_id="results", js_on_load=results.FULL_SIZE)
            with gr.Column(scale=3, min_width=280, elem_id="settings"):
                self._settings()
        with gr.Accordion("What can I write?", open=False, elem_id="grammar"):
            self.grammar = gr.HTML(captions.describe_grammar(self.pipe.text_encoder.grammar), elem_id="words")
        self._join()

    def _ask(self) -> None:
        choices = captions.examples(self.pipe.text_encoder.grammar)
        with gr.Row(elem_id="ask", equal_height=True):
            self.prompt = gr.Textbox(
                label="Prompt", placeholder=choices[0], lines=1, max_lines=1, autofocus=True, elem_id="prompt", scale=6
            )
            self.generate = gr.Button("Generate", variant="primary", elem_id="generate", scale=1, min_width=120)
            self.stop = gr.Button("Stop", elem_id="stop", scale=0, min_width=80)
        gr.Examples([[text] for text in choices], [self.prompt], label="Examples", elem_id="examples")

    def _settings(self) -> None:
        sampling, decoder = self.pipe.config.sampling, self.pipe.decoder
        names, choices = self.studio.names, decoder_choices(self.studio.family())
        self.pipeline = gr.Dropdown(names, value=names[0], label="Pipeline", elem_id="pipeline")
        self.decoder = gr.Dropdown(choices, value=decoder.name, label="Decoder", elem_id="decoder")
        self.about = gr.HTML(about_decoder(type(decoder)), elem_id="about-decoder")
        self.options = DecoderOptions(decoder, self.studio.families)
        with gr.Row(elem_id="seeds", equal_height=False):
            self.seed = gr.Number(
                label="Seed", value=1, precision=0, interactive=False, elem_id="seed", min_width=120, scale=2
            )
            with gr.Column(min_width=120, scale=2):
                self.random = gr.Checkbox(label="Random seed", value=True, elem_id="random-seed")
                self.reuse = gr.Button("Reuse last seed", size="sm", elem_id="reuse-seed")
        self.count = gr.Slider(1, MAXIMUM_COUNT, value=1, step=1, label="Pictures", buttons=[], elem_id="count")
        self.guidance = gr.Slider(
            0, _GUIDANCE_SHOWN, value=sampling["guidance"], step=0.1, label="Guidance", buttons=[],
            info="how closely a picture keeps to its prompt; 1 is without", elem_id="guidance",
        )  # fmt: skip
        self.temperature = gr.Slider(
            0, _TEMPERATURE_SHOWN, value=sampling["temperature"], step=0.05, label="Temperature", buttons=[],
            info="how freely codes are drawn; 0 takes the likeliest", elem_id="temperature",
        )  # fmt: skip

    def _join(self) -> None:
        private: dict[str, Any] = {"api_visibility": "private"}
        quick = private | {"queue": False, "show_progress": "hidden"}
        inputs = {self.prompt, self.pipeline, self.decoder, self.seed, self.random, self.count, self.guidance}
        gr.on([self.generate.click, self.prompt.submit], _ask, self.visit, **quick).then(
            self.draw,
            inputs | {self.visit, self.temperature} | self.options.inputs,
            [self.results, self.status, self.last_seed],
            concurrency_limit=1,
            concurrency_id="model",
            show_progress="minimal",
            show_progress_on=self.status,
            **private,
        )
        self.stop.click(_stop, self.visit, self.status, **quick)
        self.decoder.change(
            self.explain, [self.pipeline, self.decoder], [self.about, *self.options.groups.values()], **quick
        )
        self.random.change(lambda random: gr.update(interactive=not random), self.random, self.seed, **quick)
        self.reuse.click(_reuse, self.last_seed, [self.seed, self.random], **quick)
        self.pipeline.change(self.take, self.pipeline, self._taken(), concurrency_id="model", **private)

    def draw(self, values: dict[Any, Any]) -> Iterator[tuple]:
        """Draws what the widgets ask for, frame by frame: results, status and the first seed."""
        visit = values[self.visit]
        try:
            if visit.stopped:
                yield gr.skip(), results.message("Stopped before it began."), gr.skip()
                return
            with closing(self._frames(values)) as frames, tempfile.TemporaryDirectory(prefix="mmgen-") as folder:
                for frame in frames:
                    stopped = visit.stopped and not frame.finished
                    status = results.stopped(frame) if stopped else results.progress(frame)
                    files = save(frame, folder) if frame.finished else None
                    yield results.cards(frame, files), status, frame.statistics[0].seed
                    if stopped:
                        return
        except MmgenError as error:
            # The page reads an error as HTML, and this one quotes what a visitor wrote.
            raise _refusal(html.escape(str(error), quote=False)) from error
        finally:
            visit.requests -= 1

    def _frames(self, values: dict[Any, Any]) -> Generator[Frame]:
        name, decoder = values[self.pipeline], values[self.decoder]
        return self.studio.draw(
            values[self.prompt],
            pipeline=name,
            count=values[self.count],
            seed=None if values[self.random] else values[self.seed],
            decoder=decoder,
            decoder_options=self.options.read(self._decoder(name, decoder), values),
            guidance=values[self.guidance],
            temperature=values[self.temperature],
        )

    def _decoder(self, pipeline: str, name: str) -> Any:
        """A decoder's class; that of the pipeline's first one while the picker still shows another family's name."""
        decoders = self.studio.family(pipeline).decoders()
        return decoders.get(name, next(iter(decoders.values())))

    def explain(self, pipeline: str, name: str) -> list[Any]:
        """What the page says of a decoder, and its options alone."""
        decoder = self._decoder(pipeline, name)
        return [about_decoder(decoder), *self.options.show(decoder)]

    def _taken(self) -> list[Any]:
        widgets = [widget for group in self.options.widgets.values() for widget in group.values()]
        shown = [self.decoder, self.about, *self.options.groups.values()]
        return [*shown, self.guidance, self.temperature, self.grammar, *widgets]

    def take(self, name: str) -> list[Any]:
        """Loads another pipeline and sets the widgets to its own defaults."""
        pipe = self.studio.pipeline(name)
        sampling = pipe.config.sampling
        options: list[Any] = []
        for decoder, widgets in self.options.widgets.items():
            own = decoder is type(pipe.decoder)
            options += self.options.restore(pipe.decoder) if own else [gr.skip() for _ in widgets]
        words = captions.describe_grammar(pipe.text_encoder.grammar)
        picker = gr.update(choices=decoder_choices(self.studio.family(name)), value=pipe.decoder.name)
        shown = self.explain(name, pipe.decoder.name)
        return [picker, *shown, sampling["guidance"], sampling["temperature"], words, *options]


def _endpoint(studio: Studio) -> Any:
    def generate(
        prompt: str,
        seed: int | None = None,
        count: int = 1,
        decoder: str | None = None,
        options: dict | None = None,
        guidance: float | None = None,
        temperature: float | None = None,
        pipeline: str | None = None,
    ) -> Iterator[list[dict[str, Any]]]:
        """Draws pictures from a caption; what is left out is the pipeline's own default.

        The answer comes again and again while the pictures are drawn, the last one with the files.

        Parameters:
            prompt: a caption, such as "a cat on a blue background".
            seed: seed of the first picture; the next ones count up from it. Random where left out.
            count: pictures, 1 to 8.
            decoder: name of a decoder.
            options: options of the decoder, such as {"window": 16}.
            guidance: weight of the prompt, 0 to 50; 1 is without guidance.
            temperature: 0 to 10.
            pipeline: name of a shipped image pipeline.

        Returns:
            A list with one object for each picture: prompt, seed, pipeline, decoder, law, tokens, evaluations,
            tokens_per_evaluation, seconds, complete, options, sampling, revision, and `image`: a PNG file that
            carries them too, null while it is being drawn.
        """
        settings: dict[str, Any] = {"seed": seed, "decoder": decoder, "guidance": guidance, "temperature": temperature}
        try:
            frames = studio.draw(prompt, pipeline=pipeline, count=count, decoder_options=options, **settings)
            with tempfile.TemporaryDirectory(prefix="mmgen-") as folder:
                for frame in frames:
                    files = save(frame, folder) if frame.finished else [None] * len(frame.pictures)
                    yield [
                        {**row, "image": gr.FileData(path=str(file)).model_dump() if file else None}
                        for row, file in zip(frame.statistics, files, strict=True)
                    ]
        except MmgenError as error:
            raise _refusal(str(error)) from error

    return generate


def _refusal(words: str) -> gr.Error:
    return gr.Error(words, print_exception=False)


def _ask(visit: _Visit) -> None:
    visit.requests += 1
    visit.stopped = False


def _stop(visit: _Visit) -> Any:
    visit.stopped = True
    return gr.skip() if visit.requests else results.message("Nothing is being drawn.")


def _reuse(last_seed: int | None) -> tuple[Any, Any]:
    if last_seed is None:
        gr.Info("Nothing has been drawn yet, so there is no last seed.")
        return gr.skip(), gr.skip()
    return last_seed, False
