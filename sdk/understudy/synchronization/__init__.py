"""Which messages of several sensors belong together: two rules, one way to hand the sets over."""
