"""The runner: what a user configures, put together in one order and run."""

from __future__ import annotations

import dataclasses
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import torch
from torch import nn

from ..checkpoint import CheckpointFolder, CheckpointWriter, load_weights
from ..dataset import build_dataloader
from ..hooks import Hook, OptimizerModesHook, RunningStreamsHook
from ..hooks.bad_number_error import name_of_places
from ..hooks.bad_numbers_hook import RollBack
from ..hooks.optimizer_modes_hook import optimizers_with_modes
from ..logging import MessageHub, MMLogger
from ..model import (
    BaseModule,
    Compile,
    compile_model,
    turn_on_activation_checkpointing,
    turn_on_efficient_conv_bn_eval,
)
from ..optim import OptimWrapper, build_optim_wrapper
from ..optim.scheduler.chain import scale_parameter
from ..registry import RUNNERS, building_within, init_default_scope
from ..utils import check_type, display_path, options_from
from . import build, hook_states, state
from .earlier import checkpoint_folders, starting_point
from .environment import Environment
from .facts import RunFacts
from .findings import raise_errors, report
from .fingerprint import check_allowed
from .kept_config import keep_config
from .life import Life
from .look_over import look_over
from .options import AutoScaleLR
from .processes import share_gradients, with_sync_batchnorm

if TYPE_CHECKING:
    from torch.utils.data import DataLoader

    from ..evaluator import Evaluator
    from ..model import BaseModel, Route
    from ..visualization import Visualizer
    from .base_loop import BaseLoop, BaseTrainLoop
    from .check_report import CheckReport
    from .log_processor import LogProcessor
    from .loops import TestLoop, ValLoop

__all__ = ["Runner"]

Cfg = Mapping[str, Any]
Loop = TypeVar("Loop", bound="BaseLoop")


@RUNNERS.register_module()
class Runner(RunFacts):
    """Trains, validates and tests a model.

    Every part may be given as an object or as a config dict. What belongs to training (``train_dataloader``,
    ``train_cfg``, ``optim_wrapper``), to validation (``val_dataloader``, ``val_cfg``, ``val_evaluator``) and to
    testing is given together or not at all.

    Args:
        model: An ``nn.Module`` with ``train_step``, ``val_step`` and ``test_step``, as :class:`BaseModel` has them.
        work_dir: Where checkpoints, logs and results go.
        train_dataloader: The training data: a ``torch.utils.data.DataLoader``, or its config.
        val_dataloader: The validation data.
        test_dataloader: The test data.
        train_cfg: How long to train: ``dict(by_epoch=True, max_epochs=10, val_interval=1)``,
            ``dict(by_epoch=False, max_iters=10000)``, or ``dict(type='MyLoop', ...)``.
        val_cfg: Options of the validation loop; ``dict()`` takes the defaults.
        test_cfg: Options of the test loop.
        auto_scale_lr: ``dict(base_batch_size=256, enable=True)`` scales the learning rate with the batch size.
        optim_wrapper: The optimizer: ``dict(optimizer=dict(type='SGD', lr=0.1))``, or an object. Several optimizers are
            a dict by the names of the submodules that they train: ``dict(generator=dict(optimizer=...), ...)``.
        param_scheduler: Schedules of the learning rate and other parameters: one or a list; for several optimizers a
            dict of these by their names, or what each of them gets.
        val_evaluator: The metrics of validation: one or a list.
        test_evaluator: The metrics of testing.
        default_hooks: Changes to the default hooks, by slot: ``dict(checkpoint=dict(type='CheckpointHook',
            interval=5))``; None in a slot leaves that hook out.
        custom_hooks: More hooks.
        data_preprocessor: The model's data preprocessor, used when the model's config names none.
        load_from: A checkpoint from which the weights are taken before anything is run.
        resume: True or ``'auto'`` goes on from the newest whole checkpoint in ``work_dir``, or begins where there
            is none. With True, ``load_from`` names the checkpoint to go on from; with ``'auto'``, it gives the weights
            for a beginning.
        launcher: What has started the processes of the run: ``'pytorch'`` (torchrun), ``'slurm'`` (srun), ``'mpi'``
            (Open MPI's mpirun), ``'none'`` for one process, or ``'auto'``, which finds out.
        env_cfg: See :class:`~mainspring.runner.options.EnvCfg`.
        log_processor: How log lines are made.
        log_level: The lowest level that is logged.
        visualizer: Where scalars go.
        default_scope: The scope in which names in configs are looked up first.
        randomness: ``dict(seed=0, deterministic=False)``: the same seed gives the same run.
        experiment_name: The name of the run; by default it is made from the time.
        cfg: The whole configuration, kept with checkpoints; one that was read from a file is kept in ``work_dir``, too.
        allow_changed: What a resumed run may have changed, though it moves the order of the data, such as
            ``['batch_size']``; the error that such a change is otherwise names it.
        compile: True compiles the model's forward pass by ``torch.compile``; a dict gives its options, see
            :class:`~mainspring.model.Compile`.
        activation_checkpointing: Parts of the model, such as ``['backbone.layer1']``, that compute their activations
            again in the backward pass, which saves memory; True for the blocks that it repeats. See
            :func:`~mainspring.model.turn_on_activation_checkpointing`.
        efficient_conv_bn_eval: Parts of the model whose batch normalisations are computed within the convolutions
            before them, while they are in eval mode; True for the whole model. See
            :func:`~mainspring.model.turn_on_efficient_conv_bn_eval`.
        trust: Read ``load_from`` even if it holds objects that are not plain, which RUNS CODE that the file names.
        find_unused_parameters: With several processes: whether a loss may leave out a part of the model, as where a
            branch depends on the data. It costs a walk over the graph in each step.
        model_wrapper_cfg: With several processes: ``dict(type='MMDistributedDataParallel', ...)`` gives options of
            ``torch.nn.parallel.DistributedDataParallel``; ``dict(type='MMSeparateDistributedDataParallel')`` averages
            gradients before each step, and not in the backward pass, as is done anyway with several optimizers.
        sync_bn: ``'torch'`` lets batch normalisation go over the batches of all processes, on accelerators.
        strict: Refuse what looks wrong in the arguments, though it might be meant; otherwise a warning tells of it.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument has an invalid value, or what belongs together is not given together.
    """

    def __init__(
        self,
        model: nn.Module | Cfg,
        work_dir: str | os.PathLike[str],
        train_dataloader: DataLoader[Any] | Cfg | None = None,
        val_dataloader: DataLoader[Any] | Cfg | None = None,
        test_dataloader: DataLoader[Any] | Cfg | None = None,
        train_cfg: Cfg | BaseTrainLoop | None = None,
        val_cfg: Cfg | BaseLoop | None = None,
        test_cfg: Cfg | BaseLoop | None = None,
        auto_scale_lr: Cfg | None = None,
        optim_wrapper: OptimWrapper | torch.optim.Optimizer | Cfg | None = None,
        param_scheduler: Any = None,
        val_evaluator: Any = None,
        test_evaluator: Any = None,
        default_hooks: Cfg | None = None,
        custom_hooks: Sequence[Hook | Cfg] | None = None,
        data_preprocessor: nn.Module | Cfg | None = None,
        load_from: str | os.PathLike[str] | None = None,
        resume: bool | str = False,
        launcher: str = "auto",
        env_cfg: Cfg | None = None,
        log_processor: LogProcessor | Cfg | None = None,
        log_level: str | int = "INFO",
        visualizer: Visualizer | Cfg | None = None,
        default_scope: str = "mainspring",
        randomness: Cfg | None = None,
        experiment_name: str | None = None,
        cfg: Cfg | None = None,
        allow_changed: Sequence[str] = (),
        trust: bool = False,
        compile: bool | Cfg = False,  # noqa: A002  the name that MMEngine's configurations have for it
        activation_checkpointing: bool | str | Sequence[str] | None = None,
        efficient_conv_bn_eval: bool | str | Sequence[str] | None = None,
        strict: bool = False,
        find_unused_parameters: bool = False,
        model_wrapper_cfg: Cfg | None = None,
        sync_bn: str | None = None,
    ) -> None:
        self._given: dict[str, Any] = {name: value for name, value in locals().items() if name in ARGUMENTS}
        check_type(cfg, Mapping | None, "cfg")
        findings = look_over(self._given, cfg or {})
        raise_errors(findings, strict)
        self._auto_scale_lr = (
            None if auto_scale_lr is None else options_from(AutoScaleLR, auto_scale_lr, "auto_scale_lr")
        )
        self.allow_changed = check_allowed(allow_changed)
        self._trust = trust
        options = options_from(Compile, {} if compile is True else compile, "compile") if compile is not False else None
        self.compile_options = None if options is None else dataclasses.asdict(options)
        """The options of ``torch.compile``, or None where the model is not compiled."""
        self.resumes = bool(resume)
        """Whether the run was told to go on from a checkpoint, if there is one."""
        self.checkpoint_folders = checkpoint_folders(work_dir, default_hooks, custom_hooks)
        """Where checkpoints of the run may lie, the work directory first."""
        self._load_from, self._earlier_run = starting_point(self.checkpoint_folders, load_from, resume, trust)
        self.by_epoch = build.counts_epochs(train_cfg)
        self.unclaimed_hook_states: dict[str, tuple[str, Any]] = {}
        """By their names in the checkpoint, class and state of hooks that are not registered, or not yet."""
        self._has_weights = False
        self._has_begun = False
        self._route: Route | None = None  # held here, so that calls of the model are led as long as the runner lives
        self.is_training = False
        """Whether the training loop is running, validations within it included."""

        self.env = Environment.make(work_dir, randomness, env_cfg, launcher, self._earlier_run.seed)
        self.cfg: Cfg = {} if cfg is None else cfg
        self.default_scope = default_scope
        init_default_scope(default_scope)
        self.experiment_name = experiment_name or _free_name(f"runner_{self.timestamp}")
        self.logger = self.build_logger(log_level)
        if findings:
            self.logger.warning(report(findings))
        self.message_hub = self.build_message_hub()
        with building_within(self._given):
            self.log_processor = self.build_log_processor(log_processor)
            self.visualizer = self.build_visualizer(visualizer)
            self._hooks = build.build_hooks(default_hooks, custom_hooks, self.by_epoch)
        if self.running_streams:
            self._hooks.register(RunningStreamsHook())
        self.life = Life(self, self._hooks)
        """What is around the loops; it knows of signals."""
        self.checkpoint_writer = CheckpointWriter()
        """Writes checkpoints while training goes on."""

        self.env.seed_initialisation()
        with building_within(self._given, "model"):
            self.model = with_sync_batchnorm(self.build_model(model, data_preprocessor), self, sync_bn)
        again = turn_on_activation_checkpointing(self.model, activation_checkpointing or False)
        if again:
            self.logger.info(f"activation_checkpointing: {again} parts of {self.model_name} keep only their inputs.")
        pairs = turn_on_efficient_conv_bn_eval(self.model, efficient_conv_bn_eval or False)
        if pairs:
            self.logger.info(f"efficient_conv_bn_eval: {pairs} pairs in {self.model_name} are one convolution each.")
        if options is not None:
            compile_model(self.model, options)

    @classmethod
    def from_cfg(cls, cfg: Cfg) -> Self:
        """Make a runner from a configuration whose keys are the constructor's arguments; others are left alone.

        Args:
            cfg: A :class:`~mainspring.Config`, or any other mapping.

        Raises:
            ValueError: ``model`` or ``work_dir`` is missing.
        """
        check_type(cfg, Mapping, "cfg")
        for key in ("model", "work_dir"):
            if cfg.get(key) is None:
                meant = "".join(f" Did you mean {key!r} by {other!r}?" for other in build.misspelt(key, cfg))
                raise ValueError(f"The configuration has no {key!r}, which a Runner needs.{meant}")
        return cls(**{name: cfg[name] for name in ARGUMENTS if name in cfg}, cfg=cfg)

    # The parts, each built when it is first asked for, after those that come before it.

    @cached_property
    def train_loop(self) -> BaseTrainLoop | None:
        """The training loop, or None."""
        cfg = self._given["train_cfg"]
        with building_within(self._given, "train_cfg"):
            return None if cfg is None else self.build_train_loop(cfg)

    @cached_property
    def val_loop(self) -> ValLoop | None:
        """The validation loop, or None."""
        cfg = self._given["val_cfg"]
        with building_within(self._given, "val_cfg"):
            return None if cfg is None else self.build_val_loop(cfg)

    @cached_property
    def test_loop(self) -> TestLoop | None:
        """The test loop, or None."""
        cfg = self._given["test_cfg"]
        with building_within(self._given, "test_cfg"):
            return None if cfg is None else self.build_test_loop(cfg)

    @cached_property
    def _initialised(self) -> bool:
        self._init_weights()
        return True

    @cached_property
    def optim_wrapper(self) -> OptimWrapper:
        """The optimizer wrapper, around the model with its initial weights.

        Raises:
            RuntimeError: The runner was given none.
        """
        cfg = self._given["optim_wrapper"]
        if cfg is None:
            raise RuntimeError("This runner was given no optim_wrapper: it can validate and test, but not train.")
        _ = self._initialised
        with building_within(self._given, "optim_wrapper"):
            wrapper = self.build_optim_wrapper(build.with_strict_keys(cfg) if self._given["strict"] else cfg)
        self.scale_lr(wrapper, self._auto_scale_lr)
        with_modes = optimizers_with_modes(wrapper)
        if with_modes:
            self._hooks.register(OptimizerModesHook(self.model, with_modes))
        given = self._given
        self._route = share_gradients(self, wrapper, given["model_wrapper_cfg"], given["find_unused_parameters"])
        return wrapper

    @cached_property
    def param_schedulers(self) -> list[Any] | dict[str, list[Any]]:
        """The schedules, in the order in which they were given; with several optimizers, those of each by its name."""
        cfg = self._given["param_scheduler"]
        with building_within(self._given, "param_scheduler"):
            return [] if cfg is None else self.build_param_scheduler(cfg)

    @property
    def schedules(self) -> list[Any]:
        """The schedules of all optimizers."""
        given = self.param_schedulers
        return given if isinstance(given, list) else [schedule for some in given.values() for schedule in some]

    @cached_property
    def _dataset_meta(self) -> Any:
        """What is saved of the training data's ``metainfo``."""
        return state.plain_metainfo(self.train_dataloader.dataset, self.logger)

    @property
    def train_dataloader(self) -> DataLoader[Any]:
        """The training data."""
        return _of(self.train_loop, "train").dataloader

    @property
    def val_dataloader(self) -> DataLoader[Any]:
        """The validation data."""
        return _of(self.val_loop, "val").dataloader

    @property
    def test_dataloader(self) -> DataLoader[Any]:
        """The test data."""
        return _of(self.test_loop, "test").dataloader

    @property
    def val_evaluator(self) -> Evaluator:
        """The metrics of validation."""
        return _of(self.val_loop, "val").evaluator

    @property
    def test_evaluator(self) -> Evaluator:
        """The metrics of testing."""
        return _of(self.test_loop, "test").evaluator

    @property
    def hooks(self) -> tuple[Hook, ...]:
        """The hooks, in the order in which they are called."""
        return tuple(self._hooks)

    @property
    def running_stages(self) -> Sequence[str]:
        """The stages of hooks that are being called now, the outermost first."""
        return self._hooks.running

    @property
    def place(self) -> tuple[int, bool]:
        """The iterations that are finished when the stage that is running is over, and whether a validation is due."""
        place = state.position(self)
        return place["iter"], place.get("val_due", False)

    @property
    def goes_on_from(self) -> str | os.PathLike[str] | None:
        """The checkpoint that the run goes on from, or None where it begins anew."""
        return self._earlier_run.filename

    @property
    def model_name(self) -> str:
        """The class of the model."""
        return type(self.model).__name__

    # What a runner does.

    def train(self) -> nn.Module:
        """Train, and return the model.

        Raises:
            RuntimeError: The runner was given nothing to train with.
            SystemExit: The run was stopped by a signal and has saved a checkpoint; the code is 130 after Ctrl-C, 143
                after SIGTERM, and 128 plus its number, 138 on Linux, after SIGUSR1.
            DirectoryInUse: Another run trains in the work directory.
        """
        loop = _of(self.train_loop, "train")
        _require_step(self.model, "train_step", "train")
        if self.val_loop is not None:
            _require_step(self.model, "val_step", "validate")
        _ = self.optim_wrapper, self.param_schedulers

        def run() -> nn.Module:
            keep_config(self.cfg, self.work_dir)
            state.say_if_finished(self)
            while True:
                self.optim_wrapper.initialize_count_status(self.model, self.iter, self.max_iters)
                self.is_training = True
                try:
                    loop.run()
                    return self.model
                except RollBack as found:
                    self._go_back(loop, found)
                finally:
                    self.is_training = False

        return self.life.run(run, training=True)

    def _go_back(self, loop: BaseTrainLoop, found: RollBack) -> None:
        """Bring the run to the last checkpoint, and let it leave out what was bad."""
        checkpoint = found.checkpoint or self._earlier_run.filename
        if checkpoint is None:
            raise found.error from found
        loop.leave_out(found.place)
        self.logger.warning(
            f"{found} Going back to {display_path(checkpoint)!r}, time {len(loop.left_out)} of at most {found.limit};"
            f" from now on without {name_of_places((found.place,))} over the data."
        )
        self.resume(checkpoint)

    def val(self) -> dict[str, float]:
        """Validate, and return the metrics by name.

        Raises:
            RuntimeError: The runner was given nothing to validate with.
        """
        loop = _of(self.val_loop, "val")
        _require_step(self.model, "val_step", "validate")
        return self.life.run(loop.run)

    def test(self) -> dict[str, float]:
        """Test, and return the metrics by name.

        Raises:
            RuntimeError: The runner was given nothing to test with.
        """
        loop = _of(self.test_loop, "test")
        _require_step(self.model, "test_step", "test")
        return self.life.run(loop.run)

    def check(self, strict: bool = True, steps: int = 5) -> CheckReport:
        """Try the run before it is run, put back everything, and return what was found.

        All is built; some batches of each loader go through the model's ``train_step``, ``val_step`` and ``test_step``,
        with AMP and accumulation as configured, and through the metrics; a checkpoint is saved in a temporary place,
        read and loaded. What fails is told with its stage, and the others are tried nevertheless. Hooks are built, and
        take no part.

        Model, optimizer, generators, metrics, scalars and the place in the data are then as before: to train
        afterwards is to train without the check.

        Args:
            strict: Whether what only looks wrong in the configuration is an error, too.
            steps: How many batches of each loader are tried; accumulation may need more.

        >>> report = Runner(**settings).check()  # doctest: +SKIP
        >>> report.ok  # doctest: +SKIP
        True
        """
        from .check import check_run  # here, as runs without a check do without it

        return check_run(self, strict, steps)

    def register_hook(self, hook: Hook | Cfg, priority: int | str | None = None) -> None:
        """Add a hook, behind those of the same priority.

        Args:
            hook: A hook or its config, which may name its ``priority``.
            priority: A number from 0 (first) to 100, or a name; by default the hook's own.
        """
        hook_states.restore_late(self, build.register_hook(self._hooks, hook, priority))

    def call_hook(self, fn_name: str, **kwargs: Any) -> None:
        """Call the hooks that act at a stage."""
        if self.life.signals.noted:
            self.life.heed_signals(fn_name)
        self._hooks.call(fn_name, self, **kwargs)

    # Checkpoints.

    def load_or_resume(self, training: bool = True) -> None:
        """Load the checkpoint from which the run was told to begin or to go on, unless it is done.

        Args:
            training: Bring back all of a run that is resumed; otherwise only its weights.
        """
        if training and not self._has_begun:
            self._has_begun = True
            if self._earlier_run.is_stale(self.checkpoint_folders):  # another run went on while this one was built
                self._load_from, self._earlier_run = starting_point(
                    self.checkpoint_folders, self._load_from, "auto", self._trust
                )
            for damaged in self._earlier_run.passed_over:
                self.logger.warning(f"{damaged} It is passed over.")
            if self._earlier_run.filename is not None:
                self.resume(self._earlier_run.filename)
                return
            self.visualizer.set_aside()
        weights = self._earlier_run.filename or self._load_from
        if weights is not None and not self._has_weights:
            self.load_checkpoint(weights)
        self._has_weights = True

    def load_checkpoint(
        self,
        filename: str | os.PathLike[str],
        map_location: Any = "cpu",
        strict: bool = False,
        revise_keys: Sequence[tuple[str, str]] = ((r"^module\.", ""),),
    ) -> dict[str, Any]:
        """Load weights from a checkpoint, and return the whole of it.

        The arguments are those of :func:`mainspring.checkpoint.load_checkpoint`.
        """
        self.checkpoint_writer.wait()
        checkpoint = self._earlier_run.take(filename, map_location)
        if self._given["train_cfg"] is not None:
            _ = self._initialised  # whoever loads first: the initial weights come before the loaded ones
        self.call_hook("after_load_checkpoint", checkpoint=checkpoint)
        load_weights(self.model, checkpoint, strict, self.logger, revise_keys=revise_keys, source=repr(str(filename)))
        self.logger.info(f"Loaded the weights in {display_path(filename)!r}")
        return checkpoint

    def resume(
        self,
        filename: str | os.PathLike[str],
        resume_optimizer: bool = True,
        resume_param_scheduler: bool = True,
        map_location: Any = "cpu",
    ) -> None:
        """Go on from a checkpoint: weights, optimizer, schedules, position, history.

        Args:
            filename: What :meth:`save_checkpoint` wrote.
            resume_optimizer: Load the optimizer's state too.
            resume_param_scheduler: Load the schedules' progress too.
            map_location: As for ``torch.load``.

        Raises:
            CheckpointError: It is damaged, does not fit, or is no checkpoint of a run.
        """
        checkpoint = self.load_checkpoint(filename, map_location, strict=True)
        try:
            state.restore(self, checkpoint, str(filename), resume_optimizer, resume_param_scheduler)
        except Exception as error:
            error.add_note(f"(raised while going on from {str(filename)!r})")
            raise
        self._has_weights = self._has_begun = True

    def save_checkpoint(
        self,
        out_dir: str | os.PathLike[str],
        filename: str,
        file_client_args: Cfg | None = None,
        save_optimizer: bool = True,
        save_param_scheduler: bool = True,
        meta: Cfg | None = None,
        by_epoch: bool = True,
        backend_args: Cfg | None = None,
        *,
        wait: bool = True,
        then: Callable[[], None] | None = None,
    ) -> None:
        """Write a checkpoint of the run as it stands, or will when the stage that is running is over.

        Args:
            out_dir: Directory, made where missing, or a URL that fsspec knows, such as ``'s3://bucket/runs'``.
            filename: Name of the file in it.
            file_client_args: An older name of ``backend_args``.
            save_optimizer: Save the optimizer's state.
            save_param_scheduler: Save the schedules' progress.
            meta: More entries of ``meta``.
            by_epoch: Accepted for compatibility: the position is known without it.
            backend_args: How to get to ``out_dir``; see :func:`~mainspring.fileio.get_file_backend`.
            wait: Return when the file stands under its name. Otherwise training goes on while a copy is written; an
                error then is raised in the next iteration, or at the end.
            then: Called when the file stands, in the thread that writes; it must neither log nor wait.

        Raises:
            ValueError: ``out_dir`` can only be read, or nobody knows how to get there.
            CheckpointWriteError: It, or the one before it, could not be written.
        """
        folder = CheckpointFolder(out_dir, backend_args, file_client_args)
        checkpoint = state.collect(self, save_optimizer, save_param_scheduler, meta or {})
        self.call_hook("before_save_checkpoint", checkpoint=checkpoint)
        if self.rank == 0:
            self.checkpoint_writer.save(checkpoint, folder / filename, then, wait=wait)

    # How each part is built; a subclass may build one in another way.

    def build_logger(self, log_level: int | str = "INFO", log_file: str | None = None) -> MMLogger:
        """Return the run's logger, which writes to the console and to a file in :attr:`log_dir`."""
        log_file = log_file or str(Path(self.log_dir) / f"{self.timestamp}.log")
        return MMLogger.get_instance(name=self.experiment_name, log_file=log_file, log_level=log_level)

    def build_message_hub(self) -> MessageHub:
        """Return the run's message hub."""
        return MessageHub.new_instance(self.experiment_name)

    def build_visualizer(self, visualizer: Visualizer | Cfg | None = None) -> Visualizer:
        """Build what takes the scalars."""
        return build.build_visualizer(visualizer, self.experiment_name, self.work_dir)

    def build_log_processor(self, log_processor: LogProcessor | Cfg | None = None) -> LogProcessor:
        """Build what makes log lines."""
        return build.build_log_processor(log_processor, self.by_epoch)

    def build_model(self, model: nn.Module | Cfg, data_preprocessor: nn.Module | Cfg | None = None) -> BaseModel:
        """Build the model and move it to the device."""
        return build.build_model(model, data_preprocessor, self.device, self.env.channels_last)

    def _init_weights(self) -> None:
        if isinstance(self.model, BaseModule):
            self.env.seed_initialisation(phase=1)
            with building_within(self._given, "model"):
                self.model.init_weights()

    @staticmethod
    def build_dataloader(
        dataloader: DataLoader[Any] | Cfg,
        seed: int | None = None,
        diff_rank_seed: bool = False,
        name: str = "dataloader",
    ) -> DataLoader[Any]:
        """Build a data loader; see :func:`mainspring.dataset.build_dataloader`.

        Args:
            dataloader: A loader, which is returned as it is, or its config.
            seed: From which the order and the workers' randomness follow.
            diff_rank_seed: Accepted for compatibility: the workers of different ranks always differ.
            name: What the user calls it, for messages.
        """
        return build_dataloader(dataloader, seed, name=name)

    def build_optim_wrapper(self, optim_wrapper: OptimWrapper | torch.optim.Optimizer | Cfg) -> OptimWrapper:
        """Build the optimizer wrapper around the model's parameters."""
        wrapper = build_optim_wrapper(self.model, optim_wrapper)
        wrapper.message_hub = self.message_hub
        return wrapper

    def scale_lr(self, optim_wrapper: OptimWrapper, auto_scale_lr: AutoScaleLR | Cfg | None = None) -> None:
        """Multiply the learning rates by the real batch size over the one for which they were chosen, if that is on.

        Schedules that were made before begin from the scaled rates too.
        Goyal et al., "Accurate, large minibatch SGD", 2017: the linear scaling rule.

        Args:
            optim_wrapper: Whose rates they are; one that is no :class:`OptimWrapper` has ``param_groups``.
            auto_scale_lr: As for the runner; None changes nothing.
        """
        options = None if auto_scale_lr is None else options_from(AutoScaleLR, auto_scale_lr, "auto_scale_lr")
        if options is None or not options.enable:
            return
        batch_size = self.train_dataloader.batch_size
        if batch_size is None:  # it has a batch sampler of its own, which may know
            batch_size = getattr(self.train_dataloader.batch_sampler, "batch_size", None)
        if batch_size is None:
            raise ValueError(
                "auto_scale_lr needs to know the batch size, but train_dataloader has a batch sampler without an"
                " attribute 'batch_size', or makes no batches. Scale the learning rate yourself, and leave"
                " auto_scale_lr out."
            )
        real = batch_size * self.world_size
        ratio = real / options.base_batch_size
        given: Any = optim_wrapper  # it may be anybody's
        if isinstance(given, OptimWrapper):
            for wrapper in given.parts.values():
                scale_parameter(wrapper, "lr", ratio)
            given.keep_settings()
        else:
            scale_parameter(given, "lr", ratio)
        self.logger.info(
            f"Learning rates are multiplied by {ratio:g}: batches of {real}, chosen for {options.base_batch_size}."
        )

    def build_param_scheduler(self, scheduler: Any) -> list[Any] | dict[str, list[Any]]:
        """Build the schedules; with several optimizers, those of each by its name."""
        return build.build_param_schedulers(self.optim_wrapper, scheduler, _of(self.train_loop, "train"))

    def build_evaluator(self, evaluator: Any) -> Evaluator:
        """Build an evaluator."""
        return build.build_evaluator(evaluator)

    def build_train_loop(self, loop: BaseTrainLoop | Cfg) -> BaseTrainLoop:
        """Build the training loop."""
        return build.build_train_loop(self, loop, self._given["train_dataloader"])

    def build_val_loop(self, loop: BaseLoop | Cfg) -> ValLoop:
        """Build the validation loop."""
        given = self._given
        built: ValLoop = build.build_evaluation_loop(self, "val", loop, given["val_dataloader"], given["val_evaluator"])
        return built

    def build_test_loop(self, loop: BaseLoop | Cfg) -> TestLoop:
        """Build the test loop."""
        given = self._given
        built: TestLoop = build.build_evaluation_loop(
            self, "test", loop, given["test_dataloader"], given["test_evaluator"]
        )
        return built


ARGUMENTS = [name for name in inspect.signature(Runner.__init__).parameters if name not in ("self", "cfg")]


def _of(loop: Loop | None, mode: str) -> Loop:
    if loop is None:
        raise RuntimeError(
            f"This runner was given no {mode}_cfg and {mode}_dataloader, so it has no {mode} loop. Pass them to"
            " Runner(...)."
        )
    return loop


def _require_step(model: nn.Module, step: str, purpose: str) -> None:
    if not callable(getattr(model, step, None)):
        raise TypeError(
            f"To {purpose}, the model needs a method {step}, which {type(model).__name__} does not have. Let it inherit"
            " from mainspring.BaseModel, which has all the steps."
        )


def _free_name(name: str) -> str:
    """Return the name, numbered where a run of this process has it already."""
    number, free = 1, name
    while MessageHub.check_instance_created(free):
        number += 1
        free = f"{name}_{number}"
    return free
