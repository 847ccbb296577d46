"""The starter project that `harness init` writes: `files/` as it stands there, with a few words put in."""
