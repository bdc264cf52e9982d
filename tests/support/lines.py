"""How often each line of berth's own code is run: what goes through all of something runs more lines the more of it there is."""

from __future__ import annotations

import gc
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

_ROOT = str(Path(__file__).resolve().parents[2])
_OURS = (f"{_ROOT}/netcore/", f"{_ROOT}/resolver/")
_BETWEEN = f"{_ROOT}/netcore/threads.py", "_carry_out"
"""What a thread runs when the answer of its work is out already, and perhaps counted."""


class Lines:
    """Counts the lines that are run inside `counting`, in the calling thread and in those that are started inside `in_new_threads`."""

    def __init__(self) -> None:
        self.run: Counter[str] = Counter()
        self._is_counting = False

    def _enter(self, frame: FrameType, event: str, argument: Any) -> Any:
        code = frame.f_code
        return self._take if code.co_filename.startswith(_OURS) and (code.co_filename, code.co_name) != _BETWEEN else None

    def _take(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line" and self._is_counting:
            self.run[f"{frame.f_code.co_filename.removeprefix(_ROOT)}:{frame.f_lineno}"] += 1
        return self._take

    @contextmanager
    def in_new_threads(self) -> Iterator[None]:
        """Count in the threads too that are started in the block."""
        before = threading.gettrace()
        threading.settrace(self._enter)
        try:
            yield
        finally:
            threading.settrace(before)

    @contextmanager
    def counting(self) -> Iterator[Counter[str]]:
        """Count in the block; yield what is counted: file and line → how often it was run."""
        self.run = Counter()
        # What the collector of garbage calls depends on what others have left.
        gc.disable()
        before = sys.gettrace()
        self._is_counting = True
        sys.settrace(self._enter)
        try:
            yield self.run
        finally:
            sys.settrace(before)
            self._is_counting = False
            gc.enable()


def growth(few: Mapping[str, Counter[str]], many: Mapping[str, Counter[str]]) -> dict[str, dict[str, int]]:
    """Return what ran lines more often in *many* than in *few*, each with these lines and by how much."""
    return {name: dict(more) for name, run in many.items() if (more := run - few[name])}
