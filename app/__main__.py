"""python -m app, and the console script bf-admin."""

from app.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
