"""Studies over methods: the same students with and without each way of teaching, over seeds, in one ledger."""
