"""What loops share: a runner, data, a position, and when to validate."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..dataset import cannot_seek, load_loader_state, loader_state, pass_over, place_of, resumable
from ..utils import Stream, check_count, mix
from .signals import BETWEEN

if TYPE_CHECKING:
    from torch.utils.data import DataLoader

    from .runner import Runner

__all__ = ["BaseLoop", "BaseTrainLoop", "check_any", "whole_number"]


class BaseLoop(ABC):
    """A loop over a data loader, on behalf of a runner.

    Args:
        runner: Its parts are used, and its hooks called.
        dataloader: A loader, or its config.
        name: Of several loaders, which one this is, for messages.
    """

    mode = "train"
    """``train``, ``val`` or ``test``."""

    def __init__(self, runner: Runner, dataloader: DataLoader[Any] | Mapping[str, Any], name: str = "") -> None:
        self.runner = runner
        self._data_seed = runner.seed if self.mode == "train" else mix(Stream.EVALUATION, runner.seed)
        self.dataloader = self._build_dataloader(dataloader, name)

    def _build_dataloader(self, dataloader: DataLoader[Any] | Mapping[str, Any], name: str) -> DataLoader[Any]:
        runner, path = self.runner, f"{self.mode}_dataloader{'.' * bool(name)}{name}"
        loader = runner.build_dataloader(dataloader, seed=runner.seed, name=path)
        # Data of an evaluation seldom draw, and for samples that cost little to read a seed each would double the time.
        return resumable(loader, self._data_seed, runner.sample_seeding, once_a_batch=self.mode != "train")

    @property
    def num_batches(self) -> int | None:
        """Batches in one pass over the data, or None where the loader does not know."""
        try:
            return len(self.dataloader)
        except TypeError:
            return None

    def batches(self, number: int = 0, done: int = 0, restored: bool = False) -> Generator[Any]:
        """Make a pass over the data; see :func:`mainspring.dataset.pass_over`."""
        return pass_over(
            self.dataloader,
            number,
            done,
            seed=self._data_seed,
            sample_seeding=self.runner.sample_seeding,
            restored=restored,
        )

    @abstractmethod
    def run(self) -> Any:
        """Run the loop."""


class BaseTrainLoop(BaseLoop):
    """What training loops share: the position of the run, the stop flag, and when to validate.

    Args:
        runner: See :class:`BaseLoop`.
        dataloader: See :class:`BaseLoop`.
        val_begin: No validation before this many epochs or iterations.
        val_interval: Epochs or iterations from one validation to the next; there is always one at the end.
        dynamic_intervals: Pairs of (milestone, interval): from the milestone on, ``val_interval`` is the other.
    """

    by_epoch = True
    """Whether the loop counts epochs or iterations, for validations above all."""

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader[Any] | Mapping[str, Any],
        val_begin: int = 1,
        val_interval: int = 1,
        dynamic_intervals: Sequence[tuple[int, int]] | None = None,
    ) -> None:
        super().__init__(runner, dataloader)
        self._epoch = 0
        self._iter = 0
        self._max_epochs = 1
        self._max_iters = 1
        self._pass = 0
        self._pass_begin = 0
        self._data_restored = False
        # Of stretches of iterations the first, with the pass and its begin that hold from there on.
        self._stretches: deque[tuple[int, int, int]] = deque(maxlen=1000)
        self._val_due = False
        self.draws_batches = False
        """Whether a pass over the data is being made, between whose batches the loop itself heeds signals."""
        self.uses_rest_of_pass = False
        """Whether the data are read by :meth:`rest_of_pass`; a user's loop may iterate over them in its own way."""
        self.left_out: set[tuple[int, int]] = set()
        """Batches that are passed over: the pass over the data, and the number in it, both from 0."""
        self.stop_training = False
        """Set it to end the run after the running iteration (iteration loop) or epoch (epoch loop)."""
        why = cannot_seek(self.dataloader)
        if why is not None:
            runner.logger.warning(
                "If this run stops within a pass over train_dataloader and goes on later, it reads the pass from its"
                f" beginning again and drops what it has used: {why}."
            )
        self.val_begin = whole_number(val_begin, "val_begin")
        self.val_interval = whole_number(val_interval, "val_interval")
        pairs = _checked_pairs(dynamic_intervals)
        self.dynamic_milestones = [0, *(milestone for milestone, _ in pairs)]
        self.dynamic_intervals = [val_interval, *(interval for _, interval in pairs)]

    @property
    def epoch(self) -> int:
        """Epochs that are finished."""
        return self._epoch

    @property
    def iter(self) -> int:
        """Iterations that are finished."""
        return self._iter

    @property
    def max_epochs(self) -> int:
        """Epochs of the whole run."""
        return self._max_epochs

    @property
    def max_iters(self) -> int:
        """Iterations of the whole run."""
        return self._max_iters

    @abstractmethod
    def should_validate(self, epoch: int, iteration: int) -> bool:
        """Whether a validation follows when so many epochs and iterations are finished."""

    def _is_val_time(self, done: int, last: int) -> bool:
        self.val_interval = self.dynamic_intervals[bisect(self.dynamic_milestones, done + 1) - 1]
        return (
            self.runner.val_loop is not None
            and done >= self.val_begin
            and (done % self.val_interval == 0 or done == last)
        )

    def validate(self) -> None:
        """Run the validation loop, and go back to training."""
        self._val_due = True  # a stop within abandons it, and the run that goes on begins with it
        if self.runner.val_loop is not None:
            self.runner.val_loop.run()
        self._val_due = False
        self.runner.model.train()

    def make_up_validation(self) -> None:
        """Run the validation that was due when the run stopped, if one was."""
        if self._val_due:
            self.validate()

    def rest_of_pass(self) -> Iterator[tuple[int, Any]]:
        """Yield what is left of the pass over the data in which the run stands, with the numbers in the pass."""
        self.uses_rest_of_pass = True
        done = self._iter - self._pass_begin
        restored, self._data_restored = self._data_restored, False
        skipped = {number for number_of_pass, number in self.left_out if number_of_pass == self._pass}
        self._stretches.append((self._iter, self._pass, self._pass_begin))
        batches = self.batches(self._pass, done, restored)
        numbered = enumerate(batches, done)
        self.draws_batches = True
        life = self.runner.life
        try:
            while True:
                if life.signals.noted:
                    life.heed_signals(BETWEEN)  # now, when the data stand where the run does
                drawn = next(numbered, None)
                if drawn is None:
                    break
                number, batch = drawn
                if number in skipped:
                    self._pass_begin -= 1  # the pass goes on, and the iterations do not
                    self._stretches.append((self._iter, self._pass, self._pass_begin))
                else:
                    yield number, batch
        finally:
            self.draws_batches = False
            batches.close()  # ends its workers
        check_any(self._iter - self._pass_begin, self.dataloader, "train_dataloader")
        self._pass, self._pass_begin = self._pass + 1, self._iter

    def place_of_batch(self, iteration: int) -> tuple[int, int] | None:
        """Return what an iteration was trained on: the pass over the data, and the number in it, both from 0.

        None where this process has not trained on it, or very long ago.
        """
        for first, number_of_pass, begin in reversed(self._stretches):
            if first <= iteration <= self._iter:
                return number_of_pass, iteration - begin
        return None

    def left_out_ahead(self, passes: int) -> int:
        """Return how many batches will be passed over in the rest of this pass over the data and in those behind it.

        Args:
            passes: The passes that are to come, with the one that is running.
        """
        here, end = (self._pass, self._iter - self._pass_begin), (self._pass + passes, 0)
        return sum(here <= place < end for place in self.left_out)

    def leave_out(self, place: tuple[int, int]) -> None:
        """Pass over a batch from now on; the run goes back to a checkpoint from before it next.

        It stays in the state of the loop: a state that is loaded later adds to those that are passed over. An epoch
        with such a batch has an iteration less; a run that counts iterations takes the batch behind it.

        Args:
            place: The pass over the data, and the number in it, as from :meth:`place_of_batch`.
        """
        self.left_out.add(place)
        self.stop_training = False  # what has asked for it lies ahead again

    def state_dict(self) -> dict[str, Any]:
        """Return where the run will stand when the stage that is running, if any, is over.

        At the end of an iteration the hooks are called while ``iter`` does not count it yet; a checkpoint that one of
        them saves does. It also says whether a validation was about to follow or is running (``val_due``), which pass
        over the data is running (``pass``) and at which iteration that began (``pass_begin``), both where the loop
        knows, what the data keeps by itself (``data``), and which batches are passed over (``left_out``).
        """
        running = self.runner.running_stages
        epoch = self._epoch + ("after_train_epoch" in running)
        iteration = self._iter + ("after_train_iter" in running)
        ending = "after_train_epoch" if self.by_epoch else "after_train_iter"
        if ending in running:
            due = self.should_validate(epoch, iteration)
        else:
            due = self._val_due and not {"after_val_epoch", "after_val"} & set(running)
        return {
            "epoch": epoch,
            "iter": iteration,
            "val_due": due,
            **({"pass": self._pass, "pass_begin": self._pass_begin} if self.uses_rest_of_pass else {}),
            "num_batches": self.num_batches,
            "data": loader_state(self.dataloader),
            "left_out": [list(place) for place in sorted(self.left_out)],
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go to a position; one that tells only epoch and iteration is taken for one within a pass of usual length."""
        self._epoch = state_dict["epoch"]
        self._iter = state_dict["iter"]
        self._val_due = state_dict.get("val_due", False)
        self.uses_rest_of_pass = "pass" in state_dict or "num_batches" not in state_dict
        if "pass" in state_dict:
            self._pass, self._pass_begin = state_dict["pass"], state_dict["pass_begin"]
        elif self.by_epoch:
            length = state_dict.get("num_batches", self.num_batches) or 0
            self._pass, self._pass_begin = self._epoch, min(self._epoch * length, self._iter)
        else:
            self._pass, done = place_of(self.dataloader, self._iter)
            self._pass_begin = self._iter - done
        self._data_restored = load_loader_state(self.dataloader, state_dict.get("data"))
        self._stretches.clear()
        self.left_out.update((number_of_pass, number) for number_of_pass, number in state_dict.get("left_out", ()))


def check_any(batches: int, dataloader: DataLoader[Any], name: str) -> None:
    """Raise a ``ValueError`` if a pass over the data had no batch, as iterable data may turn out."""
    if batches == 0:
        raise ValueError(
            f"{name} gives no batch: a pass over the data set {type(dataloader.dataset).__name__} ends at once. Check"
            " the path of its files and what its filters leave over."
        )


def _checked_pairs(given: Any) -> list[tuple[int, int]]:
    """Return ``dynamic_intervals`` in the order of their milestones."""
    if given is None:
        return []
    if not isinstance(given, Sequence) or any(not isinstance(pair, Sequence) or len(pair) != 2 for pair in given):
        raise TypeError(
            "train_cfg.dynamic_intervals must be a list of pairs (milestone, interval), such as [(10, 2)], but it is"
            f" {given!r}."
        )
    name = "dynamic_intervals"
    return sorted((whole_number(one, name, least=0), whole_number(other, name)) for one, other in given)


def whole_number(value: int, name: str, least: int = 1) -> int:
    """Return a number of ``train_cfg``, or raise an error that names it unless it is whole and large enough."""
    check_count(value, f"train_cfg.{name}", least)
    return value
