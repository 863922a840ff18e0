"""A run made readable: pure functions from `bench.result.Run` to text and pictures."""
