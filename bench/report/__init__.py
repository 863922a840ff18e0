"""Reports of a run: pure functions from `bench.result.Run` to text and pictures."""
