"""Why a precision is not faster: time by layer, what each layer costs, and what the hardware promises for it."""
