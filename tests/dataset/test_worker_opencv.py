"""How many threads OpenCV uses in workers, with a module that counts like OpenCV's, which is no dependency."""

from __future__ import annotations

import os
import sys
from types import ModuleType

import pytest
from torch.utils.data import DataLoader

from mainspring.dataset import pass_over, resumable


class OpenCV(ModuleType):
    threads = 64

    def getNumThreads(self):
        return self.threads

    def getNumberOfCPUs(self):
        return 64

    def setNumThreads(self, threads):
        self.threads = threads


class Threads:
    def __len__(self):
        return 2

    def __getitem__(self, index):
        return sys.modules["cv2"].threads if "cv2" in sys.modules else os.environ.get("OPENCV_FOR_THREADS_NUM")


def in_workers(**options):
    loader = resumable(DataLoader(Threads(), collate_fn=list, multiprocessing_context="fork", **options), seed=0)
    return {threads for batch in pass_over(loader, 0, seed=0) for threads in batch}


pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot fork")


def test_workers_use_one_thread(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", OpenCV("cv2"))
    assert in_workers(num_workers=2) == {1}
    assert sys.modules["cv2"].threads == 64, "in the process of training it is the user's affair"


def test_a_number_that_was_chosen_stays(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", OpenCV("cv2"))
    sys.modules["cv2"].setNumThreads(4)
    assert in_workers(num_workers=1) == {4}


def test_opencv_that_a_worker_imports_itself_learns_it_from_the_environment(monkeypatch):
    monkeypatch.delitem(sys.modules, "cv2", raising=False)
    monkeypatch.delenv("OPENCV_FOR_THREADS_NUM", raising=False)
    assert in_workers(num_workers=1) == {"1"}
    assert "OPENCV_FOR_THREADS_NUM" not in os.environ
    monkeypatch.setenv("OPENCV_FOR_THREADS_NUM", "3")
    assert in_workers(num_workers=1) == {"3"}
