"""Networks released by others: safe reading and translation."""
