"""The root registries: one table."""

from .build_functions import build_model_from_cfg, build_runner_from_cfg, build_scheduler_from_cfg
from .registry import Registry

SCOPE = "mainspring"

_RUNNER = ["mainspring.runner"]
_HOOKS = ["mainspring.hooks"]
_OPTIM = ["mainspring.optim"]
_EVALUATOR = ["mainspring.evaluator"]
_MODEL = ["mainspring.model"]
_DATASET = ["mainspring.dataset"]
_VISUALIZATION = ["mainspring.visualization"]

# fmt: off
RUNNERS = Registry("runner", build_runner_from_cfg, scope=SCOPE, locations=_RUNNER)
RUNNER_CONSTRUCTORS = Registry("runner constructor", scope=SCOPE)
LOOPS = Registry("loop", scope=SCOPE, locations=_RUNNER)
LOG_PROCESSORS = Registry("log_processor", scope=SCOPE, locations=_RUNNER)
HOOKS = Registry("hook", scope=SCOPE, locations=_HOOKS)

OPTIMIZERS = Registry("optimizer", scope=SCOPE, locations=_OPTIM)
OPTIM_WRAPPERS = Registry("optim_wrapper", scope=SCOPE, locations=_OPTIM)
OPTIM_WRAPPER_CONSTRUCTORS = Registry("optimizer wrapper constructor", scope=SCOPE, locations=_OPTIM)
PARAM_SCHEDULERS = Registry("parameter scheduler", build_scheduler_from_cfg, scope=SCOPE, locations=_OPTIM)

METRICS = Registry("metric", scope=SCOPE, locations=_EVALUATOR)
EVALUATOR = Registry("evaluator", scope=SCOPE, locations=_EVALUATOR)

MODELS = Registry("model", build_model_from_cfg, scope=SCOPE, locations=_MODEL)
MODEL_WRAPPERS = Registry("model_wrapper", scope=SCOPE, locations=_MODEL)
WEIGHT_INITIALIZERS = Registry("weight initializer", scope=SCOPE, locations=_MODEL)

DATASETS = Registry("dataset", scope=SCOPE, locations=_DATASET)
DATA_SAMPLERS = Registry("data sampler", scope=SCOPE, locations=_DATASET)
TRANSFORMS = Registry("transform", scope=SCOPE, locations=_DATASET)
FUNCTIONS = Registry("function", scope=SCOPE, locations=_DATASET)

VISUALIZERS = Registry("visualizer", scope=SCOPE, locations=_VISUALIZATION)
VISBACKENDS = Registry("vis_backend", scope=SCOPE, locations=_VISUALIZATION)

TASK_UTILS = Registry("task util", scope=SCOPE)
INFERENCERS = Registry("inferencer", scope=SCOPE)
# fmt: on

__all__ = [
    "DATASETS",
    "DATA_SAMPLERS",
    "EVALUATOR",
    "FUNCTIONS",
    "HOOKS",
    "INFERENCERS",
    "LOG_PROCESSORS",
    "LOOPS",
    "METRICS",
    "MODELS",
    "MODEL_WRAPPERS",
    "OPTIMIZERS",
    "OPTIM_WRAPPERS",
    "OPTIM_WRAPPER_CONSTRUCTORS",
    "PARAM_SCHEDULERS",
    "RUNNERS",
    "RUNNER_CONSTRUCTORS",
    "TASK_UTILS",
    "TRANSFORMS",
    "VISBACKENDS",
    "VISUALIZERS",
    "WEIGHT_INITIALIZERS",
]
