"""Two benchmarks: couplings as solvers, and the speed of training and sampling."""
