"""`python -m mer_utils`."""

from mer_utils.batch.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
