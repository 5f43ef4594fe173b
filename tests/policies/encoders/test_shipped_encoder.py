"""The files that ship with the package are what their record says."""

import hashlib
import json

from policies.encoders import SHIPPED
from policies.encoders.static import StaticEncoder

PROVENANCE = json.loads((SHIPPED / "provenance.json").read_text(encoding="utf-8"))


def test_every_file_has_the_recorded_hash() -> None:
    files = {file.name for file in SHIPPED.iterdir()}
    assert files == {*PROVENANCE["files"], "provenance.json"}
    for name, recorded in PROVENANCE["files"].items():
        assert hashlib.sha256((SHIPPED / name).read_bytes()).hexdigest() == recorded


def test_the_record_names_source_and_licence() -> None:
    assert PROVENANCE["source"]["model"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert PROVENANCE["source"]["licence"] == "apache-2.0"
    assert PROVENANCE["settings"]["pca_dims"] == 256


def test_the_files_stay_under_ten_megabytes() -> None:
    assert sum(file.stat().st_size for file in SHIPPED.iterdir()) < 10_000_000


def test_the_version_is_stable(shipped: StaticEncoder) -> None:
    # Policies are bound to it: a change here invalidates every stored policy.
    assert shipped.version == "static:minilm-l6-v2-256:aafe3a777354"
    assert shipped.dimension == 256
