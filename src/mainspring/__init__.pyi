from ._version import __version__ as __version__
from .checkpoint import (
    load_checkpoint as load_checkpoint,
    save_checkpoint as save_checkpoint,
)
from .config import (
    Config as Config,
    ConfigDict as ConfigDict,
    DictAction as DictAction,
    read_base as read_base,
)
from .dataset import (
    BaseDataset as BaseDataset,
    ClassBalancedDataset as ClassBalancedDataset,
    Compose as Compose,
    ConcatDataset as ConcatDataset,
    DefaultSampler as DefaultSampler,
    InfiniteSampler as InfiniteSampler,
    RepeatDataset as RepeatDataset,
    default_collate as default_collate,
    force_full_init as force_full_init,
    pseudo_collate as pseudo_collate,
)
from .evaluator import (
    Accuracy as Accuracy,
    BaseMetric as BaseMetric,
    Evaluator as Evaluator,
    StreamingMetric as StreamingMetric,
    TorchMetric as TorchMetric,
)
from .fileio import (
    BaseFileHandler as BaseFileHandler,
    BaseStorageBackend as BaseStorageBackend,
    HTTPBackend as HTTPBackend,
    JsonHandler as JsonHandler,
    LocalBackend as LocalBackend,
    PickleHandler as PickleHandler,
    YamlHandler as YamlHandler,
    copy_if_symlink_fails as copy_if_symlink_fails,
    copyfile as copyfile,
    copyfile_from_local as copyfile_from_local,
    copyfile_to_local as copyfile_to_local,
    copytree as copytree,
    copytree_from_local as copytree_from_local,
    copytree_to_local as copytree_to_local,
    dict_from_file as dict_from_file,
    dump as dump,
    exists as exists,
    generate_presigned_url as generate_presigned_url,
    get as get,
    get_file_backend as get_file_backend,
    get_local_path as get_local_path,
    get_text as get_text,
    isdir as isdir,
    isfile as isfile,
    join_path as join_path,
    list_dir_or_file as list_dir_or_file,
    list_from_file as list_from_file,
    load as load,
    put as put,
    put_text as put_text,
    register_backend as register_backend,
    register_handler as register_handler,
    remove as remove,
    rmtree as rmtree,
)
from .hooks import (
    Hook as Hook,
)
from .infer import (
    BaseInferencer as BaseInferencer,
    export_model as export_model,
    load_model as load_model,
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
    OptimWrapperDict as OptimWrapperDict,
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
    InstanceData as InstanceData,
    LabelData as LabelData,
    PixelData as PixelData,
)
from .visualization import (
    Visualizer as Visualizer,
)
