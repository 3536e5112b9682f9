"""A data set from an annotation file: what it reads, what it gives, and what it says when something is wrong."""

import copy
import json
import operator
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from mainspring.dataset import BaseDataset, Compose, build_dataloader, force_full_init, pass_over, resumable
from mainspring.fileio import dump
from mainspring.registry import TRANSFORMS

SAMPLES = [{"img_path": f"{number}.png", "label": number % 3} for number in range(7)]


class Shapes(BaseDataset):
    METAINFO = {"name": "shapes", "classes": ["dot", "line", "disc"]}  # noqa: RUF012

    def get_cat_ids(self, idx):
        return [self.get_data_info(idx)["label"]]


@pytest.fixture
def root(tmp_path):
    annotations = {"metainfo": {"classes": ["other"], "year": 2012}, "data_list": SAMPLES}
    (tmp_path / "train.json").write_text(json.dumps(annotations))
    return tmp_path


def in_memory(samples, **options):
    """Return a data set of these samples."""

    class Listed(BaseDataset):
        def load_data_list(self):
            return copy.deepcopy(samples)

    return Listed(**options)


def labels_of(dataset):
    return [dataset.get_data_info(index)["label"] for index in range(len(dataset))]


# Reading


@pytest.mark.parametrize("serialize_data", [True, False])
def test_what_a_file_holds(root, serialize_data):
    dataset = Shapes("train.json", data_root=str(root), serialize_data=serialize_data)
    assert len(dataset) == 7
    assert dataset[2] == {"img_path": str(root / "2.png"), "label": 2, "sample_idx": 2}
    assert dataset[-1] == dataset[6]
    assert dataset[np.int64(1)]["sample_idx"] == 1
    assert dataset.metainfo == {"name": "shapes", "classes": ["dot", "line", "disc"], "year": 2012}
    assert [sample["label"] for sample in dataset] == [0, 1, 2, 0, 1, 2, 0]
    assert dataset.get_cat_ids(4) == [1]
    assert dataset.data_list == (
        [] if serialize_data else [{**s, "img_path": str(root / s["img_path"])} for s in SAMPLES]
    )


@pytest.mark.parametrize(
    ("data_root", "prefix", "expected"),
    [
        ("ROOT", "images", "ROOT/images/0.png"),
        ("ROOT", "/elsewhere", "/elsewhere/0.png"),
        ("ROOT", "s3://bucket/images", "s3://bucket/images/0.png"),
        ("ROOT", "", "ROOT/0.png"),
        ("", "images", "images/0.png"),
        (None, "", "0.png"),
        ("memory://joined", "images", "memory://joined/images/0.png"),
    ],
)
def test_paths_are_put_together(root, data_root, prefix, expected):
    data_root = data_root and data_root.replace("ROOT", str(root))
    dataset = Shapes(str(root / "train.json"), data_root=data_root, data_prefix={"img_path": prefix})
    assert dataset[0]["img_path"] == expected.replace("ROOT", str(root))


def test_a_file_by_url():
    dump({"metainfo": {}, "data_list": [{"label": 1}]}, "memory://shapes/all.pkl")
    assert Shapes("all.pkl", data_root="memory://shapes", data_prefix={})[0] == {"label": 1, "sample_idx": 0}


def test_one_item_of_the_file_may_become_several_samples(root):
    class Halves(Shapes):
        def parse_data_info(self, raw_data_info):
            if raw_data_info["label"] == 2:
                return []
            return [{"label": raw_data_info["label"], "half": half} for half in (0, 1)]

    halves = Halves("train.json", data_root=str(root))
    assert [(info["label"], info["half"]) for info in halves] == [
        (label, half) for label in (0, 1, 0, 1, 0) for half in (0, 1)
    ]


def test_filters_come_before_indices(root):
    class Without(Shapes):
        def filter_data(self):
            return [info for info in self.data_list if info["label"] != self.filter_cfg["label"]]

    dataset = Without("train.json", data_root=str(root), filter_cfg={"label": 0}, indices=[1, -1])
    assert labels_of(dataset) == [2, 2]
    assert dataset[1]["img_path"].endswith("5.png")
    assert dataset[1]["sample_idx"] == 1


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (
            [1, 2],
            TypeError,
            r"bad\.json' of Shapes must hold a dict with 'metainfo' and 'data_list', but it holds a list of 2",
        ),
        ({"data_list": []}, ValueError, "it lacks 'metainfo': it holds a dict with the keys 'data_list'"),
        ({"metainfo": {}, "datalist": []}, ValueError, "it lacks 'data_list'.*Did you mean 'datalist'"),
        ({"metainfo": [], "data_list": []}, TypeError, "metainfo in .* must be a dict"),
        ({"metainfo": {}, "data_list": {}}, TypeError, "data_list in .* must be a list"),
        ({"metainfo": {}, "data_list": [{"img_path": "a"}, 3]}, TypeError, "must be a dict, but it is 3"),
        (
            {"metainfo": {}, "data_list": [{"path": "a"}]},
            ValueError,
            "has the key 'img_path', but a sample .* has only 'path'",
        ),
    ],
)
def test_what_is_wrong_with_a_file(tmp_path, content, error, message):
    (tmp_path / "bad.json").write_text(json.dumps(content))
    with pytest.raises(error, match=message):
        Shapes("bad.json", data_root=str(tmp_path))


def test_an_error_in_an_item_names_the_item(root):
    class Own(Shapes):
        def parse_data_info(self, raw_data_info):
            return {"label": 1 / (3 - int(raw_data_info["img_path"][0]))}

    with pytest.raises(ZeroDivisionError) as caught:
        Own("train.json", data_root=str(root))
    assert "item 3 of data_list" in caught.value.__notes__[0]


def test_no_file_and_files_that_are_not_there(tmp_path):
    with pytest.raises(ValueError, match=r"Shapes has no ann_file: give one, or override load_data_list\(\)"):
        Shapes()
    with pytest.raises(FileNotFoundError, match=r"none\.json"):
        Shapes("none.json", data_root=str(tmp_path))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metainfo": 3}, "metainfo of Shapes must be a dict"),
        ({"data_root": 3}, "data_root of Shapes must be a string or a path or None"),
        ({"ann_file": ["a.json", "b.json"]}, "ann_file of Shapes must be a string or a path or None"),
        ({"data_prefix": {"img_path": 3}}, r"data_prefix\['img_path'\] of Shapes must be a string"),
        ({"data_prefix": "images"}, "data_prefix of Shapes must be a dict"),
        ({"max_refetch": 0.5}, "max_refetch of Shapes must be an integer"),
        ({"pipeline": {"type": "Resize"}}, "A pipeline is a list of transforms"),
        ({"indices": "3"}, "indices of Shapes must be a number of samples or a list of indices"),
    ],
)
def test_arguments_of_other_types(root, options, message):
    with pytest.raises(TypeError, match=message):
        Shapes(**{"ann_file": "train.json", "data_root": root, **options})


@pytest.mark.parametrize("method", ["load_data_list", "filter_data"])
def test_a_method_that_forgets_to_return(root, method):
    forgetful = type("Forgetful", (Shapes,), {method: lambda self: None})
    with pytest.raises(TypeError, match=rf"{method}\(\) of Forgetful must return a list.*None"):
        forgetful("train.json", data_root=str(root))


def test_samples_that_are_no_dicts():
    with pytest.raises(TypeError, match=r"must hold a dict for each sample, but for sample 0 it holds 'a'"):
        in_memory(["a", "b"])[0]


# Metainfo


def test_whose_metainfo_counts(root):
    names = root / "names.txt"
    names.write_text("cat\ndog\n")
    dump("", root / "empty.json")
    given = {"classes": str(names), "author": "me", "home": "https://example.org", "palette": [(0, 0, 1)]}
    dataset = Shapes("train.json", metainfo=given, data_root=str(root))
    assert dataset.metainfo == {**given, "name": "shapes", "classes": ["cat", "dog"], "year": 2012}
    assert Shapes.METAINFO["classes"] == ["dot", "line", "disc"]


def test_metainfo_is_handed_out_as_a_copy(root):
    given = {"classes": ["cat"]}
    dataset = Shapes("train.json", metainfo=given, data_root=str(root))
    dataset.metainfo["classes"].append("dog")
    given["classes"].append("owl")
    assert dataset.metainfo["classes"] == ["cat"]


def test_a_misspelt_file_of_metainfo_is_mentioned(root, capsys):
    dataset = Shapes("train.json", metainfo={"classes": "nams.txt"}, data_root=str(root))
    assert dataset.metainfo["classes"] == "nams.txt"
    assert "there is no such file" in capsys.readouterr().out


# Indices and subsets


@pytest.mark.parametrize("serialize_data", [True, False])
@pytest.mark.parametrize(
    ("indices", "expected"),
    [(3, [0, 1, 2]), (-2, [5, 6]), (0, []), (99, list(range(7))), ([4, 0, 4], [4, 0, 4]), ((-1,), [6]),
     (range(2, 4), [2, 3]), (np.array([1, 5]), [1, 5]), ([], [])],
)  # fmt: skip
def test_subsets(root, serialize_data, indices, expected):
    options = {"data_root": str(root), "serialize_data": serialize_data}
    whole = Shapes("train.json", **options)
    names = [f"{number}.png" for number in expected]
    part = whole.get_subset(indices)
    assert [Path(info["img_path"]).name for info in part] == names
    assert [info["sample_idx"] for info in part] == list(range(len(expected)))
    assert len(whole) == 7
    assert part.metainfo == whole.metainfo
    assert type(part) is Shapes
    whole.get_subset_(indices)
    assert [Path(info["img_path"]).name for info in whole] == names
    from_the_start = Shapes("train.json", indices=indices, **options)
    assert [Path(info["img_path"]).name for info in from_the_start] == names


@given(st.lists(st.integers(0, 999), max_size=12), st.data())
def test_subsets_of_subsets(labels, data):
    whole = in_memory([{"label": label} for label in labels], data_prefix={})
    assert labels_of(whole) == labels
    places = data.draw(st.lists(st.integers(0, len(labels) - 1), max_size=12) if labels else st.just([]))
    part = whole.get_subset(places)
    assert labels_of(part) == [labels[place] for place in places]
    count = data.draw(st.integers(-14, 14))
    expected = labels_of(part)[:count] if count >= 0 else labels_of(part)[count:]
    assert labels_of(part.get_subset(count)) == expected


def test_a_subset_is_apart(root):
    whole = Shapes("train.json", data_root=str(root), pipeline=[Adds(1)], serialize_data=False)
    part = whole.get_subset(2)
    part.pipeline.transforms[0].number = 5
    part.data_list[0]["label"] = 9
    assert (whole[0]["label"], part[0]["label"]) == (1, 14)


@pytest.mark.parametrize("index", [7, -8, 100])
def test_out_of_range(root, index):
    dataset = Shapes("train.json", data_root=str(root))
    with pytest.raises(IndexError, match=rf"There is no sample {index}: Shapes has 7 samples"):
        dataset[index]
    with pytest.raises(IndexError, match=rf"There is no sample {index}: Shapes has 7 samples"):
        dataset.get_subset([0, index])
    with pytest.raises(TypeError, match="a whole number as its index, but this is 'a'"):
        dataset["a"]


# Lazy


def test_lazy_is_read_when_it_is_needed(root):
    calls = []

    class Counts(Shapes):
        def load_data_list(self):
            calls.append(1)
            return super().load_data_list()

    for need in (
        len,
        operator.itemgetter(0),
        lambda d: d.get_data_info(0),
        lambda d: d.get_subset(1),
        lambda d: d.get_subset_(1),
    ):
        calls.clear()
        dataset = Counts("train.json", data_root=str(root), lazy_init=True)
        assert dataset.metainfo == Shapes.METAINFO
        assert calls == []
        need(dataset)
        dataset.full_init()
        assert calls == [1]


def test_lazy_in_a_worker_is_worth_a_warning(root, capfd):
    dataset = Shapes("train.json", data_root=str(root), lazy_init=True)
    loader = DataLoader(dataset, sampler=range(7), batch_size=7, num_workers=1, collate_fn=len)
    assert list(loader) == [7]
    written = "".join(capfd.readouterr())
    assert "Shapes was not initialised when the workers" in written
    assert list(build_dataloader({"dataset": dataset, "batch_size": 7, "num_workers": 1, "collate_fn": len}, 0)) == [7]
    assert "was not initialised" not in "".join(capfd.readouterr())


def test_force_full_init_wants_something_to_call():
    class Bare:
        @force_full_init
        def size(self):
            """Say how much there is."""

    with pytest.raises(AttributeError, match=r"Bare uses force_full_init, so it must have a method full_init\(\)"):
        Bare().size()
    assert Bare.size.__doc__ == "Say how much there is."


# Keeping


def test_what_is_handed_out_is_new_each_time(root):
    for serialize_data in (True, False):
        dataset = Shapes("train.json", data_root=str(root), serialize_data=serialize_data)
        dataset.get_data_info(0)["label"] = 7
        assert dataset.get_data_info(0)["label"] == 0


def test_it_can_be_pickled(root):
    dataset = pickle.loads(pickle.dumps(BaseDataset("train.json", data_root=str(root))))
    assert dataset[3]["label"] == 0
    assert len(dataset) == 7


def test_what_cannot_be_pickled_is_named():
    class Open(BaseDataset):
        def load_data_list(self):
            return [{"label": 1}, {"stream": sys.stdout}]

    with pytest.raises(TypeError) as caught:
        Open()
    assert caught.value.__notes__ == [
        "Item 1 of the data list cannot be pickled: give serialize_data=False, or leave out what cannot."
    ]


class Heavy(BaseDataset):
    """20 MB of strings."""

    def load_data_list(self):
        return [{"text": f"{number:1000}"} for number in range(20_000)]


def own_megabytes(info):
    """Return how much memory a process has for itself, at the first sample and at the last."""
    if info["sample_idx"] not in (0, 19_999):
        return 0
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="utf-8").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty")) / 1024


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux")
def test_workers_do_not_copy_what_is_serialised():
    grown = {}
    for serialize_data in (True, False):
        dataset = Heavy(serialize_data=serialize_data, pipeline=[own_megabytes])
        loader = DataLoader(dataset, batch_size=500, num_workers=1, multiprocessing_context="fork", collate_fn=list)
        figures = [figure for batch in loader for figure in batch]
        grown[serialize_data] = figures[-1] - figures[0]
    assert grown[True] < 5
    assert grown[False] > 15, "which shows that copies would be seen"


# Pipelines


class Adds:
    def __init__(self, number):
        self.number = number

    def __call__(self, info):
        return {**info, "label": info["label"] + self.number}

    def __repr__(self):
        return f"Adds({self.number})"


class Refuses:
    """Returns None for samples of some labels."""

    def __init__(self, *labels):
        self.labels = labels

    def __call__(self, info):
        return None if info["label"] in self.labels else info

    def __repr__(self):
        return f"Refuses{self.labels}"


def test_the_steps_come_one_after_the_other(root):
    dataset = Shapes("train.json", data_root=str(root), pipeline=[Adds(1), Adds(10), lambda info: info["label"]])
    assert list(dataset) == [11, 12, 13, 11, 12, 13, 11]


def test_steps_by_config():
    TRANSFORMS.register_module(module=Adds)
    try:
        compose = Compose([{"type": "Adds", "number": 2}, {"type": Adds, "number": 3}])
        with pytest.raises(TypeError) as caught:
            Compose([Adds(1), {"type": "Adds", "nmber": 2}])
        with pytest.raises(KeyError, match="Did you mean 'Adds'"):
            Compose([{"type": "Addds"}])
    finally:
        del TRANSFORMS._module_dict["Adds"]
    assert compose({"label": 0})["label"] == 5
    assert repr(compose) == "Compose(\n    Adds(2)\n    Adds(3)\n)"
    assert "Raised while building step 2 of the pipeline." in caught.value.__notes__


@pytest.mark.parametrize(
    ("transforms", "message"),
    [
        ("Resize", r"A pipeline is a list of transforms.*'Resize' \(str\)"),
        (Adds(1), "A pipeline is a list of transforms"),
        ([Adds(1), 3], "Step 2 of the pipeline must be a function"),
        ([Adds], r"Step 1 of the pipeline is the class Adds itself: write Adds\(\.\.\.\)"),
        ([{"type": dict}], r"Step 1 of the pipeline must be a function.*\{\}"),
    ],
)
def test_what_is_no_pipeline(transforms, message):
    with pytest.raises(TypeError, match=message):
        Compose(transforms)


def test_an_empty_pipeline_and_one_that_ends_early():
    assert Compose(None)(3) == Compose([])(3) == 3
    reached = []
    compose = Compose([Refuses(1), reached.append])
    assert compose({"label": 1}) is None
    assert (reached, compose.stopped_at) == ([], 1)


def test_an_error_names_sample_and_step(root):
    dataset = Shapes("train.json", data_root=str(root), pipeline=[Adds(1), operator.itemgetter("labels")])
    with pytest.raises(KeyError) as caught:
        dataset[4]
    assert caught.value.__notes__ == [
        "Raised by step 2 of the pipeline, operator.itemgetter('labels').",
        "This was for sample 4 of Shapes.",
    ]


def test_a_refused_sample_is_replaced(root):
    dataset = Shapes("train.json", data_root=str(root), pipeline=[Refuses(0, 1)])
    assert [dataset[index]["label"] for index in range(7)] == [2] * 7
    assert dataset[2]["sample_idx"] == 2, "others are as they were"


def test_nothing_but_refusals_is_an_error(root):
    asked = []
    dataset = Shapes("train.json", data_root=str(root), pipeline=[asked.append], max_refetch=4)
    with pytest.raises(
        ValueError,
        match=r"Step 1 of the pipeline, <built-in.*returned None, and .* sample 3 of Shapes and for 4 others",
    ):
        dataset[3]
    assert len(asked) == 5
    assert asked[0]["sample_idx"] == 3


def test_a_refusal_in_test_mode_is_an_error(root):
    dataset = Shapes("train.json", data_root=str(root), pipeline=[Adds(0), Refuses(1)], test_mode=True)
    assert dataset[0]["label"] == 0
    with pytest.raises(
        ValueError, match=r"Step 2 of the pipeline, Refuses\(1,\), returned None for sample 1 of Shapes"
    ):
        dataset[1]

    class Own(Shapes):
        def prepare_data(self, idx):
            return None

    with pytest.raises(ValueError, match=r"prepare_data\(\) returned None for sample 1 of Own"):
        Own("train.json", data_root=str(root), test_mode=True)[1]


# In a loader


def rolls(info):
    """Return what a random transform may draw, and refuse some samples at random."""
    drawn = np.random.random()
    return None if drawn < 0.4 else (info["sample_idx"], drawn, torch.rand(()).item())


@pytest.mark.parametrize("serialize_data", [True, False])
def test_replacements_do_not_depend_on_the_number_of_workers(root, serialize_data):
    def passes(workers):
        config = {
            "dataset": {
                "type": BaseDataset,
                "ann_file": "train.json",
                "data_root": str(root),
                "pipeline": [rolls],
                "serialize_data": serialize_data,
            },
            "sampler": {"type": "DefaultSampler", "shuffle": True},
            "batch_size": 2,
            "num_workers": workers,
        }
        loader = resumable(build_dataloader(config, seed=3), 3)
        return [list(pass_over(loader, number, seed=3, sample_seeding=True)) for number in range(2)]

    alone = passes(0)
    assert passes(2) == alone
    assert alone[0] != alone[1]
    indices = [index for batch in alone[0] for index, *_ in batch]
    assert sorted(indices) != list(range(7)), "some were replaced"


class Points(BaseDataset):
    """Numbers in a file, for a run."""

    def prepare_data(self, idx):
        sample = super().prepare_data(idx)
        return None if sample is None else (torch.tensor(sample["x"]), sample["label"])


def blurred(sample):
    """Add noise, and refuse a sample now and then."""
    noise = np.random.normal(size=6).tolist()
    return (
        None
        if noise[0] > 1
        else {**sample, "x": [value + more for value, more in zip(sample["x"], noise, strict=True)]}
    )


def test_a_run_from_a_config_does_not_depend_on_workers_and_knows_the_metainfo(tmp_path, make_runner):
    samples = [{"x": [float(number + place) for place in range(6)], "label": number % 3} for number in range(10)]
    dump({"metainfo": {"classes": ["a", "b", "c"]}, "data_list": samples}, tmp_path / "points.json")

    def loader(workers, **options):
        dataset = {"type": Points, "ann_file": "points.json", "data_root": str(tmp_path), "data_prefix": {}, **options}
        return {"dataset": dataset, "batch_size": 5, "num_workers": workers, "collate_fn": "default_collate"}

    ended = []
    for workers in (0, 2):
        runner = make_runner(
            work_dir=tmp_path / f"{workers} workers",
            train_dataloader={**loader(workers, pipeline=[blurred]), "shuffle": True},
            val_dataloader=loader(workers, test_mode=True),
        )
        model = runner.train()
        assert runner.val_evaluator.dataset_meta == {"classes": ["a", "b", "c"]}
        ended.append(torch.cat([weight.detach().flatten() for weight in model.parameters()]))
    assert torch.equal(*ended)
