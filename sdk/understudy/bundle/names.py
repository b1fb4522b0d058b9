"""Names of the files in a bundle that are no models."""

MANIFEST = "manifest.yaml"
SIGNATURE = "manifest.sig"
CHECKSUMS = "checksums.sha256"
ENGINES = "engines"
