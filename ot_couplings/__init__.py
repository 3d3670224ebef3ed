"""The console command ``ot-couplings``. Its name is the only one that a user's own folder will not
have, so it finds all other packages of this repository before it imports any of them.
"""

__version__ = "0.1.0"
