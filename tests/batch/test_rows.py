"""Rows of files, and the requests they become."""

import io
import sys

import pytest

from mmgen.batch import rows
from mmgen.batch.request import Request, RequestReader
from mmgen.batch.rows import Row
from mmgen.errors import MissingDependencyError, MmgenError, OptionError, OutputError

CHOICES = ("decoder", "decoder_options", "height", "width", "guidance", "style")


def read(path):
    with rows.opened(str(path)) as source:
        return list(source.rows())


def reader(defaults=None, made_by=None):
    return RequestReader("tiny", CHOICES, defaults or {}, made_by or {"revision": "a"})


def request(fields, **others):
    return reader(**others).read(Row(3, fields))


def test_lines_of_text_are_prompts(tmp_path):
    (tmp_path / "p.txt").write_bytes(b"\xef\xbb\xbfa cat\r\n\n  a dog \n\xff\n")
    assert read(tmp_path / "p.txt") == [
        Row(1, {"prompt": "a cat"}), Row(3, {"prompt": "a dog"}), Row(4, fault="is not UTF-8 text")
    ]  # fmt: skip


def test_lines_of_json_are_requests(tmp_path):
    (tmp_path / "p.jsonl").write_text('{"prompt": "a cat", "seed": 3}\n\n[1]\n{"a": NaN}\n{\n')
    good, not_object, not_number, torn = read(tmp_path / "p.jsonl")
    assert good == Row(1, {"prompt": "a cat", "seed": 3})
    assert (not_object.line, not_object.fault) == (3, "is not a JSON object")
    assert not_number.line == 4 and "NaN" in not_number.fault
    assert torn.line == 5 and "is not JSON" in torn.fault


def test_cells_of_csv_have_types(tmp_path):
    (tmp_path / "p.csv").write_text(
        "prompt,seed,guidance,options,style\n"
        '"a ""red"", round\napple",7,1.5,"{""window"": 3}",\n'
        "a cat,x,,,\na dog,,,,,9\n"
    )
    with open(tmp_path / "p.csv", "ab") as file:
        file.write(b"a caf\xe9,,,,\na cat,,," + b"[" * 10_000 + b",\n")
    first, second, third, latin, deep = read(tmp_path / "p.csv")
    assert first.line == 3, "the line a row ends on"
    assert first.fields == {
        "prompt": 'a "red", round\napple', "seed": 7, "guidance": 1.5, "options": {"window": 3}, "style": None
    }  # fmt: skip
    assert (second.line, second.fault) == (4, "seed='x' cannot be read")
    assert "more cells" in third.fault
    assert latin == Row(6, fault="is not UTF-8 text")
    assert deep.line == 7 and deep.fault.startswith("options='[[[") and len(deep.fault) < 200


def test_rows_of_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="needs mmgen[parquet]")
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = {"prompt": ["a cat", "a dog"], "seed": [1.0, None], "options": [{"window": 3}, {"adaptive": True}]}
    parquet.write_table(pyarrow.table(columns | {"conditions": ['{"style": "oil"}', "{"]}), tmp_path / "p.parquet")
    first, second = read(tmp_path / "p.parquet")
    fields = {"prompt": "a cat", "seed": 1, "options": {"window": 3}, "conditions": {"style": "oil"}}
    assert first == Row(1, fields) and type(first.fields["seed"]) is int
    assert second == Row(2, fault="conditions='{' cannot be read")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(OutputError, match="is not Parquet"):
        read(tmp_path / "broken.parquet")


def test_parquet_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "p.parquet").touch()
    with pytest.raises(MissingDependencyError, match=r"mmgen\[parquet\]"):
        read(tmp_path / "p.parquet")


@pytest.mark.parametrize("text, kind", [('\n{"prompt": "a cat"}\n', ".jsonl"), ("a cat\n", ".txt")])
def test_standard_input_is_json_or_text(monkeypatch, text, kind):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    with rows.opened("-") as source:
        assert source.kind == kind
        assert [row.fields for row in source.rows()] == [{"prompt": "a cat"}]


@pytest.mark.parametrize("name, error", [("absent.txt", OutputError), ("p.xlsx", OptionError), (".", OptionError)])
def test_files_that_cannot_be_read(tmp_path, monkeypatch, name, error):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error):
        read(name)


def test_a_request_says_everything():
    fields = {
        "id": "mine", "prompt": " a cat ", "seed": 5, "count": 2, "size": "32x16", "decoder": "jacobi",
        "options": {"window": 3}, "conditions": {"style": "oil"}, "guidance": 2,
    }  # fmt: skip
    made = request(fields)
    settings = {"decoder": "jacobi", "decoder_options": {"window": 3}, "style": "oil", "guidance": 2}
    assert made == Request(3, "mine", "a cat", 5, 2, settings | {"width": 32, "height": 16})
    assert [(item.number, item.id, item.seed) for item in made.items(7)] == [(7, "mine-0", 5), (8, "mine-1", 6)]
    assert Request.from_json(made.to_json()) == made


def test_openai_rows_are_requests():
    body = {"model": "tiny", "prompt": "a cat", "n": 3, "size": "32x16"}
    fields = {"custom_id": "r-1", "method": "POST", "url": "/v1/images/generations", "body": body}
    assert request(fields) == request({"id": "r-1", "prompt": "a cat", "count": 3, "height": 16, "width": 32})
    with pytest.raises(OptionError, match="tiny, the pipeline of the job"):
        request({"custom_id": "r-1", "body": body | {"model": "other"}})


@pytest.mark.parametrize(
    "fields, words",
    [
        ({"prompt": "a cat", "sed": 3}, "did you mean 'seed'"),
        ({"seed": 3}, "is no prompt"),
        ({"prompt": "  "}, "is no prompt"),
        ({"prompt": True}, "is no prompt"),
        ({"prompt": "\ud800"}, "is not UTF-8"),
        ({"prompt": "a", "id": "../b"}, "letters, digits"),
        ({"prompt": "a", "id": 3}, "letters, digits"),
        ({"prompt": "a", "seed": -1}, "whole number from 0"),
        ({"prompt": "a", "seed": 1.5}, "whole number"),
        ({"prompt": "a", "count": 0}, "whole number from 1"),
        ({"prompt": "a", "count": True}, "whole number"),
        ({"prompt": "a", "size": "32"}, "such as 512x384"),
        ({"prompt": "a", "options": 3}, "JSON object"),
        ({"prompt": "a", "conditions": {"seed": 3}}, "no condition is called 'seed'"),
        ({"prompt": "a", "style": {1, 2}}, "values of JSON"),
        ({"custom_id": "a"}, "body"),
        ({"custom_id": "a", "body": {"prompt": "a"}, "seed": 3}, "OpenAI"),
    ],
)
def test_rows_that_are_no_requests(fields, words):
    with pytest.raises(MmgenError, match=words):
        request(fields)


def test_defaults_give_way():
    defaults = {"guidance": 1.0, "count": 2, "decoder": "jacobi", "decoder_options": {"window": 3, "adaptive": True}}
    plain = request({"prompt": "a"}, defaults=defaults)
    assert plain.count == 2 and plain.settings == {name: value for name, value in defaults.items() if name != "count"}
    merged = request({"prompt": "a", "options": {"window": 5}, "guidance": 3}, defaults=defaults)
    assert merged.settings["decoder_options"] == {"window": 5, "adaptive": True} and merged.settings["guidance"] == 3
    other = request({"prompt": "a", "decoder": "proactive"}, defaults=defaults)
    assert "decoder_options" not in other.settings, "options are of their decoder"


def test_names_and_seeds_hang_on_what_is_said_alone():
    made = request({"prompt": "a", "guidance": 2})
    assert made.id == request({"guidance": 2, "prompt": "a", "seed": None, "count": 4}).id
    others = [{"prompt": "b", "guidance": 2}, {"prompt": "a"}, {"prompt": "a", "guidance": 2, "seed": 1}]
    ids = {made.id, *(request(fields).id for fields in others), request({"prompt": "a"}, made_by={"revision": "b"}).id}
    assert len(ids) == 5 and all(len(name) == 16 and int(name, 16) >= 0 for name in ids)
    (item,), (salted,) = made.items(), made.items(salt=1)
    assert item.seed == next(made.items()).seed != salted.seed and 0 <= item.seed < 2**48
    assert (made.id, item.seed) == ("355a36e2a8b1d12b", 267760363058184), "files of earlier versions keep their names"
