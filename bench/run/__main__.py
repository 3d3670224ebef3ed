"""``python -m bench.run``."""

from bench.process.background import end_process
from bench.process.console import worker
from bench.run import main

if __name__ == "__main__":
    end_process(worker(main))
