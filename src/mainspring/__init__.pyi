from ._version import __version__ as __version__
from .checkpoint import (
    load_checkpoint as load_checkpoint,
    save_checkpoint as save_checkpoint,
)
from .dataset import (
    DefaultSampler as DefaultSampler,
    InfiniteSampler as InfiniteSampler,
    default_collate as default_collate,
    pseudo_collate as pseudo_collate,
)
from .evaluator import (
    Accuracy as Accuracy,
    BaseMetric as BaseMetric,
    Evaluator as Evaluator,
    StreamingMetric as StreamingMetric,
    TorchMetric as TorchMetric,
)
from .hooks import (
    Hook as Hook,
)
from .logging import (
    MMLogger as MMLogger,
    MessageHub as MessageHub,
    print_log as print_log,
)
from .model import (
    BaseDataPreprocessor as BaseDataPreprocessor,
    BaseModel as BaseModel,
    BaseModule as BaseModule,
    CutMix as CutMix,
    ImgDataPreprocessor as ImgDataPreprocessor,
    MixUp as MixUp,
    Mosaic as Mosaic,
    RandomChoice as RandomChoice,
)
from .optim import (
    AmpOptimWrapper as AmpOptimWrapper,
    OptimWrapper as OptimWrapper,
)
from .registry import (
    DATASETS as DATASETS,
    HOOKS as HOOKS,
    LOOPS as LOOPS,
    METRICS as METRICS,
    MODELS as MODELS,
    Registry as Registry,
)
from .runner import (
    EpochBasedTrainLoop as EpochBasedTrainLoop,
    IterBasedTrainLoop as IterBasedTrainLoop,
    LogProcessor as LogProcessor,
    Runner as Runner,
    TestLoop as TestLoop,
    ValLoop as ValLoop,
)
from .structures import (
    BaseDataElement as BaseDataElement,
)
from .visualization import (
    Visualizer as Visualizer,
)
