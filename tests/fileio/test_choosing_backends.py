import pytest

from mainspring.fileio import (
    BaseStorageBackend,
    FsspecBackend,
    HTTPBackend,
    LocalBackend,
    exists,
    get,
    get_file_backend,
    get_text,
    put,
    register_backend,
    registering,
)


class Constant(BaseStorageBackend):
    """Holds the same bytes under every name, and can do no more than it must."""

    def __init__(self, content=b"content"):
        self.content = content

    def get(self, filepath):
        return self.content

    def get_text(self, filepath, encoding="utf-8"):
        return self.content.decode(encoding)


@pytest.fixture(autouse=True)
def registered_for_this_test_only(monkeypatch):
    monkeypatch.setattr(registering, "_BY_NAME", dict(registering._BY_NAME))
    monkeypatch.setattr(registering, "_BY_PREFIX", dict(registering._BY_PREFIX))
    yield
    registering._SINGLETONS.clear()


@pytest.mark.parametrize(
    ("uri", "backend_args", "expected"),
    [
        ("runs/file", None, LocalBackend),
        ("file:///runs/file", {}, LocalBackend),
        (None, {"backend": "local"}, LocalBackend),
        (None, {"backend": "disk"}, LocalBackend),
        ("http://host/file", None, HTTPBackend),
        ("HTTPS://host/file", None, HTTPBackend),
        ("memory://file", None, FsspecBackend),
        ("simplecache::memory://file", None, FsspecBackend),
        ("file", {"backend": "memory"}, FsspecBackend),
    ],
)
def test_the_url_or_the_name_decides(uri, backend_args, expected):
    backend = get_file_backend(uri, backend_args=backend_args)
    assert type(backend) is expected
    assert backend.name == expected.__name__


def test_one_object_for_the_same_arguments_where_that_is_asked_for():
    def single(**options):
        return get_file_backend("constant://x", backend_args=options, enable_singleton=True)

    register_backend("constant", Constant, prefixes="constant")
    assert single(content=b"a") is single(content=b"a")
    assert single(content=b"a") is not single(content=b"b")
    assert get_file_backend("constant://x") is not get_file_backend("constant://x")


def test_a_backend_of_ones_own_by_name_and_by_prefix():
    assert register_backend("constant", prefixes=["constant", "Const"])(Constant) is Constant
    assert get("constant://x") == b"content"
    assert get_text("const://x") == "content"
    assert get("x", backend_args={"backend": "constant", "content": b"other"}) == b"other"
    register_backend("memory", Constant, prefixes="memory")
    assert get("memory://x") == b"content"


def test_what_a_backend_does_not_define_it_says_it_cannot():
    register_backend("constant", Constant, prefixes="constant")
    with pytest.raises(OSError, match=r"constant://x: a Constant cannot write files\. Use a place that can"):
        put(b"", "constant://x")
    with pytest.raises(OSError, match="a Constant cannot say whether there is a file"):
        exists("constant://x")


def test_a_name_or_prefix_is_not_taken_twice_unless_forced():
    class Other(Constant):
        pass

    register_backend("constant", Constant, prefixes="constant")
    assert type(get_file_backend("constant://x", enable_singleton=True)) is Constant
    with pytest.raises(ValueError, match=r"name 'constant' is taken by Constant.*force=True"):
        register_backend("constant", Other)
    with pytest.raises(ValueError, match=r"prefix 'constant' is taken by Constant"):
        register_backend("other", Other, prefixes=("fresh", "constant"))
    with pytest.raises(ValueError, match="neither a registered backend"):
        get_file_backend(backend_args={"backend": "other"})
    register_backend("constant", Other, force=True, prefixes="constant")
    assert type(get_file_backend("constant://x", enable_singleton=True)) is Other


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((3, Constant), "name of a backend must be a string, but it is 3"),
        (("c", int), "'c' must be a subclass of BaseStorageBackend, but it is <class 'int'>"),
        (("c", Constant()), "'c' must be a subclass"),
        (("c", Constant, False, 3), "prefixes must be a string or a list of strings, but it is 3"),
        (("c", Constant, False, ["a", 3]), "prefixes must be"),
    ],
)
def test_what_cannot_be_registered(arguments, message):
    with pytest.raises(TypeError, match=message):
        register_backend(*arguments)


@pytest.mark.parametrize(
    ("uri", "backend_args", "error", "message"),
    [
        (None, None, ValueError, "give uri, or backend_args"),
        (None, {"endpoint_url": "x"}, ValueError, "give uri, or backend_args"),
        ("x", {"backend": "memry"}, ValueError, "Did you mean 'memory'"),
        ("x", {"backend": LocalBackend}, TypeError, "must be a name such as 'local' or 's3'"),
        ("x", {"endpoint_url": "y"}, TypeError, "LocalBackend cannot be made with the backend_args {'endpoint_url'"),
        ("x", {"backend": "petrel"}, ValueError, "no petrel backend here. Write the protocol of the store.*'s3'"),
        ("petrel://bucket/x", None, ValueError, "no petrel backend here"),
        ("x", {"backend": "memcached"}, ValueError, "no memcached backend here.*any protocol of fsspec"),
        ("x", {"backend": "lmdb", "db_path": "y"}, ValueError, "no lmdb backend here"),
    ],
)
def test_what_cannot_be_chosen(uri, backend_args, error, message):
    with pytest.raises(error, match=message):
        get_file_backend(uri, backend_args=backend_args)
