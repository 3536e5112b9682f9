"""Predictions in a file, to be evaluated later."""

from __future__ import annotations

from os import PathLike, fspath
from typing import Any

import torch

from ..fileio import dump
from ..logging import print_log
from ..registry import METRICS
from ..structures import BaseDataElement
from ..utils import apply_to
from .metric import BaseMetric, to_cpu
from .samples import as_list

__all__ = ["DumpResults"]


@METRICS.register_module()
class DumpResults(BaseMetric):
    """Writes the predictions of all ranks to a pickle file, in the order of the data set; it has no results itself.

    The file holds a list with an element for each sample, of plain containers, tensors and arrays, which
    ``mainspring.load`` reads without running code, and :meth:`Evaluator.offline_evaluate` takes. A data element becomes
    a dict. Of columns, as in ``(scores, labels)``, each sample has a tuple or a dict.

    Args:
        out_file_path: Where to write: a path or URL that ends with ``.pkl`` or ``.pickle``.
        collect_device: See :class:`BaseMetric`.
        collect_dir: See :class:`BaseMetric`.

    Raises:
        ValueError: ``out_file_path`` ends with something else.
    """

    def __init__(
        self, out_file_path: str | PathLike[str], collect_device: str = "cpu", collect_dir: str | None = None
    ) -> None:
        super().__init__(collect_device=collect_device, collect_dir=collect_dir)
        self.out_file_path = fspath(out_file_path)
        if not self.out_file_path.endswith((".pkl", ".pickle")):
            raise ValueError(
                "DumpResults writes a pickle, so that out_file_path must end with '.pkl' or '.pickle', but it is"
                f" {self.out_file_path!r}."
            )

    def process(self, data_batch: Any, data_samples: Any) -> None:
        """Keep what was predicted for each sample, on the CPU."""
        self.results.extend(_plain(sample) for sample in as_list(data_samples))

    def compute_metrics(self, results: list[Any]) -> dict[str, Any]:
        """Write the file."""
        dump(results, self.out_file_path)
        print_log(f"Wrote the predictions for {len(results)} samples to {self.out_file_path!r}", logger="current")
        return {}


def _plain(sample: Any) -> Any:
    """Return a sample of plain containers, with tensors on the CPU that hold no more memory than their own."""
    dicts = apply_to(sample, lambda value: isinstance(value, BaseDataElement), lambda value: value.to_dict())
    # A pickle of a view would hold the whole batch.
    return apply_to(to_cpu(dicts), lambda value: isinstance(value, torch.Tensor), lambda one: one.detach().clone())
