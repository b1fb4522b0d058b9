"""Result files in the formats that the official benchmarks take, one module each."""
