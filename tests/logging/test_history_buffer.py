import copy
import math
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.overrides import TorchFunctionMode, resolve_name

from mainspring.logging import HistoryBuffer, history_buffer


class Recorder(TorchFunctionMode):
    """Notes the torch functions and methods that are called."""

    def __init__(self):
        super().__init__()
        self.called = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.called.append(resolve_name(func) or getattr(func, "__name__", str(func)))
        return func(*args, **(kwargs or {}))


@pytest.fixture(autouse=True, params=["on the CPU", "on a device"])
def where_tensors_lie(request):
    if request.param == "on a device":
        request.getfixturevalue("as_on_a_device")


READS = ("item", "tolist", "cpu", "numpy", "__bool__", "__float__", "__int__", "__index__", "__array__", "to")


def reads(called):
    return [name for name in called if name.rpartition(".")[2] in READS]


def test_statistics_of_numbers():
    buffer = HistoryBuffer([1, 2, 3], [1, 2, 2])
    assert buffer.mean() == 6 / 5
    assert buffer.mean(2) == 5 / 4
    assert buffer.mean(window_size=10) == 6 / 5
    assert (buffer.min(), buffer.max(), buffer.current()) == (1, 3, 3)
    assert (buffer.min(2), buffer.max(2)) == (2, 3)
    buffer.update(-7, count=3)
    assert buffer.mean(1) == -7 / 3
    assert buffer.statistics("min", window_size=2) == -7
    assert buffer.statistics("max", 3) == 3
    assert all(type(value) is float for value in (buffer.mean(), buffer.min(), buffer.max(), buffer.current()))


def test_a_mean_of_nothing_counted_is_nan():
    buffer = HistoryBuffer()
    buffer.update(1.0, count=0)
    assert math.isnan(buffer.mean())


def test_nan_shows():
    buffer = HistoryBuffer()
    for value in (1.0, math.nan, torch.tensor(2.0)):
        buffer.update(value)
    assert all(math.isnan(value) for value in (buffer.mean(), buffer.min(), buffer.max()))
    assert buffer.mean(1) == 2.0


@pytest.mark.parametrize("statistic", ["mean", "min", "max", "current"])
def test_an_empty_history_has_no_statistics(statistic):
    with pytest.raises(ValueError, match="The history of 'train/loss' is empty"):
        HistoryBuffer(name="train/loss").statistics(statistic)


@pytest.mark.parametrize("window_size", [0, -3])
@pytest.mark.parametrize("statistic", ["mean", "min", "max"])
def test_a_window_is_not_empty(statistic, window_size):
    with pytest.raises(ValueError, match="window_size must be at least 1"):
        HistoryBuffer([1.0], [1]).statistics(statistic, window_size)


def test_wrong_arguments_of_the_constructor():
    with pytest.raises(ValueError, match="2 values and 1 counts"):
        HistoryBuffer([1, 2], [1])
    with pytest.raises(ValueError, match="max_length"):
        HistoryBuffer(max_length=0)


@pytest.mark.parametrize("value", ["0.5", None, [1.0]])
def test_what_is_no_number_is_refused_at_once(value):
    with pytest.raises(TypeError, match="'train/loss' must be a number or a tensor with one element"):
        HistoryBuffer(name="train/loss").update(value)


@pytest.mark.parametrize("value", [torch.ones(2), torch.ones(0), np.ones((1, 2))])
def test_what_has_not_one_element_is_refused_at_once(value):
    with pytest.raises(ValueError, match=r"'train/loss' must have one element, but its shape is \("):
        HistoryBuffer(name="train/loss").update(value)


@pytest.mark.parametrize("count", ["1", torch.tensor(1), None])
def test_a_count_is_a_number(count):
    with pytest.raises(TypeError, match="count"):
        HistoryBuffer().update(1.0, count)


@pytest.mark.parametrize(
    "dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64, torch.int32, torch.int64, torch.uint8]
)
def test_every_dtype_arrives_exactly(dtype):
    buffer = HistoryBuffer()
    tensor = torch.tensor(77.125).to(dtype)
    buffer.update(tensor)
    values, counts = buffer.data
    assert values.dtype == counts.dtype == np.float64
    assert values.tolist() == [tensor.to(torch.float64).item()]


def test_dtypes_mix():
    buffer = HistoryBuffer()
    large = 2**40 + 1
    given = [
        (torch.tensor(True), 1.0),
        (0.1, 0.1),
        (torch.tensor(0.1, dtype=torch.float64), 0.1),
        (torch.tensor(60000.0, dtype=torch.float16), 60000.0 // 32 * 32),
        (torch.tensor(large), float(large)),
        (np.float32(0.5), 0.5),
        (np.array([[4]]), 4.0),
        (torch.tensor([[2.0]]), 2.0),
        (3, 3.0),
    ]
    for value, _ in given:
        buffer.update(value)
    assert buffer.data[0].tolist() == [expected for _, expected in given]


@pytest.mark.usefixtures("as_on_a_device")
def test_nothing_is_read_before_it_is_asked_for():
    buffer = HistoryBuffer()
    tensors = [torch.tensor(float(i)) for i in range(1100)]
    with Recorder() as recorder:
        for tensor in tensors:
            buffer.update(tensor)
    assert reads(recorder.called) == []
    assert sum(name.endswith("stack") for name in recorder.called) == 2  # the waiting ones were joined twice
    with Recorder() as recorder:
        assert buffer.mean() == sum(range(1100)) / 1100
        assert buffer.max() == 1099
    assert [name.rpartition(".")[2] for name in reads(recorder.called)] == ["cpu", "tolist"]


def test_what_is_not_on_the_host_is_not_read():
    buffer = HistoryBuffer()
    for _ in range(600):
        buffer.update(torch.ones((), device="meta"))  # reading it would fail
    assert buffer.total_updates == 600


def test_the_graph_is_let_go():
    weight = torch.ones(3, requires_grad=True)
    hidden = weight * 2
    buffer = HistoryBuffer()
    buffer.update(hidden.sum())
    gone = weakref.ref(hidden)
    del hidden
    assert gone() is None
    assert buffer.current() == 6.0


def test_what_changes_in_place_is_logged_as_it_was():
    buffer = HistoryBuffer()
    running = torch.zeros(())
    for _ in range(3):
        running += 1
        buffer.update(running)
    batch = torch.tensor([5.0, 6.0])
    buffer.update(batch[1])
    batch.zero_()
    parameter = torch.nn.Parameter(torch.tensor(7.0))
    buffer.update(parameter)
    with torch.no_grad():
        parameter.mul_(2)
    with torch.inference_mode():
        frozen = torch.tensor(9.0)
        buffer.update(frozen)
        frozen += 1
    assert buffer.data[0].tolist() == [1, 2, 3, 6, 7, 9]


def test_a_view_does_not_keep_a_large_tensor_alive():
    large = torch.zeros(1000)
    gone = weakref.ref(large.untyped_storage())
    buffer = HistoryBuffer()
    buffer.update(large[7])
    del large
    assert gone() is None


@pytest.mark.usefixtures("as_on_a_device")
def test_a_change_that_cannot_be_undone_is_told_once(capsys):
    buffer = HistoryBuffer(name="train/acc")
    for _ in range(3):
        fresh = torch.tensor(0.5)
        buffer.update(fresh)
        fresh *= 100
        assert buffer.current() == 50.0
    printed = capsys.readouterr().out
    assert printed.count("WARNING") == 1
    assert "'train/acc' and then changed in place" in printed


def test_only_the_newest_are_kept_and_the_sums_go_on():
    buffer = HistoryBuffer([5] * 4, [1] * 4, max_length=3)
    assert buffer.data[0].tolist() == [5, 5, 5]
    buffer.update(9, count=2)
    assert buffer.data[0].tolist() == [5, 5, 9]
    assert (buffer.total_sum, buffer.total_count, buffer.total_updates) == (29, 6, 5)
    assert buffer.mean() == buffer.mean(5) == buffer.mean(1000) == 29 / 6
    assert buffer.mean(4) == buffer.mean(3) == 19 / 4  # of what is kept


@pytest.mark.usefixtures("as_on_a_device")
def test_a_history_that_nobody_reads_is_bounded():
    buffer = HistoryBuffer(max_length=1000)
    one = torch.ones(())
    for _ in range(5000):
        buffer.update(one)
    runs = buffer._waiting._runs
    assert sum(len(run.counts) for run in runs) <= 1000 + 512
    assert sum(tensor.nbytes for run in runs for tensor in run.values) <= 4 * (1000 + 512)
    assert buffer.mean() == 1
    assert (buffer.total_sum, buffer.total_count, buffer.total_updates) == (5000, 5000, 5000)
    assert len(buffer.data[0]) == 1000


KINDS = {
    "number": float,
    "integer": int,
    "numpy": np.float32,
    "tensor": lambda value: torch.tensor(float(value)),
    "half": lambda value: torch.tensor(value, dtype=torch.bfloat16),
    "index": torch.tensor,
    "matrix": lambda value: torch.tensor([[float(value)]]),
}
ENTRIES = st.tuples(st.sampled_from(sorted(KINDS)), st.integers(-100, 100), st.integers(1, 3), st.booleans())


@given(st.lists(ENTRIES, max_size=60), st.integers(1, 20), st.integers(1, 25))
def test_reads_change_nothing(entries, max_length, window):
    fold, history_buffer._FOLD = history_buffer._FOLD, 4
    try:
        buffer = HistoryBuffer(max_length=max_length)
        for kind, value, count, read in entries:
            buffer.update(KINDS[kind](value), count)
            if read:
                buffer.current()
    finally:
        history_buffer._FOLD = fold
    values = [value for _, value, _, _ in entries]
    counts = [count for _, _, count, _ in entries]
    assert buffer.total_updates == len(entries)
    assert (buffer.total_sum, buffer.total_count) == (sum(values), sum(counts))
    assert buffer.data[0].tolist() == values[-max_length:]
    assert buffer.data[1].tolist() == counts[-max_length:]
    if entries:
        assert buffer.mean() == pytest.approx(sum(values) / sum(counts))
        if window <= max_length:
            assert buffer.max(window) == max(values[-window:])
            assert buffer.mean(window) == pytest.approx(sum(values[-window:]) / sum(counts[-window:]))


def test_registered_statistics():
    @HistoryBuffer.register_statistics
    def weighted_sum(self, window_size, weight):
        return float((self._log_history[-window_size:] * np.array(weight)).sum() / self._count_history.sum())

    try:
        buffer = HistoryBuffer([1, 2], [1, 1])
        assert buffer.statistics("weighted_sum", 2, weight=[2, 1]) == 2
        with pytest.raises(KeyError, match=r"no statistic called 'weighted_sun'\. Did you mean 'weighted_sum'"):
            buffer.statistics("weighted_sun")
        HistoryBuffer.register_statistics(weighted_sum)  # a notebook cell that runs again
        with pytest.raises(ValueError, match="'mean' already"):

            @HistoryBuffer.register_statistics
            def mean(self):
                return 0
    finally:
        del HistoryBuffer._statistics_methods["weighted_sum"]


def test_the_state_is_small_plain_and_complete(tmp_path):
    buffer = HistoryBuffer(max_length=100)
    for step in range(700):
        buffer.update(torch.tensor(step / 7), count=step % 3 + 1)
    torch.save(buffer.state_dict(), tmp_path / "state.pth")
    assert (tmp_path / "state.pth").stat().st_size < 10_000
    resumed = HistoryBuffer([3.0], [1], max_length=100)
    resumed.update(torch.tensor(1.0))
    resumed.load_state_dict(torch.load(tmp_path / "state.pth", weights_only=True))
    for one in (buffer, resumed):
        one.update(0.25)
    assert resumed.data[0].tolist() == buffer.data[0].tolist()
    assert resumed.data[1].tolist() == buffer.data[1].tolist()
    assert (resumed.mean(), resumed.mean(50)) == (buffer.mean(), buffer.mean(50))
    assert resumed.total_updates == 701


def test_a_shorter_buffer_loads_the_newest():
    long, short = HistoryBuffer(range(10), [1] * 10), HistoryBuffer(max_length=3)
    short.load_state_dict(long.state_dict())
    assert short.data[0].tolist() == [7, 8, 9]
    assert short.mean() == 4.5


def test_a_copy_goes_its_own_way():
    buffer = HistoryBuffer()
    buffer.update(torch.tensor(1.0))
    copied = copy.deepcopy(buffer)
    copied.update(3.0)
    assert (buffer.mean(), copied.mean()) == (1.0, 2.0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_no_synchronisation_on_cuda():
    buffer = HistoryBuffer(max_length=1000)
    tensors = [torch.tensor(1.0, device="cuda"), torch.tensor(1, device="cuda")]
    torch.cuda.set_sync_debug_mode("error")
    try:
        for step in range(5000):
            buffer.update(tensors[step // 7 % 2])
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert (buffer.total_sum, buffer.mean(), len(buffer.data[0])) == (5000, 1, 1000)


def test_the_value_can_be_given_by_name():
    buffer = HistoryBuffer()
    buffer.update(log_val=3.0, count=2)
    assert buffer.mean() == 1.5
