import collections
import io
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mainspring.fileio import (
    BaseFileHandler,
    JsonHandler,
    YamlHandler,
    dump,
    formats,
    get,
    get_text,
    load,
    put,
    register_handler,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT
PLAIN = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=20)
PICKLED = st.recursive(
    SCALARS | st.binary() | st.complex_numbers(allow_nan=False),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.integers() | TEXT, inner),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("ending", "values"), [("json", PLAIN), ("yaml", PLAIN), ("yml", PLAIN), ("pkl", PICKLED), ("pickle", PICKLED)]
)
def test_what_is_dumped_is_what_is_loaded(at, ending, values):
    @settings(max_examples=20)
    @given(values)
    def check(value):
        dump(value, at(f"file.{ending}"))
        assert load(at(f"file.{ending}")) == value

    check()


@pytest.mark.parametrize("ending", ["json", "yaml"])
@given(PLAIN)
def test_any_plain_data_comes_back_from_its_text(ending, value):
    assert load(io.StringIO(dump(value, file_format=ending)), ending) == value


@pytest.mark.parametrize("ending", ["json", "yaml", "pkl"])
def test_a_string_and_an_open_file_hold_the_same_as_a_path(tmp_path, ending):
    value = {"epochs": 12, "steps": [8, 11]}
    dump(value, tmp_path / f"file.{ending}")
    written = get(tmp_path / f"file.{ending}")
    text = dump(value, file_format=ending)
    assert (text.encode() if isinstance(text, str) else text) == written
    file = io.StringIO() if isinstance(text, str) else io.BytesIO()
    assert dump(value, file, file_format=ending) is None
    assert file.getvalue() == text
    file.seek(0)
    assert load(file, file_format=ending) == value


def test_the_format_is_the_ending_of_the_path_or_as_given(tmp_path, memory):
    for path in (tmp_path / "CONFIG.JSON", f"{memory}/a.b/config.json", f"simplecache::{memory}/config.json"):
        put(b"[1]", str(path).removeprefix("simplecache::"))
        assert load(path) == [1]
    put(b"[1]", tmp_path / "config")
    assert load(str(tmp_path / "config"), file_format="YAML") == [1]


@pytest.mark.parametrize("path", ["config.jsn", "json", "runs.json/config", "memory://config", ""])
def test_an_unknown_format_is_refused_with_the_known_ones(path):
    for function in (lambda: load(path), lambda: dump([], path)):
        with pytest.raises(TypeError, match=r"is no known file format.*one of json, yaml, yml, pickle, pkl"):
            function()


def test_the_nearest_format_is_named():
    with pytest.raises(TypeError, match="Did you mean 'yaml'"):
        load("config.yaaml")


def test_what_cannot_be_loaded_or_dumped_is_said():
    with pytest.raises(ValueError, match="no ending to tell the format by: give file_format='json'"):
        dump([])
    with pytest.raises(TypeError, match=r"The format of .*StringIO.* is not known"):
        load(io.StringIO("[]"))
    with pytest.raises(TypeError, match="load reads a path, a URL or an open file, but it was given 3"):
        load(3, file_format="json")
    with pytest.raises(TypeError, match="dump writes to a path, a URL or an open file, but it was given 3"):
        dump([], 3, file_format="json")


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [("a.json", b"{", json.JSONDecodeError), ("a.yaml", b"a: [", yaml.YAMLError), ("a.pkl", b"\x80\x04", EOFError)],
)
def test_an_error_in_the_content_names_the_file(at, name, content, error):
    put(content, at(name))
    with pytest.raises(error) as caught:
        load(at(name))
    assert any(at(name) in note for note in caught.value.__notes__)


@pytest.mark.parametrize("ending", ["json", "yaml", "pkl"])
def test_what_cannot_be_written_leaves_the_file_as_it_was(at, ending):
    dump([1], at(f"file.{ending}"))
    with pytest.raises(Exception, match=r"(JSON has no way|cannot represent an object|pickle).*"):
        dump([2, lambda: None], at(f"file.{ending}"))
    assert load(at(f"file.{ending}")) == [1]


@pytest.mark.parametrize("ending", ["json", "yaml"])
def test_numpy_and_the_like_are_written_as_plain_data(ending):
    class Config(dict):
        pass

    value = {
        "array": np.arange(4).reshape(2, 2),
        "number": np.float32(0.5),
        "flag": np.bool_(True),
        "range": range(2),
        "tuple": (1, (2, 3)),
        "config": Config(a=collections.OrderedDict(b=1)),
        "point": collections.namedtuple("Point", "x y")(1, 2),
    }
    expected = {
        "array": [[0, 1], [2, 3]],
        "number": 0.5,
        "flag": True,
        "range": [0, 1],
        "tuple": [1, [2, 3]],
        "config": {"a": {"b": 1}},
        "point": [1, 2],
    }
    text = dump(value, file_format=ending)
    assert load(io.StringIO(text), ending) == expected
    assert "!!" not in text


def test_sets():
    assert json.loads(dump({"a": {1}, "b": frozenset([2])}, file_format="json")) == {"a": [1], "b": [2]}
    assert load(io.StringIO(dump({"a": {1, 2}}, file_format="yaml")), "yaml") == {"a": {1, 2}}


def test_arguments_reach_the_format():
    assert dump({"a": 1}, file_format="json", indent=1) == '{\n "a": 1\n}'
    assert dump([object], file_format="json", default=lambda value: value.__name__) == '["object"]'
    assert load(io.StringIO("[0.1]"), "json", parse_float=str) == ["0.1"]
    assert dump({"b": 1, "a": 2}, file_format="yaml", sort_keys=False) == "b: 1\na: 2\n"
    assert load(io.StringIO("[0.1]"), "yaml", Loader=yaml.BaseLoader) == ["0.1"]
    assert dump([1], file_format="pkl", protocol=2).startswith(b"\x80\x02")


def test_json_numbers_that_are_none():
    assert math.isnan(json.loads(dump(math.nan, file_format="json")))


@pytest.mark.parametrize(
    "value", ["object/apply:os.system ['true']", "name:os.system", "object:collections.Counter {}"]
)
def test_yaml_makes_no_python_objects(value):
    with pytest.raises(yaml.YAMLError, match="could not determine a constructor"):
        load(io.StringIO(f"a: !!python/{value}"), "yaml")


@pytest.mark.parametrize("loader", [yaml.Loader, yaml.UnsafeLoader, yaml.FullLoader, yaml.CLoader])
def test_yaml_takes_no_loader_that_would(loader):
    with pytest.raises(ValueError, match=rf"Loader is {loader.__name__}, with which.*yaml\.SafeLoader"):
        load(io.StringIO("1"), "yaml", Loader=loader)


def test_tuples_in_yaml_that_others_wrote():
    text = yaml.dump({"shape": (2, (3, [4]))}, Dumper=yaml.Dumper)
    assert load(io.StringIO(text), "yaml") == {"shape": (2, (3, [4]))}


def test_without_pyyaml_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)  # as if it were not installed
    with pytest.raises(ImportError, match=r"YAML files needs yaml.*mainspring\[yaml\]"):
        dump([], file_format="yaml")


def test_the_older_name_of_backend_args(tmp_path):
    dump([1], tmp_path / "file.json")
    with pytest.warns(DeprecationWarning, match="file_client_args is now called backend_args") as warned:
        assert load(tmp_path / "file.json", file_client_args={"backend": "disk"}) == [1]
    assert warned[0].filename == __file__
    with pytest.warns(DeprecationWarning, match="now called backend_args"):
        dump([2], tmp_path / "file.json", file_client_args={"backend": "disk"})
    with pytest.raises(ValueError, match="two names of one thing"):
        load(tmp_path / "file.json", file_client_args={"backend": "disk"}, backend_args={})
    assert load(tmp_path / "file.json", backend_args={"backend": "local"}) == [2]


class Lines(BaseFileHandler):
    """Writes a list of strings, one a line."""

    def __init__(self, end="\n"):
        self.end = end

    def load_from_fileobj(self, file, **kwargs):
        return file.read().split(self.end)

    def dump_to_fileobj(self, obj, file, **kwargs):
        file.write(self.dump_to_str(obj))

    def dump_to_str(self, obj, **kwargs):
        return self.end.join(obj)


@pytest.fixture
def handlers(monkeypatch):
    monkeypatch.setattr(formats, "_HANDLERS", dict(formats._HANDLERS))


def test_a_format_of_ones_own(handlers, at):
    assert register_handler(["lines", "LNS"], end=";")(Lines) is Lines
    dump(["a", "b"], at("file.lns"))
    assert get_text(at("file.lns")) == "a;b"
    assert load(at("file.lines").replace("lines", "lns"), file_format="lines") == ["a", "b"]
    register_handler("json")(Lines)
    assert dump(["a", "b"], file_format="json") == "a\nb"


def test_what_is_no_handler_is_refused(handlers):
    with pytest.raises(TypeError, match="must be a subclass of BaseFileHandler, but it is <class 'int'>"):
        register_handler("x")(int)
    with pytest.raises(TypeError, match="file_formats must be a string or a list of strings, but it is 3"):
        register_handler(3)


@pytest.mark.parametrize("handler", [JsonHandler(), YamlHandler(), formats.PickleHandler(), Lines()])
def test_a_handler_by_itself_writes_and_reads_local_files(handler, tmp_path):
    value = ["a", "é"]
    handler.dump_to_path(value, tmp_path / "file")
    assert handler.load_from_path(str(tmp_path / "file")) == value
    written = handler.dump_to_str(value)
    assert Path(tmp_path / "file").read_bytes() == (written.encode() if handler.str_like else written)


def test_nothing_optional_is_imported_before_it_is_needed():
    check = "import mainspring.fileio, sys; print([n for n in ('yaml', 'aiohttp', 'rich') if n in sys.modules])"
    finished = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, timeout=100, check=True)
    assert finished.stdout == "[]\n"
