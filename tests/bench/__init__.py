"""How long things take. Not tests: they print figures beside their aims, and fail on nothing but errors."""
