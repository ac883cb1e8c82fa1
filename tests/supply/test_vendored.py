"""What was taken from npm is what the lock says, and comes with its licence."""

import pytest

from app.dashboard import assets
from scripts import vendor

pytestmark = pytest.mark.any_postgres


@pytest.mark.parametrize("package", vendor.PACKAGES, ids=lambda package: package.name)
def test_the_files_of_a_package_are_what_was_locked(package: vendor.Package) -> None:
    locked = vendor.locked(package.directory)[package.name]
    found = {name: vendor.integrity((package.directory / name).read_bytes()) for name in package.files}
    assert found == locked["files"], f"python -m scripts.vendor {package.name}"
    assert any("LICENSE" in name for name in package.files)
    assert locked["version"][0].isdigit()
    assert locked["integrity"].startswith("sha512-")


def test_nothing_is_vendored_that_no_lock_knows() -> None:
    for directory in {package.directory for package in vendor.PACKAGES}:
        known = {name for one in vendor.locked(directory).values() for name in one["files"]} | {vendor.LOCK}
        assert {path.name for path in directory.iterdir()} == known


def test_a_file_of_the_page_has_its_content_in_its_name() -> None:
    urls = [asset.url for asset in assets.every().values()]
    assert len(set(urls)) == len(urls)
    assert all(url.split(".")[-2].isalnum() and len(url.split(".")[-2]) == 12 for url in urls)
