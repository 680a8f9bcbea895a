"""The command line, as a person uses and misuses it."""

import io
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import types

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from mmgen import __version__, catalog, decoding, media
from mmgen.backbones.raster import RasterTransformer
from mmgen.cli import main
from mmgen.decoding.options import parts
from mmgen.pipelines.text_to_image import TextToImagePipeline
from mmgen.scenes.encoder import SceneEncoder
from mmgen.scenes.grammar import Grammar
from mmgen.tokenizers.patch_vq import PatchVQ

PROMPT = "a red apple to the left of a cat on a blue background"
OBJECTS = ("cat", "dog", "red apple", "rocket", "sunflower", "star")
DRAW_MANY = [
    sys.executable,
    "-m",
    "mmgen",
    *["generate", "cat", "--seed", "1", "--count", "200", "--batch", "1", "--json"],
]
FIELDS = {
    "path", "prompt", "seed", "pipeline", "decoder", "law", "tokens", "evaluations", "seconds",
    "tokens_per_evaluation", "options", "sampling", "revision", "complete",
}  # fmt: skip


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A random pipeline of 16 tokens a picture, as a folder."""
    torch.manual_seed(0)
    tokenizer = PatchVQ(codebook_size=24, patch_size=4, image_size=16, size=16, layers=1, heads=2, hidden_size=16)
    tokenizer.codebook.data.uniform_(-1, 1)
    encoder = SceneEncoder(OBJECTS, size=16)
    transformer = RasterTransformer(24, 4, 4, encoder.length, size=16, layers=1, heads=2, hidden_size=16)
    torch.nn.init.normal_(transformer.head.weight)
    pipe = TextToImagePipeline(tokenizer, encoder, transformer, decoding.make("jacobi", window=5), {"guidance": 1.5})
    folder = tmp_path_factory.mktemp("models") / "tiny"
    pipe.save_pretrained(folder)
    return folder


@pytest.fixture
def run(tiny, tmp_path, monkeypatch, capsys):
    """Runs `mmgen` in an empty folder; `generate` draws with the tiny pipeline. Returns code, stdout, stderr."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(catalog, "default_pipeline", lambda: str(tiny))

    def call(*words):
        capsys.readouterr()
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def written(folder="."):
    return sorted(os.path.join(base, name) for base, _, names in os.walk(folder) for name in names)


def pixels(path):
    with Image.open(path) as image:
        return image.tobytes()


def assert_refused(result, code, *words):
    """One line on standard error that holds the words, nothing on standard output, nothing written."""
    assert result[0] == code
    assert result[1] == ""
    assert result[2].startswith("mmgen: error: ") and result[2].count("\n") == 1
    assert "Traceback" not in result[2]
    for word in words:
        assert str(word) in result[2], result[2]
    assert os.listdir() == []


def test_version(run):
    assert run("--version") == (0, f"mmgen {__version__}\n", "")


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_help_names_every_command(run, words):
    code, out, _ = run(*words)
    assert code == 0
    words = "generate show list decoders doctor demo train bench evaluate app batch"
    for command in words.split():
        assert command in out


@pytest.mark.parametrize("command, extras", [("generate", 1), ("batch", 3), ("app", 1)])
def test_help_says_which_extras_are_needed(run, command, extras):
    assert run(command, "--help")[1].count("mmgen[") == extras


# Drawing


def test_generate_writes_pictures_that_say_what_made_them(run, tiny):
    code, out, err = run(
        "generate", PROMPT, "--seed", 7, "--decoder", "coupled-jacobi", "--count", 4, "--out", "out/new"
    )
    assert (code, err) == (0, "")
    slug = "a-red-apple-to-the-left-of-a-cat-on-a-blue-background"
    assert written() == sorted(f"./out/new/{slug}-{seed}.png" for seed in (7, 8, 9, 10))
    assert out.count("\n") == 4 and "coupled-jacobi" in out
    about = media.read_metadata(f"out/new/{slug}-9.png")
    assert (about["prompt"], about["seed"], about["decoder"]) == (PROMPT, 9, "coupled-jacobi")
    assert about["options"] == decoding.make("coupled-jacobi").options()
    assert about["sampling"] == {"guidance": 1.5, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
    assert about["pipeline"] == str(tiny) and about["mmgen"] == __version__ and len(about["revision"]) == 12
    assert len({pixels(path) for path in written()}) == 4


def test_json_is_one_object_a_picture(run, tiny):
    code, out, err = run("generate", "a cat", "--seed", 3, "--count", 3, "--batch", 2, "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert (code, err, len(rows)) == (0, "", 3)
    for seed, row in zip((3, 4, 5), rows, strict=True):
        assert row.keys() >= FIELDS
        assert (row["prompt"], row["seed"], row["pipeline"], row["law"]) == ("a cat", seed, str(tiny), "exact")
        assert row["tokens"] == 16 and 1 <= row["evaluations"] <= 16 and row["complete"] is True
        assert row["tokens_per_evaluation"] == row["tokens"] / row["evaluations"]
        assert row["options"]["window"] == 5 and row["seconds"] > 0
        assert os.path.samefile(row["path"], f"a-cat-{seed}.png")


def test_pictures_do_not_depend_on_the_batch(run):
    run("generate", "a cat", "--seed", 3, "--count", 5, "--batch", 5, "--out", "five")
    run("generate", "a cat", "--seed", 3, "--count", 5, "--batch", 1, "--out", "one")
    assert [pixels(path) for path in written("five")] == [pixels(path) for path in written("one")]
    assert len(written("five")) == 5


def test_without_a_seed_a_random_one_is_reported(run):
    _, out, err = run("generate", "a cat", "--json")
    seed = json.loads(out)["seed"]
    assert err == f"seed {seed}, chosen at random\n"
    assert written() == [f"./a-cat-{seed}.png"]
    assert json.loads(run("generate", "a cat", "--json")[1])["seed"] != seed


def test_options_reach_the_decoder_in_their_types(run):
    words = ["--option", "window=3", "--option", "adaptive=true", "--option", "drafter=random"]
    expected = {"window": 3, "adaptive": True, "drafter": "random"}
    for decoder, others in ((["--decoder", "speculative-jacobi"], {"acceptance": "rejection"}), ([], {})):
        row = json.loads(run("generate", "a cat", "--seed", 1, *decoder, *words, "--json")[1])
        assert row["options"] == expected | others
    assert row["decoder"] == "jacobi", "without --decoder the options are those of the pipeline's own"


def test_sampling_reaches_the_pipeline(run):
    words = ("--guidance", 2, "--temperature", 0.5, "--top-k", 7, "--top-p", 0.9)
    row = json.loads(run("generate", "a cat", "--seed", 1, *words, "--height", 16, "--width", 16, "--json")[1])
    assert row["sampling"] == {"guidance": 2, "temperature": 0.5, "top_k": 7, "top_p": 0.9}


def test_no_metadata_leaves_it_out_and_the_pixels_alone(run):
    run("generate", "a cat", "--seed", 1, "--out", "with")
    run("generate", "a cat", "--seed", 1, "--out", "without", "--no-metadata")
    assert pixels("with/a-cat-1.png") == pixels("without/a-cat-1.png")
    code, out, err = run("show", "without/a-cat-1.png")
    assert (code, out) == (1, "") and "carries no metadata" in err


def test_a_file_of_prompts_gives_a_file_a_line(run):
    with open("prompts.txt", "w", encoding="utf-8-sig", newline="") as file:
        file.write("a cat\r\n\r\n  two dogs on a red background \r\na cat")
    code, out, _ = run(
        "generate", "--prompts", "prompts.txt", "--seed", 5, "--count", 2, "--batch", 3, "--out", "o", "--json"
    )
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [(row["prompt"], row["seed"]) for row in rows] == [
        (prompt, seed) for prompt in ("a cat", "two dogs on a red background", "a cat") for seed in (5, 6)
    ]
    assert [os.path.basename(row["path"]) for row in rows] == [
        "0001-a-cat-5.png", "0001-a-cat-6.png", "0003-two-dogs-on-a-red-background-5.png",
        "0003-two-dogs-on-a-red-background-6.png", "0004-a-cat-5.png", "0004-a-cat-6.png",
    ]  # fmt: skip


def test_prompts_come_from_standard_input(run, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a cat\n\na dog\n")))
    assert run("generate", "--prompts", "-", "--seed", 1)[0] == 0
    assert written() == ["./0001-a-cat-1.png", "./0003-a-dog-1.png"]


# Showing and making again


@pytest.mark.parametrize("decoder", sorted(decoding.decoders()))
def test_the_shown_command_makes_the_same_pixels(run, decoder):
    assert (
        run("generate", PROMPT, "--seed", 7, "--decoder", decoder, "--count", 3, "--temperature", 0.8, "--out", "a")[0]
        == 0
    )
    for path in written("a"):
        code, out, err = run("show", path)
        assert (code, err) == (0, "")
        command = shlex.split(out.splitlines()[-1])
        assert command[0] == "mmgen" and "--count" in command and command[command.index("--count") + 1] == "1"
        os.makedirs("b", exist_ok=True)
        command[command.index("--out") + 1] = "b"
        assert run(*command[1:])[0] == 0
        again = os.path.join("b", os.path.basename(path))
        assert pixels(again) == pixels(path)
        assert media.read_metadata(again)["seed"] == media.read_metadata(path)["seed"]
    assert len(written("b")) == 3


def test_show_prints_json(run):
    run("generate", "a cat", "--seed", 7)
    code, out, _ = run("show", "a-cat-7.png", "--json")
    shown, about = json.loads(out), media.read_metadata("a-cat-7.png")
    assert code == 0 and shown.items() >= about.items()
    assert shown["command"] == media.command(about) and shown["path"] == "a-cat-7.png"


def test_show_refuses_what_mmgen_did_not_write(run, tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "plain.png")
    (tmp_path / "text.png").write_text("hello")
    assert_refused(run("show", tmp_path / "plain.png"), 1, "carries no metadata of mmgen")
    assert_refused(run("show", tmp_path / "text.png"), 1, "is not a picture")
    assert_refused(run("show", tmp_path / "absent.png"), 1, "there is no such file")


# Lists


def test_list_names_the_shipped_pipelines(run):
    _, out, _ = run("list", "--json")
    rows = json.loads(out)
    assert {row["name"] for row in rows} == set(catalog.pipelines()) and rows
    assert {("image", "raster"), ("image", "next-scale")} <= {(row["medium"], row["family"]) for row in rows}
    for name in catalog.pipelines():
        assert name in run("list")[1]


def test_list_names_what_captions_may_say(run, tiny):
    (row,) = json.loads(run("list", tiny, "--words", "--json")[1])
    assert row == {"name": str(tiny), "medium": "image", "words": Grammar(OBJECTS).words()}
    out = run("list", "--words", tiny)[1]
    for word in ("red apple (apple)", "purple", "bottom right", "left of", "small (little, tiny)"):
        assert word in out
    shipped = json.loads(run("list", "--words", "--json")[1])
    assert [row["name"] for row in shipped] == list(catalog.pipelines())
    out = run("list", "--words")[1]
    assert "emoji-64, emoji-64-scales:\n  objects: cat, dog" in out


@pytest.mark.parametrize("objects", [None, [], ["cat", 7], "cat"])
def test_words_of_a_damaged_pipeline(run, tiny, tmp_path, objects):
    shutil.copytree(tiny, tmp_path / "damaged")
    path = tmp_path / "damaged" / "text_encoder" / "config.json"
    path.write_text(json.dumps({"_class_name": "SceneEncoder", "objects": objects}))
    assert_refused(run("list", "--words", tmp_path / "damaged"), 1, "text_encoder", "give a list of names")


def test_words_where_any_text_will_do(run, tiny, tmp_path):
    shutil.copytree(tiny, tmp_path / "free")
    shutil.rmtree(tmp_path / "free" / "text_encoder")
    assert json.loads(run("list", "--words", tmp_path / "free", "--json")[1])[0]["words"] is None
    assert "any text" in run("list", "--words", tmp_path / "free")[1]


def test_words_fit_the_terminal(run, tiny, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    wide = run("list", "--words", tiny)[1].split()
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    lines = run("list", "--words", tiny)[1].splitlines()
    assert max(map(len, lines[1:])) <= 40 and " ".join(lines).split() == wide


def test_words_are_listed_of_pipelines_alone(run, tiny):
    assert_refused(run("list", tiny), 2, "add --words")
    assert_refused(run("list", "absent", "--words"), 1, "absent", "emoji-64")


def test_decoders_are_described(run):
    printed = json.loads(run("decoders", "--json")[1])
    rows = printed["decoders"]
    for kind, key in (("acceptance", "acceptance"), ("drafter", "drafters")):
        assert printed[key] == json.loads(json.dumps([part.describe() for part in parts(kind).values()]))
    assert [row["name"] for row in rows] == list(decoding.decoders())
    for row in rows:
        assert row == json.loads(json.dumps(decoding.decoders()[row["name"]].describe()))
        assert row["law"] in ("exact", "bounded", "heuristic") and row["paper"] and row["summary"]
    out = run("decoders")[1]
    listed = ("speculative-jacobi (exact)", "rejection (exact)", "arXiv 2410.01699", "--option window=32", "1 to 256")
    for word in (*listed, "adaptive=false"):
        assert word in out


# Bad input


@pytest.mark.parametrize(
    "words, code, said",
    [
        (["a cat", "--decoder", "jacobbi"], 1, "did you mean 'jacobi'"),
        (["a cat", "--option", "windw=3"], 1, "windw"),
        (["a cat", "--decoder", "autoregressive", "--option", "window=3"], 1, "it has none"),
        (["a cat", "--option", "window=0"], 1, "from 1 to 256"),
        (["a cat", "--option", "window=three"], 1, "window='three': needed is a whole number from 1 to 256"),
        (["a cat", "--option", "window=3.5"], 1, "a whole number"),
        (["a cat", "--option", "adaptive=maybe"], 1, "true or false"),
        (["a cat", "--option", "drafter=zero"], 1, "vertical-repeat"),
        (["a cat", "--option", "window"], 2, "NAME=VALUE"),
        (["a cat", "--option", "window=3", "--option", "window=4"], 2, "given twice"),
        (["a cat", "--pipeline", "emojy-64"], 1, "emojy-64"),
        (["--prompts", "absent.txt"], 1, "absent.txt: cannot be read"),
        (["a cat", "--prompts", "absent.txt"], 2, "either a prompt or --prompts"),
        ([], 2, "either a prompt or --prompts"),
        (["a cat", "--height", "30"], 1, "a multiple of the stride 4"),
        (["a cat", "--width", "32"], 1, "16, the size this model draws"),
        ([""], 1, "the prompt is empty"),
        (["cat " * 100], 1, "at most 200 characters"),
        (["a dragon"], 1, "'dragon' is not an object"),
        (["a cat \udcff"], 1, "not UTF-8"),
        (["a cat", "--guidance", "51"], 1, "from 0 to 50"),
        (["a cat", "--guidance", "nan"], 1, "from 0 to 50"),
        (["a cat", "--temperature", "-1"], 1, "from 0 to 10"),
        (["a cat", "--top-k", "-1"], 1, "top_k"),
        (["a cat", "--top-p", "0"], 1, "top_p"),
        (["a cat", "--seed", "-1"], 1, "from 0 to 9223372036854775807"),
        (["a cat", "--seed", "9223372036854775807", "--count", "2"], 1, "from 0 to 9223372036854775807"),
        (["a cat", "--seed", "seven"], 2, "--seed"),
        (["a cat", "--count", "0"], 2, "--count"),
        (["a cat", "--count", "1000000000"], 2, "--count"),
        (["a cat", "--frames", "5"], 2, "--frames: pictures of this pipeline take none"),
        (["a cat", "--continue-from", "one.png"], 2, "--continue-from: pictures of this pipeline take none"),
        (["a cat", "--batch", "0"], 2, "--batch"),
        (["a cat", "--dtype", "float8"], 2, "--dtype"),
        (["a cat", "--weight-bits", "4"], 1, "weight_bits=4: needed is one of 8"),
        (["a cat", "--cache-bits", "4"], 1, "cache_bits=4: needed is one of 16, 8"),
        (["a cat", "--device", "abacus"], 1, "one of cpu"),
        (["a cat", "--sed", "1"], 2, "No such option"),
        (["a cat", "a dog"], 2, "a dog"),
    ],
    ids=lambda value: " ".join(value)[:50] if isinstance(value, list) else "",
)
def test_bad_input_is_one_clear_line(run, words, code, said):
    assert_refused(run("generate", *words, "--out", "out"), code, said)


def test_files_that_cannot_be_are_refused(run, tmp_path):
    for name in ("cat.jpg", "cat.webp"):
        assert_refused(run("generate", "a cat", "--out", name), 2, f"--out {name}: files of pictures end in png")
    (tmp_path / "two.txt").write_text("a cat\na dog")
    many = ("--prompts", tmp_path / "two.txt", "--count", 60000, "--out", "out")
    assert_refused(run("generate", *many), 2, "120000 files are to be written, 100000 at most")


def test_unknown_commands_and_missing_arguments(run):
    assert_refused(run("draw"), 2, "No such command 'draw'")
    assert_refused(run("show"), 2, "file")
    assert_refused(run("train"), 2, "mmgen train --list")
    assert_refused(run("train", "emoji-65"), 1, "did you mean 'emoji-64'")
    assert_refused(run("bench", "--batch", "1,x"), 2, "--batch")
    assert_refused(run("bench", "--plot", "plot.jpg"), 2, ".png")
    assert_refused(run("bench", "--decoders", "jacobi,jakobi"), 1, "did you mean 'jacobi'")
    assert_refused(run("bench", "--seed", "-1"), 1, "seed")
    assert_refused(run("evaluate", "--pipeline", "absent"), 1, "absent")


def test_all_bad_lines_of_a_file_are_listed_before_anything_is_drawn(run, tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("a cat\n\na dragon\na dog\nlarge\n")
    result = run("generate", "--prompts", path, "--out", "out")
    assert_refused(result, 1, "2 of 4 prompts cannot be drawn", "line 3", "'dragon'", "line 5", "no object is named")
    path.write_text("\n".join(["a dragon"] * 500))
    result = run("generate", "--prompts", path)
    assert_refused(result, 1, "500 of 500", "and 490 more")
    assert len(result[2]) < 3000


def test_files_that_hold_no_prompts(run, tmp_path):
    path = tmp_path / "prompts.txt"
    for content, said in ((b"\n \n", "holds no prompt"), (b"a cat\n\xff\xfe", "is not UTF-8 text")):
        path.write_bytes(content)
        assert_refused(run("generate", "--prompts", path), 1, path, said)
    assert_refused(run("generate", "--prompts", tmp_path), 1, "cannot be read")


def test_an_output_folder_that_is_a_file(run, tmp_path):
    (tmp_path / "file").write_text("mine")
    for command in (["generate", "a cat", "--out"], ["demo", "--out"]):
        for out in (tmp_path / "file", tmp_path / "file" / "below"):
            assert_refused(run(*command, out), 1, tmp_path / "file", "a folder is needed")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_full_disk_leaves_no_half_file(run, monkeypatch):
    def save(image, file, **options):
        file.write(b"\x89PNG")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", save)
    code, out, err = run("generate", "a cat", "--seed", 1, "--out", "out")
    assert (code, out) == (1, "") and "No space left on device" in err and err.count("\n") == 1
    assert written() == []


def truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def reshape(path):
    state = load_file(path)
    save_file({key: tensor.repeat(2, *[1] * (tensor.ndim - 1)) for key, tensor in state.items()}, path)


def pickle_weights(path):
    torch.save(load_file(path), path.with_suffix(".bin"))
    path.unlink()


def disguise_pickle(path):
    pickle_weights(path)
    path.with_suffix(".bin").rename(path)


def rename_keys(path):
    save_file({f"model.{key}": tensor for key, tensor in load_file(path).items()}, path)


@pytest.mark.parametrize(
    "damage, said",
    [
        (truncate, "is damaged or not a safetensors file"),
        (reshape, "has shape"),
        (pickle_weights, "is a pickle, which can run code"),
        (disguise_pickle, "is damaged or not a safetensors file"),
        (rename_keys, "missing keys"),
        (lambda path: path.unlink(), "holds no safetensors file"),
        (lambda path: (path.parent / "config.json").write_text("{"), "cannot be read"),
        (lambda path: (path.parent / "config.json").unlink(), "cannot be read"),
    ],
    ids=["truncated", "wrong-shape", "pickle", "disguised", "keys", "absent", "broken-config", "no-config"],
)
def test_damaged_weights(run, tiny, tmp_path, damage, said):
    folder = shutil.copytree(tiny, tmp_path / "damaged")
    damage(next((folder / "transformer").glob("*.safetensors")))
    assert_refused(run("generate", "a cat", "--pipeline", folder, "--out", "out"), 1, "damaged", said)


def test_faults_of_our_own_are_one_line_too(run, monkeypatch):
    def draw(*_, **__):
        raise RuntimeError("out of\nmemory")

    monkeypatch.setattr(TextToImagePipeline, "__call__", draw)
    code, _, err = run("generate", "a cat", "--seed", 1)
    assert code == 1
    assert err == "mmgen: error: RuntimeError: out of memory (set MMGEN_TRACEBACK=1 to see where)\n"
    monkeypatch.setenv("MMGEN_TRACEBACK", "1")
    with pytest.raises(RuntimeError, match="out of"):
        main(["generate", "a cat", "--seed", "1"])


# Interruptions


def test_interruption_says_what_was_written_and_leaves_nothing_half_written(run, monkeypatch):
    render, calls = TextToImagePipeline.render, []

    def interrupted_render(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return render(*arguments)

    monkeypatch.setattr(TextToImagePipeline, "render", interrupted_render)
    code, out, err = run("generate", "a cat", "--seed", 1, "--count", 5, "--batch", 1, "--out", "out", "--json")
    assert (code, err) == (130, "mmgen: interrupted: 2 of 5 pictures written to out\n")
    assert len(out.splitlines()) == 2
    assert written() == ["./out/a-cat-1.png", "./out/a-cat-2.png"]


def test_interruption_while_a_file_is_written(run, monkeypatch):
    save = Image.Image.save

    def interrupted_save(image, file, **options):
        save(image, file, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", interrupted_save)
    code, _, err = run("generate", "a cat", "--seed", 1, "--out", "out")
    assert (code, err) == (130, "mmgen: interrupted: 0 of 1 pictures written to out\n")
    assert written() == []


def test_interruption_of_other_commands(run, monkeypatch):
    def examine():
        raise KeyboardInterrupt

    monkeypatch.setattr("mmgen.doctor.examine", examine)
    assert run("doctor") == (130, "", "mmgen: interrupted\n")


# The other commands


def test_demo_draws_three_prompts_beside_autoregression(run):
    code, out, err = run("demo", "--out", "pictures")
    assert (code, err) == (0, "")
    assert len(written()) == 3
    assert out.count("  jacobi: ") == out.count("  autoregressive: 16 evaluations, ") == 3
    assert out.count("the pixels are equal") == 3 and out.count("tokens per evaluation") == 3
    for path in written():
        assert os.path.basename(path) in out
        assert media.read_metadata(path)["decoder"] == "jacobi"
    commands = [shlex.split(line) for line in out.splitlines() if line.startswith("  mmgen ")]
    assert len(commands) == 3
    assert [run(*command[1:])[0] for command in commands] == [0, 0, 0]


def test_train_calls_the_recipe(run, monkeypatch, tmp_path):
    calls = []

    def train(*arguments, **named):
        calls.append(arguments)
        assert named == {"start_from": "emoji-64"}
        if len(calls) == 2:
            raise KeyboardInterrupt
        return tmp_path / "written"

    monkeypatch.setattr("mmgen.training.recipes.train", train)
    words = ("train", "emoji-64", "--minutes", 2, "--steps", 3, "--compile", "--out", "a", "--work", "b")
    words += ("--start-from", "emoji-64")
    code, out, _ = run(*words)
    assert (code, out) == (0, f"written to {tmp_path / 'written'}\n")
    name, destination, work, minutes, steps, device, compiled = calls[0]
    assert (name, str(destination), str(work)) == ("emoji-64", "a", "b")
    assert (minutes, steps, device, compiled) == (2, 3, "cpu", True)
    code, _, err = run(*words)
    assert code == 130 and "continues from the last checkpoint in b/emoji-64" in err
    from mmgen.training.recipes import RECIPES

    assert run("train", "--list")[1].split() == list(RECIPES)


def test_app_without_gradio_says_what_to_install(run, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert_refused(run("app"), 1, "gradio is not installed", "install mmgen[web]")


def test_app_opens_the_page(run, monkeypatch):
    calls = []
    page = types.SimpleNamespace(launch=lambda **settings: calls.append(settings))
    monkeypatch.setitem(sys.modules, "mmgen.web.app", page)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert run("app", "--host", "0.0.0.0", "--port", 1234, "--share")[0] == 0
    given = {"host": "0.0.0.0", "port": 1234, "share": True}
    assert calls == [given | {"password": None, "root_path": None, "mcp": False}]


def test_bench_prints_rows_and_writes_a_plot(run):
    words = (
        "bench",
        "--decoders",
        "jacobi:window=4",
        "--prompts",
        2,
        "--repeats",
        1,
        "--batch",
        "1,2",
        "--no-baseline",
    )
    code, out, _ = run(*words, "--json", "--plot", "new/plot.png")
    rows = json.loads(out)
    assert code == 0 and written() == ["./new/plot.png"] and pixels("new/plot.png")
    assert [(row["decoder"], row["batch"]) for row in rows] == [
        (decoder, batch) for batch in (1, 2) for decoder in ("autoregressive", "jacobi")
    ]
    for row in rows:
        names = {"pipeline", "law", "evaluations", "tokens_per_evaluation", "seconds", "speedup", "adherence"}
        assert names <= row.keys() and row["law"] == "exact"
        assert row["evaluations"] == 16 if row["decoder"] == "autoregressive" else row["evaluations"] <= 16
    code, out, _ = run(*words)
    assert code == 0 and "jacobi:window=4" in out and "speedup" in out


def test_evaluate_prints_the_report(run, tiny, monkeypatch):
    from mmgen.evaluation import adherence, judges

    report, asked = adherence.PictureReport(), []
    report.background.add(True)
    report.background.add(False)

    def evaluate(pipe, count, seed, log):
        asked.append((type(pipe).__name__, count, seed))
        return report

    monkeypatch.setattr(judges, "evaluate", evaluate)
    code, out, _ = run("evaluate", "--count", 2, "--seed", 9, "--json")
    printed = json.loads(out)
    assert code == 0 and asked == [("TextToImagePipeline", 2, 9)]
    assert printed["background"] == {"right": 1, "of": 2, "share": 0.5}
    assert (printed["pipeline"], printed["count"], printed["seed"]) == (str(tiny), 2, 9)
    assert "50.0%" in run("evaluate", "--count", 2)[1]


# In processes of their own, with what is shipped


def mmgen(*words, cwd, **options):
    command = [sys.executable, "-m", "mmgen", *map(str, words)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, **options)


def test_the_shipped_pipeline_draws_and_its_command_draws_again(tmp_path):
    first = mmgen("generate", PROMPT, "--seed", 7, "--decoder", "coupled-jacobi", "--count", 4, "--json", cwd=tmp_path)
    assert (first.returncode, first.stderr) == (0, "")
    rows = [json.loads(line) for line in first.stdout.splitlines()]
    assert [row["seed"] for row in rows] == [7, 8, 9, 10] and rows[0]["pipeline"] == catalog.default_pipeline()
    shown = mmgen("show", rows[2]["path"], cwd=tmp_path)
    command = shlex.split(shown.stdout.splitlines()[-1])
    (tmp_path / "again").mkdir()
    again = mmgen(*command[1:], cwd=tmp_path / "again")
    assert (again.returncode, again.stderr) == (0, "")
    assert pixels(tmp_path / "again" / rows[2]["path"]) == pixels(tmp_path / rows[2]["path"])


def test_control_c_stops_the_shipped_pipeline_cleanly(tmp_path):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(DRAW_MANY, cwd=tmp_path, text=True, **pipes) as process:
        first = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        rest, err = process.communicate(timeout=120)
    count = 1 + len(rest.splitlines())
    assert process.returncode == 130 and first["seed"] == 1 and count < 200
    assert err == f"mmgen: interrupted: {len(list(tmp_path.iterdir()))} of 200 pictures written to .\n"
    for path in tmp_path.iterdir():
        assert path.suffix == ".png" and media.read_metadata(path)["prompt"] == "cat" and pixels(path)


def test_a_reader_that_leaves_ends_the_command_quietly(tmp_path):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(DRAW_MANY, cwd=tmp_path, text=True, **pipes) as process:
        process.stdout.readline()
        process.stdout.close()
        err = process.stderr.read()
    assert process.returncode == 1 and err == ""
    assert 1 <= len(list(tmp_path.iterdir())) < 200


@pytest.mark.parametrize("condition", ["seed=3", "known=1", "prompt=x", "nothing=1"])
def test_conditions_are_those_of_the_pipeline(run, tiny, condition):
    code, _, err = run("generate", PROMPT, "--condition", condition)
    assert code == 1 and condition.split("=")[0] in err and "no conditions" in err
