import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.utils import (
    concat_list,
    is_list_of,
    is_seq_of,
    is_str,
    is_tuple_of,
    iter_cast,
    list_cast,
    slice_list,
    to_1tuple,
    to_2tuple,
    to_4tuple,
    to_ntuple,
    tuple_cast,
)


def test_sequences_of_a_type():
    assert is_seq_of([1, 2], int)
    assert is_seq_of("abc", str)
    assert is_seq_of([], int)
    assert is_seq_of([1.0, 2], (int, float))
    assert not is_seq_of([1, "a"], int)
    for other in (None, {1, 2}, {1: 2}, iter([1]), np.array([1, 2])):
        assert not is_seq_of(other, int)
    assert is_list_of([1], int)
    assert not is_list_of((1,), int)
    assert is_tuple_of((1,), int)
    assert not is_tuple_of([1], int)
    assert not is_seq_of([1], int, seq_type=tuple)
    assert is_seq_of({1}, int, seq_type=set)
    with pytest.raises(TypeError, match="seq_type must be a type such as list, or None, but it is 3"):
        is_seq_of([1], int, seq_type=3)


def test_only_str_is_a_string():
    assert is_str("a")
    assert not is_str(b"a")


def test_items_are_converted():
    assert list_cast("12", int) == [1, 2]
    assert tuple_cast([1, 2], str) == ("1", "2")
    assert iter_cast(["a", "a"], str, set) == {"a"}
    lazily = iter_cast([1, "x"], int)
    assert next(lazily) == 1
    with pytest.raises(ValueError, match="invalid literal"):
        next(lazily)
    with pytest.raises(TypeError, match="inputs must be something to iterate over"):
        iter_cast(3, int)
    with pytest.raises(TypeError, match="dst_type must be a type, such as int, but it is 'int'"):
        iter_cast([3], "int")


@given(st.lists(st.lists(st.integers())))
def test_what_is_cut_into_pieces_is_joined_again(pieces):
    whole = concat_list(pieces)
    assert slice_list(whole, [len(piece) for piece in pieces]) == pieces


def test_one_length_for_all_pieces():
    assert slice_list([1, 2, 3, 4, 5, 6], 2) == [[1, 2], [3, 4], [5, 6]]
    assert slice_list([], 1) == []
    assert slice_list((1, 2), [1, 1]) == [(1,), (2,)]


@pytest.mark.parametrize(
    ("lens", "error", "message"),
    [
        (2, ValueError, "lens is 2, but must divide the length of the list, which is 3"),
        (0, ValueError, "lens is 0, but must divide"),
        ([1, 1], ValueError, r"must add up to 3, .* but they are \[1, 1\], which add up to 2"),
        ([4, -1], ValueError, "must add up to 3"),
        ("3", TypeError, "lens must be an integer or a list of integers"),
        ([1.0, 2], TypeError, "lens must be an integer or a list of integers"),
    ],
)
def test_pieces_that_do_not_fit(lens, error, message):
    with pytest.raises(error, match=message):
        slice_list([1, 2, 3], lens)


def test_what_is_several_already_stays():
    assert to_1tuple(7) == (7,)
    assert to_2tuple(None) == (None, None)
    assert to_4tuple(0.5) == (0.5,) * 4
    assert to_ntuple(5)(2) == (2,) * 5
    for several in ([1, 2, 3], (1, 2), "ab", {1: 2}):
        assert to_2tuple(several) is several
    assert pickle.loads(pickle.dumps(to_2tuple))(1) == (1, 1)
