"""``python -m ot_couplings``."""

from ot_couplings.command import main

if __name__ == "__main__":
    main()
