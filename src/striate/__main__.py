"""``python -m striate``."""

from striate.cli.main import main

if __name__ == "__main__":
    main()
