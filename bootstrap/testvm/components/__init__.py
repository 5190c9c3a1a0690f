"""Components built from source: a signed apt repository and an image registry under upstream names."""
