"""One page that shows what was made and how it was proven."""
