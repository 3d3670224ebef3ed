"""Signals that announce the end of a process (preemption, a time limit), held back until a
checkpoint is written.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

# Seconds of training between two checkpoints, and at most one step more
CHECKPOINT_SECONDS = 15.0
# Clusters differ: SLURM sends TERM, submitit and others USR1 or USR2 before a limit, a closing
# terminal HUP.
ENDS = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


class EndSignals:
    """Notes the signals that announce the end, inside its ``with`` block, and acts on none.

    In the middle of a step there is no state to save: the trainer looks at ``noted`` between steps,
    saves, and calls ``deliver``, which does what the signal would have done. In a thread other than
    the main one, which signals never reach, it does nothing.
    """

    def __init__(self) -> None:
        self.noted: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> EndSignals:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.getsignal(number) for number in ENDS}
            for number, handler in self._before.items():
                # Of nohup, or set by a program in C, which Python could not restore
                if handler not in (signal.SIG_IGN, None):
                    signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            if handler is not None:
                signal.signal(number, handler)
        if self.noted is not None:
            signal.raise_signal(self.noted)

    def deliver(self) -> None:
        """Raise a noted signal again for its original handler; returns if that one does.

        The signal is noted again when it comes another time.
        """
        if self.noted is None:
            return
        number = self.noted
        self.noted = None
        signal.signal(number, self._before[number])
        signal.raise_signal(number)
        signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.noted = number
