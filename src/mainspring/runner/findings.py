"""What is wrong, or looks wrong, with a configuration."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Finding", "Findings", "errors_of", "raise_errors", "report", "warnings_of"]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or looks wrong, with a configuration.

    >>> print(Finding("error", "train_cfg.max_epoch", "there is no such option. Did you mean 'max_epochs'?"))
    train_cfg.max_epoch: there is no such option. Did you mean 'max_epochs'?
    """

    severity: Literal["error", "warning"]
    """``'error'`` where no valid run can be meant, ``'warning'`` where a configuration may do it legally."""
    path: str
    """Where it stands in the configuration: ``'train_dataloader.sampler'``."""
    text: str
    """What is wrong, and what to write instead."""
    cause: Exception | None = field(default=None, compare=False, repr=False)
    """The error that building this part would raise."""

    def __str__(self) -> str:
        # What a part says of itself may name the place already.
        return self.text if self.text.startswith(self.path) else f"{self.path}: {self.text}"


class Findings(list[Finding]):
    """Findings, in the order of the configuration."""

    def warn(self, path: str, text: str) -> None:
        """Note what a configuration may do legally."""
        self.append(Finding("warning", path, text))

    def fail(self, path: str, error: Exception, severity: Literal["error", "warning"] = "error") -> None:
        """Note what building a part would raise."""
        text = str(error)
        begin = re.match(r"[\w.\[\]'-]+", text)
        if begin is not None and begin[0].startswith(path):  # it knows the place better
            path = begin[0]
        self.append(Finding(severity, path, text, error))

    @contextmanager
    def attempt(self, path: str, prefix: str = "") -> Iterator[None]:
        """Note the error that the block raises, if any, and go on behind it; its message gains the prefix."""
        try:
            yield
        except (TypeError, ValueError) as error:
            if prefix:
                kind = TypeError if isinstance(error, TypeError) else ValueError
                error, cause = kind(f"{prefix}{error}"), error
                error.__cause__ = cause
            self.fail(path, error)
        except Exception as error:
            self.fail(path, error)


def errors_of(findings: Iterable[Finding], strict: bool = False) -> list[Finding]:
    """Return the errors among the findings; with ``strict`` warnings are errors too."""
    return [finding for finding in findings if strict or finding.severity == "error"]


def warnings_of(findings: Iterable[Finding]) -> list[Finding]:
    """Return the warnings among the findings."""
    return [finding for finding in findings if finding.severity == "warning"]


def report(findings: Sequence[Finding]) -> str:
    """Return the findings as one text: a single one as a sentence, several as a numbered list.

    >>> one = Finding("warning", "custom_hoks", "a Runner has no such argument. Did you mean 'custom_hooks'?")
    >>> print(report([one, one]))
    2 findings in the configuration:
      1. custom_hoks: a Runner has no such argument. Did you mean 'custom_hooks'?
      2. custom_hoks: a Runner has no such argument. Did you mean 'custom_hooks'?
    """
    if len(findings) == 1:
        return str(findings[0])
    lines = [f"  {number}. {finding}" for number, finding in enumerate(findings, 1)]
    return "\n".join([f"{len(findings)} findings in the configuration:", *lines])


def raise_errors(findings: Sequence[Finding], strict: bool = False) -> None:
    """Raise what is wrong, all in one error.

    Args:
        findings: What was found.
        strict: Count warnings as errors.

    Raises:
        Exception: There is one error: what building that part would raise. The warnings are its notes.
        ValueError: There are several errors, or a warning that counts as one. All findings are listed.
    """
    errors = errors_of(findings, strict)
    if not errors:
        return
    if len(errors) == 1 and errors[0].cause is not None:
        for warning in findings:
            if warning is not errors[0]:
                errors[0].cause.add_note(f"Beside that: {warning}")
        raise errors[0].cause
    raise ValueError(report(findings))
