"""`python -m bench`: every benchmark, one table. See bench/run.py."""

from bench.run import main

if __name__ == "__main__":
    raise SystemExit(main())
