"""Write a table of runs, a row each: CSV, or Parquet where pyarrow is there; needs no torch."""

from bnstudy import streams
from bnstudy.app.export import main

if __name__ == "__main__":
    streams.leave_with(main)
