"""
Everything changes at random under a load of 64 connections, and no request fails that need not; see docs/testing.md.

`run` puts it together: `instance` (a process each) are kept by `fleet`, `clients` ask, `changes` change, and `record`
has what was in force when, which `judge` holds the outcomes to. `soak` lets the same go on for long, and measures.
"""
