"""Bundles that are missing, damaged, of another schema or a trap."""

from __future__ import annotations

from tests.integration.cases import Case
from tests.integration.damage import archive, archive_with_link, copy, cut, edit, flip, folder, link, remove, write

INSPECT = "inspect {here}/bundle"
INSPECT_ZIP = "inspect {here}/bundle.zip"
BUNDLE = copy("bundle")
BUNDLES = (
    Case("bundle missing", INSPECT, ("bundle: found nothing there", "check the path")),
    Case("bundle name empty", "inspect ''", ("manifest.yaml", "wanted a bundle", "understudy pack")),
    Case("bundle is an empty folder", INSPECT, ("no manifest.yaml", "understudy pack"), (folder("bundle"),)),
    Case(
        "model byte flipped",
        INSPECT,
        ("model.onnx: sha256", "was changed or cut short", "pack it again"),
        (BUNDLE, flip("bundle/model.onnx")),
    ),
    Case(
        "manifest edited by hand",
        INSPECT,
        ("manifest.yaml: found sha256", "checksums.sha256 says", "after an edit of your own, remove"),
        (BUNDLE, edit("bundle/manifest.yaml", input__uses_intensity=True)),
    ),
    Case(
        "model truncated",
        INSPECT,
        ("model.int8.onnx: sha256", "bytes)", "pack it again"),
        (BUNDLE, cut("bundle/model.int8.onnx", 99)),
    ),
    Case(
        "model missing",
        INSPECT,
        ("model.uint8.onnx: found missing", "pack it again"),
        (BUNDLE, remove("bundle/model.uint8.onnx")),
    ),
    Case(
        "model is a folder",
        INSPECT,
        ("model.onnx: found missing", "pack it again"),
        (BUNDLE, folder("bundle/model.onnx")),
    ),
    Case(
        "model is a link out of the bundle",
        INSPECT,
        ("model.onnx: found a path that leaves the bundle",),
        (BUNDLE, link("bundle/model.onnx", "/etc/hostname")),
    ),
    Case(
        "manifest schema 99",
        INSPECT,
        ("manifest.yaml: schema_version", "found 99, wanted 1", "pack it again"),
        (BUNDLE, edit("bundle/manifest.yaml", schema_version=99)),
    ),
    Case(
        "manifest with an unknown key",
        INSPECT,
        ("manifest.yaml: unknown key color", "one of: name", "remove or correct it"),
        (BUNDLE, edit("bundle/manifest.yaml", color="red")),
    ),
    Case(
        "manifest not YAML",
        INSPECT,
        ("manifest.yaml: found", "wanted a YAML file", "pack it again"),
        (BUNDLE, write("bundle/manifest.yaml", "classes: [car\nname: {")),
    ),
    Case(
        "manifest not UTF-8",
        INSPECT,
        ("manifest.yaml: found", "utf-8", "wanted a YAML file"),
        (BUNDLE, write("bundle/manifest.yaml", "name: zürich".encode("latin-1"))),
    ),
    Case(
        "manifest builds a Python object",
        INSPECT,
        ("manifest.yaml: found", "python/object", "wanted a YAML file"),
        (BUNDLE, write("bundle/manifest.yaml", "!!python/object/apply:os.system ['touch pwned']")),
    ),
    Case(
        "manifest without classes",
        INSPECT,
        ("manifest.yaml: classes", "at least 1"),
        (BUNDLE, edit("bundle/manifest.yaml", classes=[])),
    ),
    Case(
        "manifest with an empty range",
        INSPECT,
        ("manifest.yaml: grid", "x_range_m: 9.0 is not below -9.0"),
        (BUNDLE, edit("bundle/manifest.yaml", grid__x_range_m=[9.0, -9.0])),
    ),
    Case(
        "manifest of another network",
        "replay {bag} {here}/bundle --out {here}/out",
        ("inputs: found points", "wanted pillars", "export it again"),
        (BUNDLE, edit("bundle/manifest.yaml", input={"kind": "pillars"}), remove("bundle/checksums.sha256")),
    ),
    Case(
        "zip with path traversal",
        INSPECT_ZIP,
        ("bundle.zip: found entry '../escaped.yaml', which leaves the bundle", "do not use this file"),
        (archive(manifest="x", **{"up/escaped.yaml": "x"}),),
    ),
    Case(
        "zip with a link in it",
        INSPECT_ZIP,
        ("bundle.zip: found entry 'manifest.yaml', which leaves the bundle",),
        (archive_with_link(),),
    ),
    Case(
        "zip truncated",
        INSPECT_ZIP,
        ("bundle.zip: found", "wanted a bundle folder or its zip", "pack it again"),
        (copy("bundle_zip"), cut("bundle.zip", 500)),
    ),
    Case(
        "zip with a damaged byte",
        INSPECT_ZIP,
        ("bundle.zip: found", "wanted a bundle folder or its zip", "pack it again"),
        (copy("bundle_zip"), flip("bundle.zip", 5000)),
    ),
    Case("zip without a manifest", INSPECT_ZIP, ("no manifest.yaml", "understudy pack"), (archive(readme="x"),)),
    Case("bundle is a picture", "inspect {here}/photo.jpg", ("not a zip",), (write("photo.jpg", b"\xff\xd8\xff"),)),
)
