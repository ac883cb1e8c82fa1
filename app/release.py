"""Which release this is."""

from importlib.metadata import PackageNotFoundError, version


def release() -> str:
    """Of the installed distribution."""
    try:
        return version("apg-bf-tenant-admin")
    except PackageNotFoundError:
        return "0+unknown"
