"""Small trained networks that come with the package, each with a card that says what it was trained and measured on."""
