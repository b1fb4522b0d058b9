"""The training loop: what is shown when, on how many devices, and how it goes on after an interruption."""
