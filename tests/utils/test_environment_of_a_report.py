"""What a report of a bug says about machine and software."""

from __future__ import annotations

import subprocess

import numpy as np
import torch

import mainspring
from mainspring.utils import collect_env


def test_versions_and_devices_are_told():
    found = collect_env()
    assert found["PyTorch"] == torch.__version__
    assert found["NumPy"] == np.__version__
    assert found["mainspring"].startswith(mainspring.__version__)
    assert found["CUDA available"] is torch.cuda.is_available()
    assert found["CPUs"] >= 1
    assert "OpenCV" not in found or found["OpenCV"]


def test_the_commit_of_the_project_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "Commit of this directory" not in collect_env()
    author = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    for command in (["init", "-q"], [*author, "commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run(["git", *command], check=True)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout
    assert commit.startswith(collect_env()["Commit of this directory"])


def test_a_machine_without_git_and_compilers_is_described_too(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CUDA_HOME", raising=False)
    found = collect_env()
    assert not {"GCC", "NVCC", "CUDA_HOME", "Commit of this directory"} & set(found)
    assert found["mainspring"] == mainspring.__version__
