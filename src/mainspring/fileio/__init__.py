"""Reading and writing by path or URL, over fsspec."""

from typing import TYPE_CHECKING

from ..utils import lazy_names
from .base_backend import BaseStorageBackend, FileFacts
from .base_handler import BaseFileHandler
from .formats import dump, load, register_handler
from .fsspec_backend import FsspecBackend
from .http_backend import HTTPBackend
from .json_handler import JsonHandler
from .local_backend import LocalBackend
from .operations import (
    copy_if_symlink_fails,
    copyfile,
    copyfile_from_local,
    copyfile_to_local,
    copytree,
    copytree_from_local,
    copytree_to_local,
    exists,
    generate_presigned_url,
    get,
    get_local_path,
    get_text,
    isdir,
    isfile,
    join_path,
    list_dir_or_file,
    put,
    put_text,
    remove,
    rmtree,
)
from .paths import is_local, local_path
from .pickle_handler import PickleHandler
from .registering import get_file_backend, register_backend
from .remote_file import RemoteFile
from .text_lists import dict_from_file, list_from_file
from .yaml_handler import YamlHandler

if not TYPE_CHECKING:
    __getattr__ = lazy_names(__name__)

__all__ = [
    "BaseFileHandler",
    "BaseStorageBackend",
    "FileFacts",
    "FsspecBackend",
    "HTTPBackend",
    "JsonHandler",
    "LocalBackend",
    "PickleHandler",
    "RemoteFile",
    "YamlHandler",
    "copy_if_symlink_fails",
    "copyfile",
    "copyfile_from_local",
    "copyfile_to_local",
    "copytree",
    "copytree_from_local",
    "copytree_to_local",
    "dict_from_file",
    "dump",
    "exists",
    "generate_presigned_url",
    "get",
    "get_file_backend",
    "get_local_path",
    "get_text",
    "is_local",
    "isdir",
    "isfile",
    "join_path",
    "list_dir_or_file",
    "list_from_file",
    "load",
    "local_path",
    "put",
    "put_text",
    "register_backend",
    "register_handler",
    "remove",
    "rmtree",
]
