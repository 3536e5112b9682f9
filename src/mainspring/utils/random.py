"""Randomness as a function of position.

A generator's state never needs to be saved when it can be set from where one is: a key such as
``(seed, rank, iteration)`` is mixed into 64 bits, and these seed every generator that a step may use.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import Any

import numpy as np
import torch

__all__ = ["Stream", "generator_states", "mix", "seed_generators", "set_generator_states", "step_seeder"]

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


class Stream(IntEnum):
    """What a key is for; the first word of the key, so that equal numbers mean different things."""

    INIT = 0
    """Building (phase 0) and initialising (1) a model: ``(seed, rank or 0, phase)``."""
    ORDER = 1
    """The order of the data: ``(seed, pass)``, with a place where a sampler draws within one."""
    SAMPLE = 2
    """A sample's augmentation: ``(seed, pass, place in it)``; a worker's own draws: ``(seed, rank, worker, epoch)``."""
    STEP = 3
    """A training step: ``(seed, rank, iteration)``."""
    EVALUATION = 4
    """Validation and test: ``(seed, rank, iteration of the run, batch)``; the seed of their data: ``(seed,)``."""
    EPOCH = 5
    """What hooks draw when an epoch begins: ``(seed, epoch)``."""


def mix(*words: int) -> int:
    """Mix integers into 64 well-spread bits.

    Each word is absorbed by one round of splitmix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number
    generators", OOPSLA 2014), so that neighbouring keys have unrelated results.
    """
    state = 0
    for word in words:
        state = _absorb(state, word)
    return state


def _absorb(state: int, word: int) -> int:
    state = (state ^ (word & _MASK)) + _GOLDEN & _MASK
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    state = (state ^ (state >> 27)) * 0x94D049BB133111EB & _MASK
    return state ^ (state >> 31)


def seed_generators(seed: int, device: torch.device | None = None) -> None:
    """Seed the global generators of Python, NumPy and torch from 64 bits.

    Args:
        seed: A non-negative integer below 2**64, from :func:`mix` usually.
        device: Also seed the generator of this device (its current index only, never all devices).
    """
    random.seed(seed)
    np.random.seed(_for_numpy(seed))
    torch.default_generator.manual_seed(seed)
    if device is not None and device.type not in ("cpu", "meta"):
        _device_generator(device).manual_seed(seed)


def step_seeder(stream: Stream, seed: int, rank: int, device: torch.device, *more: int) -> Callable[[int], None]:
    """Return ``seed_step(position)``, which sets the generators for one position of a stream.

    The key is ``(stream, seed, rank, *more, position)``. Everything that does not change with the position is looked up
    here, once.
    """
    of_run = mix(stream, seed, rank, *more)
    # random.seed() without its questions about the type, and what it does besides.
    python: Any = random.seed.__self__  # type: ignore[attr-defined]
    seed_python = super(random.Random, python).seed
    seed_numpy = np.random.seed
    seed_torch = torch.default_generator.manual_seed
    seed_device = None if device.type in ("cpu", "meta") else _device_generator(device).manual_seed

    def seed_step(position: int) -> None:
        mixed = _absorb(of_run, position)
        seed_python(mixed)
        python.gauss_next = None
        seed_numpy(_for_numpy(mixed))
        seed_torch(mixed)
        if seed_device is not None:
            seed_device(mixed)

    return seed_step


def generator_states(device: torch.device) -> dict[str, Any]:
    """Return the states of the global generators of Python, NumPy and torch, and of this device's, as plain values."""
    name, words, *rest = np.random.get_state(legacy=True)
    states = {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(np.asarray(words, dtype=np.uint32).copy()), *rest),
        "torch": torch.default_generator.get_state(),
    }
    if device.type not in ("cpu", "meta"):
        states["device"] = _device_generator(device).get_state()
    return states


def set_generator_states(states: Mapping[str, Any], device: torch.device) -> None:
    """Bring the generators to the states that :func:`generator_states` returned."""
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words), gauss))
    name, numbers, *rest = states["numpy"]
    np.random.set_state((name, numbers.numpy(), *rest))
    torch.default_generator.set_state(states["torch"])
    if "device" in states and device.type not in ("cpu", "meta"):
        _device_generator(device).set_state(states["device"])


def _for_numpy(seed: int) -> int:
    # On the CPU torch has the same generator as NumPy and takes the low 32 bits: with these, both draw alike.
    return (seed ^ seed >> 32) & 0xFFFFFFFF


def _device_generator(device: torch.device) -> torch.Generator:
    module = torch.get_device_module(device)
    if device.type == "mps":
        generator: torch.Generator = torch.mps._get_default_mps_generator()
        return generator
    index = module.current_device() if device.index is None else device.index
    if not module.is_initialized():
        module.init()  # the tuple of generators is filled by it
    generator = module.default_generators[index]
    return generator
