import signal
import subprocess
import sys
import threading

import pytest

from bench.process.signals import ENDS, EndSignals


@pytest.fixture
def heard():
    """Signals that reach whoever listened before; handlers are put back afterwards."""
    calls = []
    before = {
        number: signal.signal(number, lambda number, frame: calls.append(number)) for number in ENDS
    }
    yield calls
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", ENDS)
def test_a_signal_waits_until_it_is_delivered(heard, number):
    with EndSignals() as end:
        signal.raise_signal(number)
        assert (end.noted, heard) == (number, [])
        end.deliver()
        assert (end.noted, heard) == (None, [number])
        signal.raise_signal(number)
        assert heard == [number]  # the next one is noted again
    assert heard == [number, number]
    signal.raise_signal(number)
    assert heard == [number, number, number]


def test_a_signal_reaches_its_listener_directly_before_and_after(heard):
    with EndSignals():
        pass
    signal.raise_signal(signal.SIGUSR1)
    assert heard == [signal.SIGUSR1]


def test_an_ignored_signal_stays_ignored(heard):
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    with EndSignals() as end:
        signal.raise_signal(signal.SIGUSR1)
        assert end.noted is None


def test_in_another_thread_it_does_nothing():
    noted = []

    def work():
        with EndSignals() as end:
            end.deliver()
            noted.append(end.noted)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert noted == [None]


def test_by_default_a_delivered_signal_ends_the_process():
    code = (
        "import signal; from bench.process.signals import EndSignals\nwith EndSignals() as end:\n  "
        "  signal.raise_signal(signal.SIGTERM); print('saved', flush=True); end.deliver();"
        " print('never')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == -signal.SIGTERM
    assert done.stdout == "saved\n"


def test_a_terminal_that_closes_is_noted_and_under_nohup_it_is_not():
    assert signal.SIGHUP in ENDS
    for ignored in (False, True):
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else lambda *_: None)
        try:
            with EndSignals() as end:
                signal.raise_signal(signal.SIGHUP)
                assert end.noted == (None if ignored else signal.SIGHUP)
        finally:
            signal.signal(signal.SIGHUP, before)
