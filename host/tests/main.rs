//! Tests of the `lockstep` binary with the real model.
