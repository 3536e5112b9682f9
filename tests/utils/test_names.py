from hypothesis import given
from hypothesis import strategies as st

from mainspring.utils import did_you_mean, nearest

OPTIMIZERS = ["SGD", "Adam", "AdamW", "RMSprop"]


def test_the_nearest_come_first():
    assert nearest("Adm", OPTIMIZERS) == ["Adam"]
    assert nearest("AdamWW", OPTIMIZERS, count=2) == ["AdamW", "Adam"]


def test_case_does_not_matter_and_the_spelling_is_the_candidates():
    assert nearest("sgd", OPTIMIZERS) == ["SGD"]
    assert nearest("rmsPROP", OPTIMIZERS) == ["RMSprop"]


def test_nothing_near_gives_nothing():
    assert nearest("Lion", OPTIMIZERS) == []
    assert nearest("Adam", []) == []
    assert did_you_mean("Lion", OPTIMIZERS) == ""


def test_did_you_mean_fits_behind_a_sentence():
    assert f"There is no 'Adaam'.{did_you_mean('Adaam', OPTIMIZERS)}" == "There is no 'Adaam'. Did you mean 'Adam'?"


@given(st.lists(st.text(min_size=1), min_size=1), st.data())
def test_a_candidate_is_its_own_nearest(names, data):
    name = data.draw(st.sampled_from(names))
    assert nearest(name, names)[0].casefold() == name.casefold()
