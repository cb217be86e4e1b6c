//! The bit-exact, no_std numerics of Lockstep: operators, the Llama stack, generation, transcript.
